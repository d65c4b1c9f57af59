"""Connecting to the store: to the one of several that is the primary, and that is fit for it."""

import os
import socket
import ssl
from dataclasses import dataclass, field
from time import time

import trio
from reknit_core.wire.reasons import reason_of, shortened

from reknit.cluster.redis import Redis, RedisError, Reply, Words
from reknit.settings.cluster import StoreUrl
from reknit.settings.files import read_file
from reknit.sockets.poller import READ
from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import TlsError, TlsSocket

PATIENCE = 2.0  # seconds for all of it
_VERSION = (6, 2)  # the first one with NOMKSTREAM and MINID


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into the store. `urls`: of servers of which one is the primary."""

    urls: tuple[StoreUrl, ...]
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return ", ".join(map(str, self.urls))


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to the primary. `ahead`: seconds by which its clock is before this machine's."""

    redis: Redis
    url: StoreUrl
    ahead: float


def make_tls(urls: tuple[StoreUrl, ...], ca: str) -> ssl.SSLContext | None:
    """How to speak TLS with the store, if that is to be; `ca`: a PEM file, or empty.

    Raises OSError or ValueError.
    """
    if not any(url.secure for url in urls):
        return None
    context = ssl.create_default_context()
    if ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=read_file(ca).decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def connect(access: Access) -> Connected:
    """Connect to all at once, and take the primary. Raises RedisError."""
    found: list[Connected] = []
    problems: dict[StoreUrl, RedisError] = {}

    async def try_one(url: StoreUrl) -> None:
        try:
            connected = await _connect(url, access)
        except RedisError as error:
            problems[url] = error
            return
        if found:
            connected.redis.close("another one is used")
            return
        found.append(connected)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for url in access.urls:
            nursery.start_soon(try_one, url)
    if found:
        return found[0]
    text = "; ".join(f"{url}: {problems[url]}" for url in access.urls if url in problems)
    raise RedisError(text, is_final=any(error.is_final for error in problems.values()))


async def _connect(url: StoreUrl, access: Access) -> Connected:
    with trio.move_on_after(PATIENCE):
        try:
            sock = await _open(url, access.tls)
        except TlsError as error:
            raise RedisError(str(error), is_final=error.answered) from None
        except OSError as error:
            raise RedisError(_reason(error)) from None
        redis = Redis(sock)
        try:
            return Connected(redis, url, await _greet(redis, url, access.password))
        except BaseException:
            redis.close("it is not used")
            raise
    raise RedisError(f"no answer for {PATIENCE:g} seconds")


def _reason(error: OSError) -> str:
    """What went wrong, at the first of several addresses; trio's own text has the address twice."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    first = cause if isinstance(cause, OSError) else error
    if first.errno and not isinstance(first, socket.gaierror):
        return os.strerror(first.errno)
    return shortened(reason_of(first))


async def _open(url: StoreUrl, tls: ssl.SSLContext | None) -> StreamSocket:
    """Raises OSError."""
    stream = await trio.open_tcp_stream(url.host, url.port)
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if not url.secure:
        return sock
    try:
        assert tls is not None
        secured = TlsSocket(sock, tls, url.host)
        while waits_for := secured.shake_hands():
            if waits_for == READ:
                await trio.lowlevel.wait_readable(sock)
            else:
                await trio.lowlevel.wait_writable(sock)
    except BaseException:
        sock.close()
        raise
    return secured


async def _greet(redis: Redis, url: StoreUrl, password: str) -> float:
    """Log in, and look whether it is fit; returns Connected.ahead. Raises RedisError."""
    commands: list[Words] = []
    if password:
        commands.append(("AUTH", url.user, password) if url.user else ("AUTH", password))
    if url.database:
        commands.append(("SELECT", url.database))
    logged_in = len(commands)
    began = time()
    commands += [("ROLE",), ("INFO", "server"), ("INFO", "memory"), ("TIME",)]
    replies = await redis.ask(*commands)
    role, server, memory, clock = replies[logged_in:]
    assert isinstance(role, list)
    if role[0] != b"master":
        raise RedisError("it is a replica")
    _check_version(_read_info(server))
    _check_memory(_read_info(memory))
    assert isinstance(clock, list)
    seconds, micros = (int(part) for part in clock)  # type: ignore[arg-type]
    return seconds + micros / 1e6 - (began + time()) / 2


def _check_version(info: dict[str, str]) -> None:
    text = info.get("redis_version", "")
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if numbers and numbers < _VERSION:
        needed = ".".join(map(str, _VERSION))
        raise RedisError(f"it has version {text}; {needed} or later is needed", is_final=True)


def _check_memory(info: dict[str, str]) -> None:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        reason = f"its maxmemory-policy is {policy}, by which it may forget sessions: noeviction"
        raise RedisError(reason + " is needed", is_final=True)


def _read_info(reply: Reply) -> dict[str, str]:
    assert isinstance(reply, bytes)
    lines = reply.decode("utf-8", "replace").splitlines()
    return {key: value for key, _, value in (line.partition(":") for line in lines)}
