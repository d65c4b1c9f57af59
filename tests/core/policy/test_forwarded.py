"""Who is the client behind proxies, and what the server is told of it."""

import pytest
from reknit_core.policy.forwarded import TrustedProxies
from reknit_core.wire.headers import HeaderList

PROXIES = TrustedProxies(frozenset(("10.0.0.0/8", "2001:db8::/32", "192.0.2.9")))


def given_for(*values: str) -> HeaderList:
    return tuple((b"x-forwarded-for", value.encode("latin-1")) for value in values)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("192.0.2.9", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("11.0.0.1", False),
        ("192.0.2.8", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
def test_who_is_trusted(peer: str, trusted: bool) -> None:
    assert PROXIES.trusts(peer) is trusted
    assert not TrustedProxies(frozenset()).trusts(peer)


def test_a_unix_socket_is_trusted_by_name() -> None:
    unix = TrustedProxies(frozenset(("unix",)))
    assert unix.trusts("")
    assert not unix.trusts("10.1.2.3")
    assert unix.client("", given_for("198.51.100.7")) == "198.51.100.7"
    told = unix.headers("", given_for("198.51.100.7"), "h", "http")
    assert (b"x-forwarded-for", b"198.51.100.7") in told


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        # Not trusted: what it says counts for nothing.
        ("11.0.0.1", ["1.2.3.4"], "11.0.0.1"),
        ("", ["1.2.3.4"], ""),
        # The rightmost that isn't a proxy of ours; what stands left of it may be invented.
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.9.9.9, 192.0.2.9"], "1.2.3.4"),
        ("10.0.0.1", ["1.2.3.4", "10.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", ["2001:db9::7"], "2001:db9::7"),
        # With ports, as some write it, and IPv4 within IPv6.
        ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        ("10.0.0.1", ["[2001:db9::7]:5678"], "2001:db9::7"),
        ("10.0.0.1", ["[2001:db9::7]"], "2001:db9::7"),
        ("10.0.0.1", ["1.2.3.4, ::ffff:10.0.0.2"], "1.2.3.4"),
        # All of them are ours, or nothing is said.
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["", " , "], "10.0.0.1"),
        # Broken: the last address that a trusted proxy vouched for.
        ("10.0.0.1", ["1.2.3.4, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["1.2.3.4, \xff"], "10.0.0.1"),
    ],
)
def test_who_is_the_client(peer: str, values: list[str], client: str) -> None:
    assert PROXIES.client(peer, given_for(*values)) == client


def test_what_a_client_says_of_itself_is_replaced() -> None:
    headers = (*given_for("1.2.3.4"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-port", b"1"))
    assert PROXIES.headers("11.0.0.1", headers, "h:81", "http") == (
        (b"x-forwarded-for", b"11.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"h:81"),
    )


def test_what_a_trusted_proxy_says_is_kept_and_goes_on() -> None:
    headers = (
        *given_for("6.6.6.6,1.2.3.4", "10.0.0.2"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-port", b"443"),
        (b"x-other", b"1"),
    )
    assert PROXIES.headers("10.0.0.1", headers, "h:81", "http") == (
        (b"x-forwarded-for", b"6.6.6.6, 1.2.3.4, 10.0.0.2, 10.0.0.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"h:81"),
        (b"x-forwarded-port", b"443"),
    )


def test_a_client_without_an_address_is_told_of_by_none() -> None:
    assert PROXIES.headers("", (), "h", "http") == (
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"h"),
    )
