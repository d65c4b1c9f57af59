"""Each setting's range, and what a person is told who leaves it."""

from dataclasses import FrozenInstanceError, fields, replace
from enum import Enum
from math import inf, isfinite, nan, nextafter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.policy.policy import (
    SETTINGS,
    Delivery,
    Overflow,
    Policy,
)
from reknit_core.policy.setting import PolicyError, Setting
from reknit_core.policy.upstream import URL_FORMS, Upstream, parse_upstream
from reknit_core.side import Side
from reknit_core.wire.reasons import without_user

DEFAULT = Policy()
NUMBERS = [name for name in SETTINGS if type(getattr(DEFAULT, name)) in (int, float)]
NAMES = ["id_header", "id_query", "id_cookie"]
CODES = ["server_retry_codes", "client_retry_codes"]
STATUSES = ["server_final_statuses"]
OWN = ["bind", "dialect", "host", "server_check_path"]
LISTS = ["allow_origin", "trust_forwarded", "proxy_protocol_from"]
FLAGS = [name for name in SETTINGS if type(getattr(DEFAULT, name)) is bool]
CHOICES = [name for name in SETTINGS if isinstance(getattr(DEFAULT, name), Enum)]


def policy(**values: Any) -> Policy:
    return Policy(**values)


def refused(name: str, value: object) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        policy(**{name: value})
    error = caught.value
    assert (error.name, error.allowed) == (name, SETTINGS[name].allowed)
    assert str(error) == f"{name}: {error.value!r} is not allowed; allowed: {error.allowed}"
    return error


def test_every_field_is_one_of_these() -> None:
    sorts = (NUMBERS, NAMES, CODES, STATUSES, LISTS, FLAGS, CHOICES, OWN)
    assert sorted(name for names in sorts for name in names) == sorted(SETTINGS)
    assert list(SETTINGS) == [item.name for item in fields(Policy)]
    for setting in SETTINGS.values():
        assert setting.help.endswith(".")


def test_the_defaults_are_allowed_and_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.retry_limit = 1  # type: ignore[misc]


def step(value: float, name: str, direction: float) -> float:
    """The next value of the setting's type."""
    if type(getattr(DEFAULT, name)) is int:
        return int(value) + (1 if direction > 0 else -1)
    return nextafter(float(value), direction)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_at_and_beyond_its_bounds(name: str) -> None:
    setting = SETTINGS[name]
    assert getattr(policy(**{name: setting.low}), name) == setting.low
    assert refused(name, step(setting.low, name, -inf)).value == step(setting.low, name, -inf)
    if setting.high is None:
        assert getattr(policy(**{name: 1e300}), name) == 1e300
        assert setting.allowed == f"{setting.low} or more {setting.unit}"
    else:
        assert getattr(policy(**{name: setting.high}), name) == setting.high
        refused(name, step(setting.high, name, inf))
        refused(name, 10**400)
        assert setting.allowed.startswith(f"{setting.low} to {setting.high}")
        assert setting.allowed.endswith(setting.unit)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [nan, inf, -inf, "1", "", None, [], b"1", frozenset({1})])
def test_what_is_no_number(name: str, value: object) -> None:
    shown = refused(name, value).value
    assert shown is value or shown == [1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["a", "A-Z_a.z-0", "x" * 300])
def test_names(name: str, value: str) -> None:
    assert getattr(policy(**{name: value}), name) == value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            "a b",
            "a:",
            "a;b",
            "a=b",
            "a&b",
            "a\n",
            "\r\na",
            "\xe9",
            "\u0660",
            5,
            None,
            b"a",
        ),
        *("Sec-WebSocket-Key", "x-reconnect-id", "reconnect_received", "host", "Upgrade"),
    ],
)
def test_what_is_no_name(name: str, value: object) -> None:
    words = "1 or more letters, digits, '-', '_' or '.', other than names with a meaning already"
    assert refused(name, value).allowed == words


@pytest.mark.parametrize(
    "value",
    ["client", "upstream", "localhost", "a-b.example_1.test:8080", "a.test.", "[2001:db8::1]:80"],
)
def test_hosts(value: str) -> None:
    assert policy(host=value).host == value


@pytest.mark.parametrize(
    "value", ["", "a b", "a/b", "http://a", "a:b", ".a", "a\n", "\xe9", 5, None]
)
def test_what_is_no_host(value: object) -> None:
    words = "client (as it asks), upstream (as UPSTREAM says), or NAME[:PORT]"
    assert refused("host", value).allowed == words


@pytest.mark.parametrize(
    ("host", "asked", "told"),
    [
        ("client", "shop.test:81", "shop.test:81"),
        ("client", "", "u.test:9"),
        ("upstream", "shop.test:81", "u.test:9"),
        ("backend.test", "shop.test:81", "backend.test"),
    ],
)
def test_the_host_that_the_server_is_told(host: str, asked: str, told: str) -> None:
    assert Upstream("u.test", 9).host_for(policy(host=host), asked) == told


@pytest.mark.parametrize("name", CODES)
def test_close_codes(name: str) -> None:
    for codes in (frozenset[int](), frozenset({1000, 4999}), frozenset({1001, 3000})):
        assert getattr(policy(**{name: codes}), name) == codes
    for bad in (999, 5000, 0, -1000, 10000, "a", 1000.5):
        error = refused(name, frozenset({1001, bad}))
        assert error.value in ([1001, bad], [bad, 1001])
        assert error.allowed == "close codes from 1000 to 4999, separated by commas"
    for value in (1001, {1001}, [1001], None):
        refused(name, value)


@pytest.mark.parametrize("name", STATUSES)
def test_statuses(name: str) -> None:
    for statuses in (frozenset[int](), frozenset({200, 599}), frozenset({404})):
        assert getattr(policy(**{name: statuses}), name) == statuses
    for bad in (199, 600, 0, -404, 4040, "a", 404.5):
        error = refused(name, frozenset({404, bad}))
        assert error.value in ([404, bad], [bad, 404])
        assert error.allowed == "HTTP statuses from 200 to 599, separated by commas"
    for value in (404, {404}, [404], None):
        refused(name, value)


ORIGINS = (
    *("null", "example.org", "*.example.org", "localhost:3000", "localhost:*", "[::1]:80"),
    *("https://example.org", "HTTPS://*.Example.org:8443", "chrome-extension://abc", "a_b"),
)
NO_ORIGINS = (
    *("", "*", "*.", "*example.org", "a.*.org", "https://", "example.org/", "https://a/b"),
    *("a b", "a,b", "me@a", "a:0", "a:65536", "a:", "a..b", ".a", "http:a", "ä.org", "://a"),
)
NETWORKS = ("10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0", "unix")
NO_NETWORKS = ("", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0", "10.0.0.1:80", "*", "Unix")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("allow_origin", ORIGINS, NO_ORIGINS), ("trust_forwarded", NETWORKS, NO_NETWORKS)],
)
def test_lists_of_origins_and_networks(
    name: str, good: tuple[str, ...], bad: tuple[object, ...]
) -> None:
    assert getattr(policy(**{name: frozenset(good)}), name) == set(good)
    for part in (*bad, 1):
        assert refused(name, frozenset((good[0], part))).allowed.endswith("separated by commas")
    for value in (good[0], set(good), list(good), None):
        refused(name, value)


def test_what_a_session_can_be_bound_to() -> None:
    for names in ((), ("origin",), ("authorization", "cookie:a", "cookie:__Host-sid")):
        assert policy(bind=frozenset(names)).bind == set(names)
    for bad in ("", "Origin", "orgin", "cookie", "cookie:", "cookie:a b", "cookie:a;b", "x-a", 5):
        error = refused("bind", frozenset({bad}))
        assert error.allowed.startswith("authorization, origin and cookie:NAME")


def test_which_close_codes_and_overflow_belong_to_which_side() -> None:
    mine = policy(
        server_retry_codes=frozenset({1012}),
        client_retry_codes=frozenset({1001}),
        overflow_to_server=Overflow.CLOSE,
        overflow_to_client=Overflow.DROP_OLDEST,
    )
    assert mine.retry_codes(Side.SERVER) == {1012}
    assert mine.retry_codes(Side.CLIENT) == {1001}
    # The queue of what a side sends is the one towards the other.
    assert mine.overflow(Side.CLIENT) is Overflow.CLOSE
    assert mine.overflow(Side.SERVER) is Overflow.DROP_OLDEST


def test_the_default_close_codes_are_the_designs() -> None:
    assert DEFAULT.retry_codes(Side.SERVER) == {1001, 1012, 1013, 1014}
    assert DEFAULT.retry_codes(Side.CLIENT) == {1001}


@pytest.mark.parametrize("value", [*Delivery, *Overflow])
def test_choices(value: Enum) -> None:
    for name in CHOICES:
        if type(getattr(DEFAULT, name)) is type(value):
            assert getattr(policy(**{name: value}), name) is value


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["pause", "at-most-once", None])
def test_what_is_no_choice(name: str, value: object) -> None:
    refused(name, value)


def test_a_changed_policy_is_checked_too() -> None:
    with pytest.raises(PolicyError):
        replace(DEFAULT, retry_limit=-1)


def test_the_name_of_the_id_header_is_compared_in_lower_case() -> None:
    assert policy(id_header="X-Some-ID").id_header_name == b"x-some-id"


def test_allowed_values_in_words() -> None:
    assert Setting("h", words="this or that").allowed == "this or that"
    assert Setting("h", "seconds", 0.001, 86400).allowed == "0.001 to 86400 seconds"
    assert Setting("h", "bytes", 1, 2**50).allowed == "1 to 1125899906842624 bytes"
    assert Setting("h", "", 1, 100).allowed == "1 to 100"
    assert Setting("h", "seconds").allowed == "0 or more seconds"
    assert Setting("h", low=0.5).allowed == "0.5 or more"


# -- The upstream's URL ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "upstream", "authority"),
    [
        ("ws://h", Upstream("h", 80), "h"),
        ("ws://h:80", Upstream("h", 80), "h"),
        ("ws://h:", Upstream("h", 80), "h"),
        ("ws://h:1", Upstream("h", 1), "h:1"),
        ("ws://h:65535/", Upstream("h", 65535), "h:65535"),
        ("WS://Server.Example:9/Path/", Upstream("server.example", 9, "/Path"), "server.example:9"),
        ("ws://127.0.0.1:9125/a/b", Upstream("127.0.0.1", 9125, "/a/b"), "127.0.0.1:9125"),
        ("ws://[::1]:9125", Upstream("::1", 9125), "[::1]:9125"),
        ("ws://[::1]", Upstream("::1", 80), "[::1]"),
        ("ws://a_b-c.d./x%20y", Upstream("a_b-c.d.", 80, "/x%20y"), "a_b-c.d."),
        ("ws://h//x", Upstream("h", 80, "//x"), "h"),
        ("wss://h", Upstream("h", 443, secure=True), "h"),
        ("wss://h:80/x", Upstream("h", 80, "/x", secure=True), "h:80"),
        ("wss://[::1]:443", Upstream("::1", 443, secure=True), "[::1]"),
        ("ws+unix:/a/b.sock", Upstream("localhost", 80, socket_path="/a/b.sock"), "localhost"),
        ("ws+unix:///b.sock", Upstream("localhost", 80, socket_path="/b.sock"), "localhost"),
        ("ws+unix:/b:/x/", Upstream("localhost", 80, "/x", socket_path="/b"), "localhost"),
    ],
)
def test_a_good_url(url: str, upstream: Upstream, authority: str) -> None:
    assert parse_upstream(url) == upstream
    assert upstream.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "h:80",
        "ws:h",
        "ws:/h",
        "//h",
        "ws://",
        "ws:///path",
        "ws://:80",
        "ftp://h",
        "http://h",
        "ws+unix://host/a.sock",
        "ws+unix:a.sock",
        "ws+unix:/",
        "ws+unix:/a/",
        "ws+unix:/a.sock:",
        "ws+unix:/a.sock:x",
        "ws+unix:/a.sock:/x?y",
        "ws+unix:/a b.sock",
        "xws://h",
        "ws://h:0",
        "ws://h:70000",
        "ws://h:65536",
        "ws://h:-1",
        "ws://h:+1",
        "ws://h:x",
        "ws://h:1:2",
        "ws://@h",
        "ws://user@h",
        "ws://user:password@h",
        "ws://:password@h",
        "ws://h?a=b",
        "ws://h/p?a=b",
        "ws://h/p#f",
        " ws://h",
        "ws://h ",
        "ws://h /p",
        "ws://h/a b",
        "ws://h/a\nb",
        "ws://h\n",
        "w\ts://h",
        "ws://h/\x7f",
        "ws://h/\xe9",
        "ws://\xe9",
        "ws://a,b",
        "ws://a\\b",
        "ws://[::1",
        "ws://::1",
        "ws://[::1]x",
        "ws://[::1]9125",
        "ws://[]",
        "ws://a..b",
        "ws://.a",
        "ws://" + "a" * 64,
        "ws://" + "a" * 60 + ":9000",  # too long a label for the Host header's encoding
    ],
)
def test_a_bad_url(url: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_upstream(url)
    error = caught.value
    assert (error.name, error.value, error.allowed) == ("UPSTREAM", without_user(url), URL_FORMS)
    assert error.problem
    assert f"is not allowed: {error.problem}; allowed: " in str(error)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ws://host:99999", "the port is not from 1 to 65535"),
        ("ws://a/b?c=d", "it has a query (?)"),
        ("ws://a/b#c", "it has a fragment (#)"),
        ("ws://user:secret@h", "it has a user name or password"),
        (
            "http://localhost:8000/x",
            "it does not begin with ws:// or wss://; did you mean ws://localhost:8000/x?",
        ),
        ("https://h", "it does not begin with ws:// or wss://; did you mean wss://h?"),
        (
            "localhost:8000",
            "it does not begin with ws:// or wss://; did you mean ws://localhost:8000?",
        ),
        ("ftp://h", "it does not begin with ws:// or wss://"),
        ("h:x", "it does not begin with ws:// or wss://"),
        ("", "it is empty"),
        ("ws://h/a b", "it has a space or a character that is not ASCII"),
        ("ws://:80", "there is no host"),
        ("ws://a..b", "the host is neither a name nor an address"),
        ("ws://::1", "an IPv6 address stands in brackets: [::1]"),
        ("ws+unix:a.sock", "a socket's path begins with one / and has no : ? #"),
    ],
)
def test_what_is_wrong_with_a_url(url: str, problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_upstream(url)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    "url",
    [
        "ws://user:secret@h",
        "ws://secret@h:0",
        "ws://user:secret@@h?a",
        "ws://user:se/secret@h",
        "http://user:secret@h",
        "user:secret@h",
        "secret@h:1",
        "ws://user:secret\n@h",
    ],
)
def test_no_error_has_the_password_of_a_url(url: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_upstream(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.value)


@pytest.mark.parametrize(
    "url", ["ws://h", "wss://h:1/x", "ws://[::1]:9", "ws+unix:/a.sock", "ws+unix:/a.sock:/x"]
)
def test_an_upstream_has_its_url(url: str) -> None:
    assert parse_upstream(url).url == url


@given(st.text() | st.text(st.sampled_from("ws:/[]@?#%.a1 \n")).map("ws://".__add__))
def test_any_text_is_a_url_or_an_error(text: str) -> None:
    try:
        upstream = parse_upstream(text)
    except PolicyError:
        return
    assert 0 < upstream.port < 65536
    upstream.authority.encode("idna")
    assert upstream.target("/x").isascii()


def test_the_path_stands_in_front_of_the_clients() -> None:
    assert Upstream("h", 80).target("/x?y") == "/x?y"
    assert Upstream("h", 80, "/base").target("/?y") == "/base/?y"


def test_numbers_are_finite() -> None:
    for name in NUMBERS:
        assert isfinite(getattr(DEFAULT, name))
