"""Proxies in front: whom x-forwarded-for names as the client, and what the server is told."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from reknit_core.wire.headers import HeaderList

FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"
HOST = b"x-forwarded-host"
PREFIX = b"x-forwarded-"
UNIX = "unix"  # in --trust-forwarded: whoever connects through a unix socket
TRUST_WORDS = "IP addresses, networks like 10.0.0.0/8, or unix, separated by commas"

Address = IPv4Address | IPv6Address


def is_trustable(name: str) -> bool:
    """Whether `--trust-forwarded` takes that name."""
    try:
        if name != UNIX:
            ip_network(name)
    except ValueError:
        return False
    return True


def parse_address(text: str) -> Address | None:
    """An IP address, with or without a port; one of IPv4 within IPv6 as IPv4. None if it is none.

    x-forwarded-for has no grammar: some proxies write `192.0.2.1:5000` or `[2001:db8::1]:5000`.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


class TrustedProxies:
    """The addresses and networks of proxies in front, whose word on their clients counts."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_unix = UNIX in names
        self._networks = [ip_network(name) for name in names if name != UNIX]

    def trusts(self, peer: str) -> bool:
        """Whether a connection's other end is such a proxy; a unix socket's has no address."""
        if not peer:
            return self._by_unix
        return bool(self._networks) and self._holds(parse_address(peer))

    def client(self, peer: str, headers: HeaderList) -> str:
        """The client's address: the rightmost one in x-forwarded-for that is no trusted proxy's.

        What stands further left may have been written by the client. Where the list ends or is
        broken before one is found, it is the last address that a trusted proxy vouched for.
        """
        if not self.trusts(peer):
            return peer
        found = peer
        for part in reversed(_list(headers)):
            address = parse_address(part)
            if address is None:
                break
            found = str(address)
            if not self._holds(address):
                break
        return found

    def headers(self, peer: str, headers: HeaderList, host: str, proto: str) -> HeaderList:
        """What the server is told of the client.

        A trusted proxy's x-forwarded-* are kept, with its own address behind those in
        x-forwarded-for. From anyone else nothing is kept. `host`, `proto`: as this connection
        has them, for what no trusted proxy has said.
        """
        told = {FOR: b"", PROTO: proto.encode(), HOST: host.encode("latin-1", "replace")}
        chain = []
        if self.trusts(peer):
            told |= {key: value for key, value in headers if key.startswith(PREFIX)}
            chain = _list(headers)
        told[FOR] = ", ".join((*chain, peer) if peer else chain).encode("latin-1")
        return tuple((name, value) for name, value in told.items() if value)

    def _holds(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _list(headers: HeaderList) -> list[str]:
    values = (value.decode("latin-1") for name, value in headers if name == FOR)
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
