"""Where to listen: addresses of the network and Unix sockets."""

import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

HERE = "127.0.0.1"
ALL = "0.0.0.0"  # noqa: S104
MAX_UNIX_PATH = 100  # bytes: below every system's sun_path

_LOCALHOST = {"localhost": [HERE, "::1"]}


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients connect. Port 0: the system chooses one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixPath:
    """Where clients connect: the file of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = Listen | UnixPath


def parse_listen(text: str) -> Listen:
    """Read `HOST:PORT` or `[IPV6]:PORT`; `PORT` is of HERE, `:PORT` of ALL. Raises ValueError."""
    if re.fullmatch(r":?[0-9]{1,5}", text, re.ASCII):
        text = f"{ALL if text.startswith(':') else HERE}:{text.lstrip(':')}"
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([\w.%-]+)):([0-9]{1,5})", text, re.ASCII)
    if match is None or int(match[3]) > 65535:
        raise ValueError(text)
    (match[1] or match[2]).encode("idna")  # as looking the name up would
    return Listen(match[1] or match[2], int(match[3]))


def address_of(name: str | tuple[str, int]) -> Address:
    """Where a socket listens, from its getsockname(); for IPv6 that has two fields more."""
    return UnixPath(name) if isinstance(name, str) else Listen(name[0], name[1])


def is_loopback(host: str) -> bool:
    """Whether a name or address certainly means this machine."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def leads_to(host: str, port: int, listen: Listen) -> bool:
    """Whether who connects to that host and port certainly comes to this listener."""
    if port != listen.port:
        return False
    mine, theirs = _ips(listen.host), _ips(host)
    if any(ip.is_unspecified for ip in mine):
        here = {ip.version for ip in theirs if ip.is_loopback or ip.is_unspecified}
        return any(ip.version in here for ip in mine)
    return bool(mine & theirs) or listen.host.lower() == host.lower()


def _ips(host: str) -> set[IPv4Address | IPv6Address]:
    """The addresses of a host, as far as they are certain."""
    try:
        return {ip_address(name) for name in _LOCALHOST.get(host.lower(), [host])}
    except ValueError:
        return set()


def parse_address(text: str) -> Address:
    """Read `HOST:PORT` or `unix:PATH`. Raises ValueError."""
    scheme, _, path = text.partition(":")
    if scheme != "unix":
        return parse_listen(text)
    return UnixPath(str(parse_path(path)))


def parse_addresses(value: object) -> tuple[Address, ...]:
    """Read a list of addresses, or text with commas between them. Raises ValueError.

    In a list the path of a Unix socket may have commas.
    """
    items = (
        value if isinstance(value, list) else [part.strip(" ") for part in str(value).split(",")]
    )
    addresses = tuple(parse_address(str(item)) for item in items)
    if not addresses:
        raise ValueError(value)
    return addresses


def parse_path(text: str) -> Path:
    """Read the path of a Unix socket. Raises ValueError."""
    if not text or "\0" in text or len(os.fsencode(text)) > MAX_UNIX_PATH:
        raise ValueError(text)
    return Path(text)
