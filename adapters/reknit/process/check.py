"""Whether settings can be served here: their files, directories and addresses.

Nothing listens, nothing is written, and no session is touched: so it may run beside the proxy
that these settings are for.
"""

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.wire.reasons import reason_of

from reknit.observe.dialects import load_dialects
from reknit.process.clustering import keep_in_cluster
from reknit.settings.addresses import Address, Listen, UnixPath
from reknit.settings.config import Config
from reknit.settings.options import OPTIONS
from reknit.state.directory import StateError, check_directory
from reknit.trio.transport.certificates import CertificateError, Certificates


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for people. `is_setting`: a setting is wrong, rather than the system.

    `is_remark`: the proxy starts nevertheless.
    """

    text: str
    is_setting: bool = False
    is_remark: bool = False


def findings(config: Config) -> Iterator[Finding]:
    """What stands in the way of a proxy with these settings, or may."""
    yield from _of_files(config)
    for address in _addresses(config):
        match address:
            case Listen():
                yield from _of_listener(address)
            case UnixPath(path):
                yield from _of_socket_file(path, f"can't listen on {address}")
    if config.takeover is not None:
        yield from _of_socket_file(str(config.takeover), f"can't listen at {config.takeover}")
    yield from _of_peers(config)


def _of_files(config: Config) -> Iterator[Finding]:
    try:
        Certificates(config.tls, secure_upstream=config.is_secure)
    except CertificateError as error:
        yield Finding(str(error), is_setting=True)
    try:
        load_dialects(config.policy)
    except DialectError as error:
        yield Finding(f"{OPTIONS['dialect'].flag}: {error}", is_setting=True)
    try:
        if config.state_dir is not None:
            check_directory(config.state_dir)
        if config.cluster:
            keep_in_cluster(config)
    except StateError as error:
        yield Finding(str(error))


def _addresses(config: Config) -> Iterable[Address]:
    """Where the proxy would listen."""
    return config.listen if config.admin is None else (*config.listen, config.admin)


def _of_listener(address: Listen) -> Iterator[Finding]:
    try:
        for family, kind, protocol, _, place in _looked_up(address.host, address.port):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = (
                f"{address} is in use: by the proxy that is to be replaced, or by another program"
            )
            yield Finding(text, is_remark=True)
        else:
            yield Finding(f"can't listen on {address}: {reason_of(error)}")


def _of_socket_file(name: str, what: str) -> Iterator[Finding]:
    path = Path(name)
    if not path.parent.is_dir():
        yield Finding(f"{what}: {path.parent} is no directory")
    elif path.exists() and not path.is_socket():
        yield Finding(f"{what}: {path} is there, and is no socket")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield Finding(f"{what}: {path.parent}: Permission denied")


def _of_peers(config: Config) -> Iterator[Finding]:
    """Names are looked up whenever they are needed: what can't be found now may be later."""
    for upstream in config.upstreams:
        if not upstream.socket_path:
            yield from _of_name(upstream.host, f"the server {upstream.url}")
        elif not Path(upstream.socket_path).is_socket():
            yield Finding(f"{upstream.url}: no socket is there now", is_remark=True)
    for store in config.cluster:
        yield from _of_name(store.host, f"--cluster {store}")
    if config.on_event is not None:
        yield from _of_name(urlsplit(config.on_event).hostname or "", OPTIONS["on_event"].flag)


def _of_name(host: str, what: str) -> Iterator[Finding]:
    try:
        _looked_up(host, 0)
    except OSError as error:
        text = f"{what}: {host} can't be looked up now: {reason_of(error)}"
        yield Finding(text, is_remark=True)


def _looked_up(host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """The addresses of a host. Raises OSError."""
    return socket.getaddrinfo(  # type: ignore[return-value]
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
