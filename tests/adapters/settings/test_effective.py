"""The settings that hold are shown with where each comes from, and no secrets."""

import tomllib

import pytest
from reknit.settings.config import (
    Layer,
    from_command_line,
    from_environment,
    from_toml,
    merge,
    overlay,
)
from reknit.settings.effective import settings_of
from reknit.settings.options import OPTIONS

UPSTREAM = from_command_line({"upstream": "ws+unix:/run/app.sock:/x"})
MANY = {
    "listen": ":80,[::1]:0,unix:/a",
    "takeover": "a b",
    "state_dir": 'quoted " \\ \x7f \U0001f600',
    "state_sync": "off",
    "admin": "9301",
    "admin_requests": "true",
    "client_grace": "90s",
    "queue_bytes": "1000",
    "retry_limit": "7",
    "retry_jitter": "0.5",
    "server_retry_codes": "",
    "allow_origin": "https://a.example",
    "on_server_loss": "end",
    "host": "upstream",
}

CLUSTER = overlay(
    from_environment({"REKNIT_CLUSTER_SECRET": "s" * 32}),
    from_command_line(
        {
            "upstream": "ws://a wss://b",
            "cluster": "redis://user%20@h/1,rediss://[::1]:1",
            "node_address": "[::1]:9302",
        }
    ),
)


def lines(*layers: Layer) -> list[str]:
    given = overlay(*layers)
    return list(settings_of(merge(given), given))


@pytest.mark.parametrize("layer", [UPSTREAM, {**UPSTREAM, **from_command_line(MANY)}, CLUSTER])
def test_the_settings_read_back_as_a_file(layer: Layer) -> None:
    secrets = {name: given for name, given in layer.items() if OPTIONS[name].is_secret}
    shown = lines(layer)
    assert merge(from_toml("\n".join(shown), "f"), secrets) == merge(layer)
    assert len(shown) == len(OPTIONS)


def test_each_says_where_it_comes_from() -> None:
    file = from_toml("retry_limit = 1\nretry_interval = 1\nclient-grace = 1", "proxy.toml")
    environment = from_environment({"REKNIT_RETRY_LIMIT": "2", "REKNIT_RETRY_INTERVAL": "2"})
    command_line = from_command_line({"upstream": "ws://h:1", "retry_limit": "3"})
    shown = {tuple(line.split("  # ")) for line in lines(command_line, environment, file)}
    found = {setting.strip(): source for setting, source in shown}
    assert found['upstream = ["ws://h:1"]'] == "UPSTREAM"
    assert found["retry_limit = 3"] == "--retry-limit"
    assert found['retry_interval = "2s"'] == "environment variable REKNIT_RETRY_INTERVAL"
    assert found['client_grace = "1s"'] == "proxy.toml: client-grace"
    assert found['queue_bytes = "4MiB"'] == "default"
    assert found["# takeover: none"] == "default"


def test_no_secret_is_shown() -> None:
    token = from_environment({"REKNIT_ADMIN_TOKEN": "hushhushhushhush"})
    hook = from_command_line({"on_event": "https://hooks.example/hush?hush"})
    text = "\n".join(lines(token, hook, UPSTREAM))
    assert "hush" not in text
    assert "# admin_token: not shown" in text
    assert "# on_event: https://hooks.example/..." in text
    assert {"admin_token", "on_event"}.isdisjoint(tomllib.loads(text))
