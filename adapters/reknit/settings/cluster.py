"""The options of a cluster: its store, and how its nodes know each other."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, unquote, urlsplit

from reknit_core.policy.setting import PolicyError
from reknit_core.wire.reasons import without_user

from reknit.settings.addresses import parse_listen
from reknit.settings.option import Option, quantity_option
from reknit.settings.units import SECONDS

PORT = 6379
MIN_SECRET = 32
_FORMS = "redis://[USER@]HOST[:PORT][/DATABASE] or rediss://..., without a password; or several"


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where a Redis or Valkey is. `database`: its number. `user`: empty for the default one."""

    host: str
    port: int = PORT
    secure: bool = False
    user: str = ""
    database: int = 0

    @property
    def url(self) -> str:
        """As parse_store() reads it."""
        scheme, _, place = str(self).partition("://")
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"{scheme}://{user}{place}" + (f"/{self.database}" if self.database else "")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' * self.secure}://{host}:{self.port}"


def parse_store(text: str) -> StoreUrl:
    """Read a URL of Redis. Raises ValueError."""
    parts = urlsplit(text)
    if parts.password is not None:
        where = "it has a password, which belongs into REKNIT_CLUSTER_PASSWORD"
        raise PolicyError("cluster", without_user(text), _FORMS, where)
    database = re.fullmatch(r"/?|/([0-9]{1,5})", parts.path)
    if (
        parts.scheme not in ("redis", "rediss")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or parts.port == 0
        or database is None
        or not re.fullmatch(r"[!-~]+", text)
    ):
        raise ValueError(text)
    host = parts.hostname
    if ":" in host:
        ip_address(host.partition("%")[0])
    host.encode("idna")
    number = int(database[1] or 0)
    user = unquote(parts.username or "")
    return StoreUrl(host, parts.port or PORT, parts.scheme == "rediss", user, number)


def parse_stores(value: object) -> tuple[StoreUrl, ...]:
    """Read a list of URLs, or text with commas between them. Raises ValueError."""
    items = value if isinstance(value, list) else str(value).split(",")
    stores = tuple(parse_store(str(item).strip(" ")) for item in items)
    if not stores:
        raise ValueError(value)
    return stores


def _parse_name(value: object) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", str(value)):
        raise ValueError(value)
    return str(value)


def _parse_secret(value: object) -> str:
    if not isinstance(value, str) or len(value) < MIN_SECRET:
        raise ValueError
    return value


def _parse_password(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def cluster_options() -> Iterable[Option]:
    """All of them."""
    yield Option(
        "cluster",
        "URL,...",
        "Redis or Valkey in which sessions are kept, so that they survive the machine. Of several "
        "that are replicas of each other, the primary is used.",
        _FORMS,
        "none",
        str,
        parse_stores,
        is_list=True,
    )
    yield Option(
        "cluster_name",
        "NAME",
        "What all names in the store begin with. Nodes with the same name are one cluster.",
        "1 to 64 letters, digits or ._-",
        "reknit",
        str,
        _parse_name,
    )
    yield Option(
        "cluster_secret",
        "TEXT",
        "What the nodes of a cluster share, and nobody else knows; only in the environment or the "
        "file, as others can read a command line.",
        f"{MIN_SECRET} or more characters",
        "none",
        str,
        _parse_secret,
        is_secret=True,
    )
    yield Option(
        "cluster_password",
        "TEXT",
        "Password of the store; only in the environment or the file.",
        "any text",
        "none",
        str,
        _parse_password,
        is_secret=True,
    )
    yield Option(
        "node_address",
        "HOST:PORT",
        "Where the other nodes of the cluster reach this one. Port 0: a free one.",
        "HOST:PORT or [IPV6]:PORT, with a port from 0 to 65535",
        "none",
        str,
        lambda value: parse_listen(str(value)),
    )
    yield Option(
        "node_listen",
        "HOST:PORT",
        "Where this node waits for the others, if that is another address than they know.",
        "HOST:PORT or [IPV6]:PORT, with a port from 0 to 65535",
        "the port of --node-address, on all addresses",
        str,
        lambda value: parse_listen(str(value)),
    )
    yield quantity_option(
        "cluster_lease",
        "How long a node is known to live after each sign of life. So long a dead node's sessions "
        "wait for another one.",
        SECONDS,
        5.0,
        2.0,
        60.0,
    )
    yield quantity_option(
        "cluster_alone",
        "How long sessions go on while their node can't reach the store. So long a node that the "
        "dead one never knew waits before it takes over its sessions.",
        SECONDS,
        600.0,
        0.0,
        86400.0,
    )
