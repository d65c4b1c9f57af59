"""Through the proxy, what RFC 6455 and RFC 7692 demand of an end comes out as straight from it.

Each case is played twice, straight and through a proxy; all that a strict peer and the other
end's program see must be the same, but for what differs on purpose: see DIFFERENCES, and "What
differs from a direct connection" in core/README.md.
"""

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import dataclass, fields

import pytest
from conformance.cases import cases_for_a_client, cases_for_a_server
from conformance.ends import (
    aiohttp_client,
    aiohttp_server,
    node_server,
    websockets_client,
    websockets_server,
)
from conformance.player import Seen
from conformance.run import Results, against_client, against_server
from node import skip_without_ws
from patience import LIMIT

ALL = ("websockets server", "aiohttp server", "ws server", "websockets client", "aiohttp client")
SERVERS, CLIENTS = ALL[:3], ALL[3:]
WEBSOCKETS, AIOHTTP = (ALL[0], ALL[3]), (ALL[1], ALL[4])


@dataclass(frozen=True)
class Difference:
    """What differs on purpose: in which cases, at which ends, and in what of Seen.

    `proxied`: how the connection's end looks through the proxy: its Close, and what is told.
    """

    why: str
    cases: str
    differs: frozenset[str]
    proxied: str
    ends: tuple[str, ...] = ALL


def difference(
    why: str, cases: str, differs: str, proxied: str, ends: tuple[str, ...] = ALL
) -> Difference:
    return Difference(why, cases, frozenset(differs.split()), proxied, ends)


BROKEN = "The proxy ends a session by itself where an end breaks RFC 6455"
STRICT = f"{BROKEN}, also where this stack would let it pass"
RETRY = "A Close with a code of the retry set means lost: no end is told of it but by a give-up"
LOST = "An end that goes without a Close is lost: the other one is told when it is given up"
CUT = "A message that its sender cuts by its own Close is dropped: the other end sees none of it"
OFFER = "Offers of permessage-deflate are read, and passed on in their normal form"
BAD_OFFER = "Offers that RFC 7692 doesn't allow are not passed on, so they are declined"
BAD_ANSWER = "An answer that RFC 7692 doesn't allow, or that wasn't offered, is not accepted"
AT_ONCE = "An end that breaks the protocol is told so before answers that are still to come"

GOODBYE = r"Close 1000\b.*, 1000\b.*"
GIVEN_UP = r"no Close, (1001|1013)\b.*"
DIFFERENCES = (
    difference(BROKEN, r".*", "told", r"Close (1002|1009), \1\b.*"),
    difference(
        BROKEN,
        r".* no UTF-8",
        "told",
        r"Close 1007, 1007\b.*",
        (*SERVERS, ALL[3]),
    ),
    difference(STRICT, r"length of (5|300) in .*", "messages close told", r"Close 1002, 1002\b.*"),
    difference(STRICT, r"length of 2\^63", "close told", r"Close 1002, 1002\b.*"),
    difference(
        STRICT, r"length of 2\^62", "close told", r"Close 1009, 1009\b.*", WEBSOCKETS + AIOHTTP
    ),
    difference(
        STRICT, r"the wrong mask bit.*", "messages controls close told", r"Close 1002, .*", AIOHTTP
    ),
    difference(STRICT, r"RSV1 on a .*, agreed", "controls close told", r"Close 1002, .*", AIOHTTP),
    difference(STRICT, r"Close \d+, not allowed.*", "close told", r"Close 1002, 1002", AIOHTTP),
    difference(
        AT_ONCE,
        r"a continuation behind a whole message",
        "messages",
        r"Close 1002, .*",
        (*AIOHTTP, ALL[2]),
    ),
    difference(RETRY, r"Close 10(01|1[234]).*", "close told", r"Close 10.., 1013\b.*", CLIENTS),
    difference(LOST, r"half-closed.*", "told", GIVEN_UP),
    difference(
        "A client that breaks off, as these two do at a window of 8, ends its session",
        r".* (in a window of 8|client_max_window_bits=8)",
        "close",
        r"Close 1001 the client has gone, .*",
        CLIENTS,
    ),
    difference(CUT, r".*Close (between|within) .*", "close", GOODBYE, WEBSOCKETS),
    difference(OFFER, r"offer Permessage-Deflate", "handshake messages", GOODBYE, SERVERS),
    difference(OFFER, r"offer .*\"10\"", "handshake messages", GOODBYE, AIOHTTP[:1]),
    difference(
        BAD_OFFER,
        r"offer .*(unknown|_bits|=(7|16|0|09|x|1)|takeover; server_no_.*|=9; server.*)(, .*)?",
        "handshake messages close end told",
        GOODBYE,
        (AIOHTTP[0], ALL[2]),
    ),
    difference(
        BAD_ANSWER,
        r"answer .*(=7|=16|_bits|, permessage-deflate|x-unknown)",
        "messages close told",
        r"no Close, no handshake",
        AIOHTTP[1:],
    ),
)

# aiohttp's client tells its own Close, or that the connection ended: whichever it sees first.
BY_CHANCE = (ALL[4], r".*")


def differing(straight: Seen, proxied: Seen) -> set[str]:
    names = (item.name for item in fields(Seen))
    return {name for name in names if getattr(straight, name) != getattr(proxied, name)}


def unexplained(end: str, straight: Results, proxied: Results) -> list[str]:
    """What differs without being listed, and what is listed and doesn't differ, for people."""
    listed = {one for one in DIFFERENCES if end in one.ends}
    found, used = [], set()
    for case, seen in proxied.items():
        differs = differing(straight[case], seen)
        ending = f"{seen.close}, {seen.told}"
        for one in listed:
            if re.fullmatch(one.cases, case) and re.fullmatch(one.proxied, ending):
                used |= {one} if differs & one.differs else set()
                differs -= one.differs
        for name in sorted(differs):
            was, now = getattr(straight[case], name), getattr(seen, name)
            found.append(f"{case}: {name}: straight {was}, proxied {now}")
    gone = [one.cases for one in listed - used if (end, one.cases) != BY_CHANCE]
    return found + [f"no longer differs: {cases}" for cases in gone]


def check(end: str, played: Awaitable[tuple[Results, Results]]) -> None:
    async def play() -> tuple[Results, Results]:
        async with asyncio.timeout(LIMIT):
            return await played

    straight, proxied = asyncio.run(play())
    assert unexplained(end, straight, proxied) == []
    assert proxied["text of 65536"].messages  # so something was played


@pytest.mark.parametrize("end", SERVERS)
def test_a_strict_client_sees_the_server(end: str) -> None:
    if end == "ws server":
        skip_without_ws()
    server = dict(zip(SERVERS, (websockets_server, aiohttp_server, node_server), strict=True))[end]
    check(end, against_server(server, cases_for_a_server()))


@pytest.mark.parametrize("end", CLIENTS)
def test_a_strict_server_sees_the_client(end: str) -> None:
    client = dict(zip(CLIENTS, (websockets_client, aiohttp_client), strict=True))[end]
    check(end, against_client(client, cases_for_a_client()))
