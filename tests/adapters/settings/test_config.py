import pytest
from reknit.settings.addresses import Address, Listen, UnixPath, parse_listen
from reknit.settings.config import (
    Config,
    ConfigError,
    Layer,
    from_command_line,
    from_environment,
    from_toml,
    merge,
)
from reknit.settings.options import OPTIONS, LogLevel
from reknit_core.policy.policy import SETTINGS, Policy
from reknit_core.policy.setting import PolicyError
from reknit_core.policy.upstream import Upstream, parse_upstream
from wrong_settings import WRONG_LINES, WRONG_TEXTS

UPSTREAM = from_command_line({"upstream": "ws://h:1"})


def policy_of(layer: Layer) -> Policy:
    return merge(layer, UPSTREAM).policy


def test_defaults_are_the_policys() -> None:
    expected = Config((Upstream("h", 1),), (Listen("127.0.0.1", 9300),), LogLevel.INFO, Policy())
    assert merge(UPSTREAM) == expected


def test_command_line_counts_before_environment_before_file() -> None:
    file = from_toml("retry_limit = 1\nretry_interval = 1\nclient_grace = 1", "f")
    environment = from_environment({"REKNIT_RETRY_LIMIT": "2", "REKNIT_RETRY_INTERVAL": "2"})
    command_line = from_command_line({"upstream": "ws://h:1", "retry_limit": "3"})
    policy = merge(command_line, environment, file).policy
    assert (policy.retry_limit, policy.retry_interval, policy.client_grace) == (3, 2, 1)


def test_a_file_can_say_everything() -> None:
    text = """
        upstream = "ws://[::1]:9125/chat"
        listen = "[::]:80"
        log-level = "warning"
        retry-interval = 0.5
        client_retry_codes = [1001, 4000]
        id_header = "x-session"
    """
    config = merge(from_toml(text, "f"))
    policy = Policy(
        retry_interval=0.5, client_retry_codes=frozenset({1001, 4000}), id_header="x-session"
    )
    assert config == Config(
        (Upstream("::1", 9125, "/chat"),), (Listen("::", 80),), LogLevel.WARNING, policy
    )


def test_every_setting_takes_its_own_default_from_every_source() -> None:
    for name in SETTINGS:
        option = OPTIONS[name]
        text = {name: option.default}
        assert policy_of(from_command_line(text)) == Policy(), name
        assert policy_of(from_environment({option.variable: option.default})) == Policy(), name
        bare = option.is_flag or (option.limits != "" and option.quantity is None)
        value = option.default if bare else f'"{option.default}"'
        assert policy_of(from_toml(f"{name} = {value}", "f")) == Policy(), name


def test_every_setting_is_explained() -> None:
    for option in OPTIONS.values():
        assert option.help.endswith(".")
        assert option.allowed
        assert option.metavar


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("client_grace", "90s", 90),
        ("client_grace", "5m", 300),
        ("client_grace", "1.5 h", 5400),
        ("client_grace", "7ms", 0.007),
        ("client_grace", "1D", 86400),
        ("client_grace", "12", 12),
        ("client_grace", "1e-05", 0.00001),
        ("queue_bytes", "4MiB", 4 * 2**20),
        ("queue_bytes", "1.5kib", 1536),
        ("queue_bytes", "2 GB", 2 * 10**9),
        ("queue_bytes", "640B", 640),
        ("queue_bytes", "640", 640),
    ],
)
def test_times_and_sizes_have_units_in_every_source(name: str, text: str, value: float) -> None:
    option = OPTIONS[name]
    for layer in (
        from_command_line({name: text}),
        from_environment({option.variable: text}),
        from_toml(f'{name} = "{text}"', "f"),
    ):
        found = getattr(policy_of(layer), name)
        assert found == value
        assert type(found) is (float if name == "client_grace" else int)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("client_grace", 0, "0s"),
        ("client_grace", 0.25, "250ms"),
        ("client_grace", 0.00001, "1e-05s"),
        ("client_grace", 90, "90s"),
        ("client_grace", 86400, "1d"),
        ("queue_bytes", 1000, "1000B"),
        ("queue_bytes", 2**31, "2GiB"),
    ],
)
def test_times_and_sizes_are_shown_as_they_can_be_given(
    name: str, value: float, shown: str
) -> None:
    assert OPTIONS[name].shown(value) == shown
    assert OPTIONS[name].read(shown) == value


@pytest.mark.parametrize(
    ("text", "codes"),
    [("", set()), (" ", set()), ("4000", {4000}), ("1001, 1012", {1001, 1012})],
)
def test_close_codes_are_separated_by_commas(text: str, codes: set[int]) -> None:
    layer = from_environment({"REKNIT_SERVER_RETRY_CODES": text})
    assert policy_of(layer).server_retry_codes == codes


@pytest.mark.parametrize(("name", "value"), WRONG_TEXTS)
def test_a_bad_text_is_named_with_what_is_allowed(name: str, value: str) -> None:
    option = OPTIONS[name]
    with pytest.raises(ConfigError) as caught:
        from_environment({option.variable: value})
    message = str(caught.value)
    assert option.variable in message
    assert repr(value)[:50] in message
    assert message.endswith(f"allowed: {option.allowed}")
    assert "\n" not in message
    assert len(message) < 250
    with pytest.raises(ConfigError, match="UPSTREAM" if name == "upstream" else option.flag):
        from_command_line({name: value})


@pytest.mark.parametrize("line", WRONG_LINES)
def test_a_bad_toml_value_is_named_with_what_is_allowed(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_toml(line, "proxy.toml")
    name = line.partition(" ")[0].partition(".")[0]
    message = str(caught.value)
    assert message.startswith(f"proxy.toml: {name}: ")
    assert message.endswith(f"allowed: {OPTIONS[name].allowed}")
    assert "\n" not in message


def test_an_unknown_key_gets_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"f: retry-intervall: .*3.*did you mean retry_interval"):
        from_toml("retry-intervall = 3", "f")
    with pytest.raises(ConfigError, match=r"REKNIT_RETRYLIMIT: .*'3'.*mean REKNIT_RETRY_LIMIT\?"):
        from_environment({"REKNIT_RETRYLIMIT": "3"})


def test_an_unknown_key_like_no_other_gets_all_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"f: database: unknown key .*known: upstream, listen, "):
        from_toml("[database]\nport = 1", "f")
    with pytest.raises(ConfigError, match=r"f: a\\nb: unknown key"):
        from_toml('"a\\nb" = 1', "f")


def test_other_variables_are_not_ours() -> None:
    kubernetes = {
        "REKNIT_SERVICE_HOST": "10.0.0.1",
        "REKNIT_SERVICE_PORT": "80",
        "REKNIT_SERVICE_PORT_WS": "80",
        "REKNIT_PORT": "tcp://10.0.0.1:80",
        "REKNIT_PORT_80_TCP": "tcp://10.0.0.1:80",
        "REKNIT_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    others = {"PATH": "/bin", "REKNITTING": "1", "REKNIT_CONFIG": "f", "REKNIT_COMPILE": "1"}
    assert from_environment(kubernetes | others) == {}


def test_a_key_in_both_spellings_is_refused() -> None:
    with pytest.raises(ConfigError, match="retry-limit is given twice"):
        from_toml("retry_limit = 1\nretry-limit = 2", "f")


@pytest.mark.parametrize("text", ["retry_limit", "a = 1\na = 2", "a = " + "[" * 5000, "\x00"])
def test_bad_toml_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\Af: not valid TOML: .+\Z"):
        from_toml(text, "f")


def test_an_upstream_is_needed() -> None:
    with pytest.raises(ConfigError, match="UPSTREAM is missing"):
        merge(from_command_line({}))


TWO = (Listen("0.0.0.0", 80), Listen("::", 80))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (from_command_line({"listen": "0.0.0.0:80,[::]:80"}), TWO),
        (from_environment({"REKNIT_LISTEN": "0.0.0.0:80, [::]:80"}), TWO),
        (from_toml("listen = '0.0.0.0:80,[::]:80'", "f"), TWO),
        (from_toml("listen = ['0.0.0.0:80', '[::]:80']", "f"), TWO),
        (
            from_toml("listen = ['unix:/run/a,b', 'h:2']", "f"),
            (UnixPath("/run/a,b"), Listen("h", 2)),
        ),
    ],
)
def test_several_addresses_can_be_listened_on(layer: Layer, expected: tuple[Address, ...]) -> None:
    assert merge(layer, from_command_line({"upstream": "ws://h:1"})).listen == expected


def test_a_list_of_a_nearer_source_replaces_the_other_one() -> None:
    command_line = from_command_line({"upstream": "ws://h:9", "listen": "h:1"})
    environment = from_environment({"REKNIT_LISTEN": "h:2,h:3"})
    assert merge(command_line, environment).listen == (Listen("h", 1),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'80'", [Listen("127.0.0.1", 80)]),
        ("80", [Listen("127.0.0.1", 80)]),
        ("':80'", [Listen("0.0.0.0", 80)]),
        ("':80,[::]:80'", list(TWO)),
        ("[80, 'unix:/a']", [Listen("127.0.0.1", 80), UnixPath("/a")]),
    ],
)
def test_a_port_alone_is_this_machines_and_one_behind_a_colon_everybodys(
    text: str, expected: list[Address]
) -> None:
    assert list(merge(from_toml(f"listen = {text}", "f"), UPSTREAM).listen) == expected


@pytest.mark.parametrize(
    ("upstream", "listen"),
    [
        ("ws://127.0.0.1:9300", "127.0.0.1:9300"),
        ("ws://localhost:9300", "127.0.0.1:9300"),
        ("ws://127.0.0.1:9300", "localhost:9300"),
        ("ws://127.9.9.9:9300", ":9300"),
        ("ws://[::1]:9300", "127.0.0.1:1,[::]:9300"),
        ("ws://0.0.0.0:9300", ":9300"),
        ("ws://10.0.0.1", "10.0.0.1:80"),
        ("ws://Example.org/x", "example.org:80"),
        ("ws+unix:/a:/x", "unix:/a"),
    ],
)
def test_a_server_that_is_the_proxy_itself_is_refused(upstream: str, listen: str) -> None:
    with pytest.raises(ConfigError, match=r"is this proxy itself \(--listen "):
        merge(from_command_line({"upstream": upstream, "listen": listen}))
    if "," not in listen:
        own = from_environment({"REKNIT_ADMIN_TOKEN": "0123456789abcdef"})
        layer = from_command_line({"upstream": upstream, "listen": "h:1", "admin": listen})
        with pytest.raises(ConfigError, match=r"is this proxy itself \(--admin "):
            merge(layer, own)


@pytest.mark.parametrize(
    ("upstream", "listen"),
    [
        ("ws://127.0.0.1:9301", "127.0.0.1:9300"),
        ("ws://127.0.0.2:9300", "127.0.0.1:9300"),
        ("ws://10.0.0.1:9300", ":9300"),
        ("ws://[::1]:9300", ":9300"),
        ("ws://a:9300", "b:9300"),
        ("ws://localhost:9300", "unix:/a"),
        ("ws+unix:/b", "unix:/a"),
    ],
)
def test_a_server_that_may_be_another_one_is_not(upstream: str, listen: str) -> None:
    assert merge(from_command_line({"upstream": upstream, "listen": listen}))


def test_what_a_word_of_the_demo_is_here() -> None:
    with pytest.raises(
        ConfigError, match="is not allowed: exactly once is what a peer that counts"
    ):
        from_command_line({"delivery": "exactly-once"})


def test_settings_do_not_stand_in_tables() -> None:
    with pytest.raises(ConfigError, match="settings don't stand in tables; did you mean tls_key"):
        from_toml("[tls]\nkey = 1", "f")


def test_a_listen_address_reads_back() -> None:
    for text in ("127.0.0.1:0", "[::1]:65535", "localhost:80", "[fe80::1%eth0]:1"):
        assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    "url",
    [
        "ws://h:0",
        "ws://h:65536",
        "ws://a..b:1",
        "ws://h:1/ x",
        "ws://h:1/\n",
        "ws://a b:1",
        "ws://",
    ],
)
def test_an_upstream_that_can_not_be_dialled_is_refused(url: str) -> None:
    with pytest.raises(PolicyError):
        parse_upstream(url)
