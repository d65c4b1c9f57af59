"""What can be configured: the policy's settings, and what only the adapter needs to know.

An option has the same name, help, limits and default on the command line, in the environment and
in a TOML file. Those of the policy are made from its own table of settings, so that each one is
described once.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from math import inf
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from reknit_core.policy.policy import Policy
from reknit_core.policy.setting import PolicyError
from reknit_core.policy.upstream import URL_FORMS, Upstream, parse_upstream

from reknit.settings.addresses import MAX_UNIX_PATH, parse_address, parse_addresses, parse_path
from reknit.settings.cluster import cluster_options
from reknit.settings.option import Option, parse_as, policy_option, read_as, read_file_name
from reknit.settings.units import SECONDS

ALWAYS = 0.0  # --state-sync: on the disk before it is passed on
NEVER = inf  # or when the system likes
_SYNC = {"always": ALWAYS, "off": NEVER}
MIN_SYNC = 0.01  # seconds
MAX_SYNC = 3600.0


MAX_WORKERS = 64


class LogFormat(Enum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class Staying(Enum):
    """What becomes of sessions that can't move when another process takes over."""

    KEEP = "keep"
    DRAIN = "drain"


class LogLevel(Enum):
    """How much is logged: from everything to errors only."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _file(help: str, default: str = "none") -> Any:
    return field(default="", metadata={"help": help, "default": default})


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The names of PEM files; empty: not given. A key may stand in its certificate's file."""

    tls_cert: str = _file("Certificate with its chain: clients then connect by TLS.")
    tls_key: str = _file("The key of that certificate.", "in the file of --tls-cert")
    tls_client_ca: str = _file(
        "Authorities: a client must have a certificate signed by one of them."
    )
    upstream_ca: str = _file(
        "Authorities: the server must have a certificate signed by one of them.",
        "the system's authorities",
    )
    upstream_cert: str = _file("Certificate with its chain, sent to a server that demands one.")
    upstream_key: str = _file("The key of that certificate.", "in the file of --upstream-cert")
    node_cert: str = _file(
        "Certificate with its chain: the nodes of a cluster then speak TLS to each other."
    )
    node_key: str = _file("The key of that certificate.", "in the file of --node-cert")
    node_ca: str = _file("Authorities: a node must have a certificate signed by one of them.")
    cluster_ca: str = _file(
        "Authorities: a rediss:// store must have a certificate signed by one of them.",
        "the system's authorities",
    )


def parse_token(text: str) -> str:
    """Check a bearer token (RFC 6750, section 2.1). Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,}=*", text):
        raise ValueError
    return text


def parse_sync(text: str) -> float:
    """Seconds until what is kept must be on the disk, or a word for it. Raises ValueError."""
    return _SYNC[text] if text in _SYNC else SECONDS.read(text, MIN_SYNC, MAX_SYNC)


def count_workers(number: int) -> int:
    """How many there are to be; 0: one for each core that this process may use."""
    if number:
        return number
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return min(os.cpu_count() or 1, MAX_WORKERS)


def _read_workers(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_WORKERS:
        raise ValueError(value)
    return value


def read_upstreams(value: object) -> tuple[Upstream, ...]:
    """Read a list of URLs, or text with spaces between them. Raises ValueError."""
    urls = value if isinstance(value, list) else str(value).split()
    upstreams = tuple(parse_upstream(str(url)) for url in urls)
    if not upstreams:
        raise ValueError(value)
    if len({upstream.url for upstream in upstreams}) < len(upstreams):
        raise PolicyError("UPSTREAM", value, URL_FORMS, "a server is named twice")
    return upstreams


def parse_hook(text: str) -> str:
    """Check an http(s) URL to send to. Raises ValueError."""
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or parts.fragment
        or parts.port == 0
        or not re.fullmatch(r"[!-~]+", text)
    ):
        raise ValueError(text)
    parts.hostname.encode("idna")
    return text


def _options() -> Iterable[Option]:
    def read_address(value: object) -> object:
        return parse_address(str(value))

    levels = [level.value for level in LogLevel]
    yield Option(
        "upstream",
        "UPSTREAM",
        "The server behind the proxy, or several with spaces between.",
        URL_FORMS,
        "",
        str,
        read_upstreams,
    )
    yield Option(
        "listen",
        "[HOST]:PORT|PORT|unix:PATH,...",
        "Where clients connect. PORT alone is that of 127.0.0.1, :PORT that of 0.0.0.0 (all IPv4 "
        "addresses). [::] takes IPv6 only: :9300,[::]:9300 takes both.",
        "HOST:PORT, [IPV6]:PORT, :PORT or PORT, which is from 0 to 65535, or unix:PATH; or several "
        "of these",
        "127.0.0.1:9300",
        str,
        parse_addresses,
        is_list=True,
    )
    yield Option(
        "workers",
        "NUMBER",
        "Processes that share the work, each on a core of its own; 0: as many as there are cores.",
        f"a whole number, 0 to {MAX_WORKERS}",
        "1",
        int,
        _read_workers,
        limits=f"0 to {MAX_WORKERS}",
    )
    yield Option(
        "takeover",
        "PATH",
        "A Unix socket at which a new process takes over from the running one.",
        f"a path of at most {MAX_UNIX_PATH} bytes",
        "none",
        str,
        lambda value: parse_path(str(value)),
    )
    choices = [choice.value for choice in Staying]
    yield Option(
        "takeover_tls",
        "|".join(choices),
        "What happens to TLS sessions during a takeover, as they can't move: the old process "
        "keeps them until they end, or drains them.",
        ", ".join(choices),
        Staying.KEEP.value,
        str.lower,
        Staying,
    )
    yield Option(
        "state_dir",
        "DIR",
        "Directory in which sessions are kept, so that they survive a crash of the proxy.",
        "the name of a directory",
        "none",
        str,
        lambda value: Path(read_file_name(value)),
    )
    yield Option(
        "state_sync",
        "always|TIME|off",
        "When data in --state-dir must be on the disk: before it is passed on (always), within "
        "that time, or whenever the operating system chooses (off).",
        f"always, off, or {SECONDS.allowed(SECONDS.range(MIN_SYNC, MAX_SYNC))}",
        SECONDS.show(1),
        str.lower,
        lambda value: parse_sync(str(value)),
        quantity=SECONDS,
        words=_SYNC,
    )
    yield from cluster_options()
    yield Option(
        "log_level",
        "|".join(levels),
        "How much is logged, to standard error.",
        ", ".join(levels),
        LogLevel.INFO.value,
        str.lower,
        LogLevel,
    )
    formats = [form.value for form in LogFormat]
    yield Option(
        "log_format",
        "|".join(formats),
        "A line of text or a JSON object per event.",
        ", ".join(formats),
        LogFormat.TEXT.value,
        str.lower,
        LogFormat,
    )
    yield Option(
        "on_event",
        "URL",
        "Where to send events, as JSON in batches.",
        "http://HOST[:PORT][/PATH] or https://..., without user and password",
        "none",
        str,
        lambda value: parse_hook(str(value)),
    )
    yield Option(
        "admin",
        "[HOST]:PORT|PORT|unix:PATH",
        "Address of the admin listener: live page, metrics, control.",
        "HOST:PORT, [IPV6]:PORT, :PORT, PORT or unix:PATH",
        "off",
        str,
        read_address,
    )
    yield Option(
        "admin_token",
        "TOKEN",
        "Token that a request to --admin must carry; only in the environment or the file, as "
        "others can read a command line.",
        "16 or more letters, digits or ._~+/-",
        "none",
        str,
        lambda value: parse_token(str(value)),
        is_secret=True,
    )
    yield Option(
        "admin_requests",
        "BOOLEAN",
        "Whether --admin may send messages of its own to clients and servers.",
        "true or false",
        "off",
        lambda text: parse_as(bool, text),
        lambda value: read_as(bool, value),
        is_flag=True,
    )
    for item in fields(TlsFiles):
        meaning, default = item.metadata["help"], item.metadata["default"]
        yield Option(item.name, "FILE", meaning, "a file's name", default, str, read_file_name)
    kinds = get_type_hints(Policy)
    for item in fields(Policy):
        yield policy_option(item.name, kinds[item.name], item.default)


OPTIONS: Mapping[str, Option] = {option.name: option for option in _options()}
"""Everything that can be configured, by name."""
