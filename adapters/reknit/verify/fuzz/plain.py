"""Any bytes at all as a plain request and its answer: what must hold of an exchange.

Both ends read what they get with an h11 of their own, which tells one message from two.
"""

import h11
from reknit_core.counters import Counters
from reknit_core.policy.policy import Http, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.plain_http import BOUND, Exchange, PlainHttp
from reknit_core.proxy.plain_request import PlainRequest, read_request
from reknit_core.servers import Servers
from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake

from reknit.verify.fuzz.choices import pieces

BETWEEN = b"\xff\xff"
"""Stands between the request, with what comes behind it, and the answer."""

_HEAD_ROOM = 2 * 16 * 1024  # bytes that a head may grow by: short lines of headers get longer


def feed_plain(data: bytes) -> None:
    """A request and its answer. Each end gets one message at most, and little is kept."""
    asked, _, said = data.partition(BETWEEN)
    handshake = ClientHandshake("192.0.2.1")
    coming = pieces(asked)
    request = None
    for piece in coming:
        request = read_request(handshake, piece, Http.PASS)
        if request is not None:
            break
    if not isinstance(request, PlainRequest):
        return
    plain = PlainHttp(
        Policy(), Servers(Upstream("server.test", 80), Policy()), Counters(), lambda: True
    )
    ends = _Ends(plain.begin(handshake, request, 0.0), request.method)
    for piece in coming:
        ends.hear(Side.CLIENT, piece)
    for piece in pieces(asked[:1] + said):
        ends.hear(Side.SERVER, piece)
    ends.finish()


class _Ends:
    """What the two ends have got, each as it reads it."""

    def __init__(self, exchange: Exchange, method: bytes) -> None:
        self._exchange = exchange
        self._server = h11.Connection(h11.SERVER)
        self._client = h11.Connection(h11.CLIENT)
        self._client.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
        self._most = BOUND + _HEAD_ROOM

    def hear(self, side: Side, piece: bytes) -> None:
        """That side says something, unless it has to wait for the other, which reads first."""
        self._most = max(self._most, BOUND + _HEAD_ROOM + 2 * len(piece))
        self._take()
        if not self._exchange.is_over and self._exchange.wants_read(side):
            self._exchange.receive_data(side, piece, 0.0)
            self._take()

    def finish(self) -> None:
        """The server ends its stream: then all is over."""
        exchange = self._exchange
        if not exchange.is_over:
            exchange.receive_eof(Side.SERVER, 0.0)
            self._take()
        if not exchange.is_over:
            raise AssertionError("the server has ended, and it goes on")
        if exchange.rest is not None and self._client.their_state is not h11.DONE:
            raise AssertionError("the client's connection stays open without a whole answer")

    def _take(self) -> None:
        for side, end in ((Side.CLIENT, self._client), (Side.SERVER, self._server)):
            while self._exchange.wants_write(side):
                data = self._exchange.pending(side)
                if len(data) > self._most:
                    raise AssertionError(f"{len(data)} bytes wait for the {side.value}")
                end.receive_data(data)
                while end.next_event() not in (h11.NEED_DATA, h11.PAUSED):
                    pass  # it raises for what can't be read
                if end.their_state is not h11.SEND_BODY and end.trailing_data[0]:
                    raise AssertionError(f"more than one message for the {side.value}")
                self._exchange.advance(side, len(data), 0.0)
