"""The frozen configuration of a proxy: each value with its unit, its range and its default.

The command line, the configuration file and the environment are made from this table too, so
that an option is described once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cache
from typing import Any

from reknit_core.policy.forwarded import TRUST_WORDS, is_trustable
from reknit_core.policy.origins import ORIGIN_WORDS, is_origin
from reknit_core.policy.setting import Setting
from reknit_core.policy.setting import setting as _setting
from reknit_core.side import Side


class Delivery(Enum):
    """What happens to messages that were on their way when a connection was lost."""

    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"


class Overflow(Enum):
    """What happens to a message that finds its queue full."""

    PAUSE = "pause"
    CLOSE = "close"
    DROP_OLDEST = "drop-oldest"
    DROP_NEWEST = "drop-newest"


class GraceFor(Enum):
    """Which lost clients are waited for."""

    ALL = "all"
    NAMED = "named"


class OnServerLoss(Enum):
    """What becomes of a session whose server is lost."""

    RESUME = "resume"
    END = "end"


class Balance(Enum):
    """Which of several servers a new session gets."""

    ORDER = "order"
    ID = "id"


class Http(Enum):
    """What happens to a request that is no WebSocket upgrade."""

    REFUSE = "refuse"
    PASS = "pass"  # noqa: S105


OF_CLIENT = "client"
OF_UPSTREAM = "upstream"
"""Whose Host the server is told; anything else is the name itself."""


def _name(default: str, help: str) -> Any:
    words = "1 or more letters, digits, '-', '_' or '.', other than names with a meaning already"
    taken = r"(?i:sec-websocket-|x-reconnect|x-forwarded-|reconnect_|(host|upgrade|connection)$)"
    return _setting(default, help, pattern=rf"(?!{taken})[A-Za-z0-9._-]+", words=words)


def _host(help: str) -> Any:
    words = f"{OF_CLIENT} (as it asks), {OF_UPSTREAM} (as UPSTREAM says), or NAME[:PORT]"
    name = r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    return _setting(OF_CLIENT, help, pattern=name, words=words)


def _flag(help: str) -> Any:
    return _setting(False, help, words="true or false")


def _bound(default: tuple[str, ...], help: str) -> Any:
    words = "authorization, origin and cookie:NAME, separated by commas; or nothing"
    pattern = r"authorization|origin|cookie:[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # RFC 6265, 4.1.1
    return _setting(frozenset(default), help, pattern=pattern, words=words)


def _codes(default: tuple[int, ...], help: str) -> Any:
    words = "close codes from 1000 to 4999, separated by commas"
    return _setting(frozenset(default), help, pattern=r"[1-4]\d{3}", words=words)


def _statuses(default: tuple[int, ...], help: str) -> Any:
    words = "HTTP statuses from 200 to 599, separated by commas"
    setting = Setting(help, pattern=r"[2-5]\d{2}", words=words, metavar="STATUS")
    return field(default=frozenset(default), metadata={"setting": setting})


def _list(accepts: Callable[[str], bool], metavar: str, words: str, help: str) -> Any:
    setting = Setting(help, words=words, accepts=accepts, metavar=metavar)
    return field(default=frozenset(), metadata={"setting": setting})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a proxy behaves. Raises PolicyError for a value that is not allowed."""

    retry_interval: float = _setting(
        1.0,
        "Wait between two attempts to reach a lost server, before --retry-backoff and "
        "--retry-jitter.",
        "seconds",
        0.001,
        86400,
    )
    retry_limit: int = _setting(
        60,
        "Attempts to reach a lost server before the session ends; 0: end it at once.",
        "attempts",
        0,
        10**9,
    )
    refused_limit: int = _setting(
        15, "Attempts that a lost server may refuse before the session ends.", "attempts", 1, 10**9
    )
    retry_backoff: float = _setting(
        1.0, "Factor by which the wait grows with each attempt.", "", 1, 100
    )
    retry_cap: float = _setting(60.0, "Longest wait between attempts.", "seconds", 0.001, 86400)
    retry_jitter: float = _setting(
        0.2,
        "Random share (0 to 1) by which each wait is shortened, so that sessions don't all dial "
        "at once.",
        "",
        0,
        1,
    )
    retry_time: float = _setting(
        0.0,
        "Time limit for reaching a lost server, whatever --retry-limit allows; 0: no limit.",
        "seconds",
    )
    retry_reset: float = _setting(
        1.0,
        "How long a server connection must last before the count of attempts starts anew.",
        "seconds",
        0,
        86400,
    )
    on_server_loss: OnServerLoss = _setting(
        OnServerLoss.RESUME,
        "What becomes of a client whose server is lost: it stays, and goes on with the next server "
        "connection (resume), or it is closed with 1012 and begins anew (end).",
    )
    balance: Balance = _setting(
        Balance.ORDER,
        "Which of several servers a new session gets: the first one that is up (order), or one by "
        "its connection id, so that sessions spread (id).",
    )
    server_check: float = _setting(
        0.0,
        "How often the proxy checks each server by a connection of its own; 0: only one that is "
        "down.",
        "seconds",
        0,
        86400,
    )
    server_check_path: str = _setting(
        "",
        "Path that a check asks for by GET: the server is up if it answers with 2xx or 3xx. "
        "Without it, a connection is enough.",
        pattern=r"(/[!-~]*)?",
        words="a path that begins with /, or nothing",
        metavar="PATH",
    )
    ready_needs_server: bool = _flag(
        "Whether /readyz answers 503 while no server is up.",
    )
    client_grace: float = _setting(
        60.0,
        "How long a session waits for a lost client to return; 0: end it at once.",
        "seconds",
        0,
        10**7,
    )
    grace_for: GraceFor = _setting(
        GraceFor.NAMED,
        "Which lost clients are waited for: those that can come back, as they have named an id or "
        "sent any x-reconnect header (named), or all.",
    )
    delivery: Delivery = _setting(
        Delivery.AT_LEAST_ONCE,
        "What a lost connection may cost: messages on their way are lost (at-most-once) or may "
        "be repeated (at-least-once).",
    )
    confirm_bytes: int = _setting(
        512 * 1024,
        "Unconfirmed bytes after which the proxy asks a peer to confirm, by a Ping.",
        "bytes",
        1,
        2**40,
    )
    confirm_after: float = _setting(
        0.25,
        "Time after which the proxy asks a peer to confirm what is unconfirmed.",
        "seconds",
        0,
        3600,
    )
    replay_window: int = _setting(
        512 * 1024,
        "Confirmed bytes kept in each direction for a peer that counts its messages.",
        "bytes",
        0,
        2**40,
    )
    id_header: str = _name("x-connection-id", "Header that carries the connection id.")
    id_query: str = _name("connection_id", "Query parameter that carries the connection id.")
    id_cookie: str = _name("connection_id", "Cookie that carries the connection id.")
    bind: frozenset[str] = _bound(
        ("authorization", "origin"),
        "What a returning client must send unchanged, to resume its session.",
    )
    resume_token: bool = _flag(
        "Whether a returning client must also send the token of its last 101 response."
    )
    require_minted_id: bool = _flag(
        "Whether only the proxy makes ids: a client with an unknown id gets 404."
    )
    server_retry_codes: frozenset[int] = _codes(
        (1001, 1012, 1013, 1014),
        "Close codes after which the proxy reconnects to the server; others end the session.",
    )
    server_final_statuses: frozenset[int] = _statuses(
        (400, 401, 403, 410), "Statuses by which a lost server ends the session at once."
    )
    client_retry_codes: frozenset[int] = _codes(
        (1001,), "Close codes after which the session waits for the client; others end it."
    )
    dialect: str = _setting(
        "auto",
        "What the proxy understands of the messages, to tell a new server what it must know: by "
        "the handshake (auto), nothing (none), a dialect's name, or a TOML file that describes "
        "one; of several, with commas, the first that the handshake shows.",
        pattern=r"[^,\0-\x1f]+(,[^,\0-\x1f]+)*",
        words="auto, none, the name of a dialect, or a file: a path with a /, or a name that ends "
        "with .toml; or several of these with commas",
        metavar="auto|none|NAME|FILE,...",
    )
    queue_bytes: int = _setting(
        4 * 2**20,
        "Size of a queue: bytes that wait in one direction of a session.",
        "bytes",
        1,
        2**40,
    )
    queue_messages: int = _setting(
        65536,
        "Size of a queue: messages that wait in one direction of a session.",
        "messages",
        1,
        10**9,
    )
    queue_total: int = _setting(
        1024 * 2**20, "Bytes held in memory for all sessions together.", "bytes", 1, 2**50
    )
    overflow_to_server: Overflow = _setting(
        Overflow.PAUSE, "What happens when a queue to the server is full."
    )
    overflow_to_client: Overflow = _setting(
        Overflow.PAUSE, "What happens when a queue to the client is full."
    )
    session_limit: int = _setting(
        100_000, "Sessions at the same time; a further client gets 503.", "sessions", 1, 10**9
    )
    allow_origin: frozenset[str] = _list(
        is_origin, "ORIGIN", ORIGIN_WORDS, "Origins whose pages may connect; none: all."
    )
    trust_forwarded: frozenset[str] = _list(
        is_trustable,
        "NETWORK",
        TRUST_WORDS,
        "Addresses of proxies in front, whose x-forwarded-* headers are believed.",
    )
    proxy_protocol_from: frozenset[str] = _list(
        is_trustable,
        "NETWORK",
        TRUST_WORDS,
        "Addresses of balancers, whose connections begin with a PROXY protocol header.",
    )
    connection_limit: int = _setting(
        100_000,
        "Client connections at the same time; a further one gets 503.",
        "connections",
        1,
        10**9,
    )
    address_connections: int = _setting(
        0,
        "Connections at the same time from one address; a further one gets 429; 0: no limit.",
        "connections",
        0,
        10**9,
    )
    address_rate: float = _setting(
        0.0,
        "Requests per second from one address; a further one gets 429; 0: no limit.",
        "requests",
        0,
        10**6,
    )
    message_limit: int = _setting(
        16 * 2**20, "Largest message; a larger one ends the session.", "bytes", 125, 2**40
    )
    heartbeat_interval: float = _setting(
        10.0,
        "The proxy sends a Ping to a peer that has been silent for this long; 0: never.",
        "seconds",
        0,
        86400,
    )
    heartbeat_timeout: float = _setting(
        8.0,
        "A peer that is silent for this long after the Ping counts as lost.",
        "seconds",
        0.001,
        86400,
    )
    connect_timeout: float = _setting(
        5.0,
        "Time limit for a connection to the server, and for its handshake.",
        "seconds",
        0.001,
        3600,
    )
    handshake_wait: float = _setting(
        15.0, "How long a new client waits for the server to accept.", "seconds", 0.001, 3600
    )
    request_timeout: float = _setting(
        10.0, "Time limit for a client to send its handshake.", "seconds", 0.001, 3600
    )
    close_timeout: float = _setting(
        5.0, "Time limit for a peer to answer a Close frame.", "seconds", 0.001, 3600
    )
    drain_time: float = _setting(
        10.0,
        "Time over which a proxy that stops spreads the closing of its sessions; 0: all at once.",
        "seconds",
        0,
        86400,
    )
    host: str = _host("Host header for the server: the client's, the upstream's, or a name.")
    http: Http = _setting(
        Http.REFUSE,
        "What happens to a request that isn't a WebSocket upgrade: answer 426 (refuse), or "
        "forward it to the server (pass).",
    )
    http_timeout: float = _setting(
        60.0, "Idle timeout of a forwarded plain request.", "seconds", 0.001, 86400
    )

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            setting.check(name, getattr(self, name))

    @property
    def id_header_name(self) -> bytes:
        """The connection id's header as it is compared and sent: in lower case."""
        return _lower(self.id_header)

    @property
    def confirm_bytes_at_most(self) -> int:
        """Unconfirmed bytes after which a peer is asked: before they fill the queue."""
        return min(self.confirm_bytes, self.queue_bytes // 2 + 1)

    def overflow(self, sender: Side) -> Overflow:
        """What happens when the queue of what that side sends is full."""
        return self.overflow_to_server if sender is Side.CLIENT else self.overflow_to_client

    def retry_codes(self, side: Side) -> frozenset[int]:
        """The close codes by which that side is lost rather than done."""
        return self.client_retry_codes if side is Side.CLIENT else self.server_retry_codes


@cache  # each session asks several times
def _lower(name: str) -> bytes:
    return name.lower().encode()


SETTINGS: dict[str, Setting] = {item.name: item.metadata["setting"] for item in fields(Policy)}
"""Every field of the policy by name, with what is allowed for it."""
