"""Where the admin listener may listen, and that its token stays secret."""

import pytest
from reknit.settings.addresses import Listen, UnixPath, parse_address
from reknit.settings.config import (
    Config,
    ConfigError,
    Layer,
    from_command_line,
    from_environment,
    merge,
)
from reknit.settings.config import from_toml as read_toml
from reknit.settings.options import LogFormat

TOKEN = "0123456789abcdef"
UPSTREAM = from_command_line({"upstream": "ws://h:1"})


def config(*layers: Layer) -> Config:
    return merge(*layers, UPSTREAM)


def test_it_is_off_by_default() -> None:
    assert config().admin is None
    assert config().on_event is None
    assert config().log_format is LogFormat.TEXT


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9301", Listen("127.0.0.1", 9301)),
        ("[::1]:0", Listen("::1", 0)),
        ("localhost:1", Listen("localhost", 1)),
        ("unix:/run/reknit.sock", UnixPath("/run/reknit.sock")),
        ("unix:a b", UnixPath("a b")),
    ],
)
def test_an_address_that_only_this_machine_reaches_needs_no_token(
    text: str, address: Listen | UnixPath
) -> None:
    assert config(from_command_line({"admin": text})).admin == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["0.0.0.0:9301", ":9301", "[::]:9301", "proxy.example:9301"])
def test_any_other_needs_one(text: str) -> None:
    admin = from_command_line({"admin": text})
    with pytest.raises(ConfigError, match="needs a token, by REKNIT_ADMIN_TOKEN"):
        config(admin)
    for token in (
        from_environment({"REKNIT_ADMIN_TOKEN": TOKEN}),
        read_toml(f'admin-token = "{TOKEN}"', "f"),
    ):
        assert config(admin, token).admin_token == TOKEN


@pytest.mark.parametrize("text", ["", "unix:", "unix:" + "x" * 101, "unix:\0", "65536", "h:99999"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ConfigError, match="--admin"):
        from_command_line({"admin": text})
    with pytest.raises(ValueError, match=r"^"):
        parse_address(text)


def test_a_token_is_not_taken_from_a_command_line() -> None:
    with pytest.raises(ConfigError, match="set REKNIT_ADMIN_TOKEN") as error:
        from_command_line({"admin_token": TOKEN})
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize("token", ["short", "0123456789abcde ", "0123456789abcde\xe9", "=" * 16])
def test_a_bad_token_is_not_shown(token: str) -> None:
    for read in (
        lambda: from_environment({"REKNIT_ADMIN_TOKEN": token}),
        lambda: read_toml(f'admin_token = "{token}"', "f"),
        lambda: from_environment({"REKNIT_ADMIN_TOKE": token}),
        lambda: read_toml(f'adm_token = "{token}"', "f"),
    ):
        with pytest.raises(ConfigError) as error:
            read()
        assert token not in str(error.value)
        assert "..." in str(error.value)


def test_a_configuration_can_be_printed() -> None:
    hook = from_command_line({"on_event": "https://hooks.example/secret"})
    shown = repr(config(from_environment({"REKNIT_ADMIN_TOKEN": TOKEN}), hook))
    assert TOKEN not in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "http://",
        "http://a b/",
        "http://user:word@hooks.example/",
        "http://h:99999/",
        "http://h:0/",
        "http://h/#part",
        "http://h/\n",
        "http://" + "x" * 64 + ".example/",
    ],
)
def test_a_hook_is_an_http_url(url: str) -> None:
    with pytest.raises(ConfigError, match="--on-event"):
        from_command_line({"on_event": url})
