"""How the two legs of a session open: a client comes or comes back, a server accepts or refuses.

Between Session (session.py) and ContextStateMachine (context.py).
"""

from dataclasses import replace
from math import inf
from typing import assert_never

from reknit_core.codes import GAP, GOING_AWAY, TAKEN_OVER
from reknit_core.counters import DialResult, Resume
from reknit_core.events import ClientConnected, Side
from reknit_core.lifecycle import State, Trigger
from reknit_core.session.leg import Phase
from reknit_core.session.pinned import RECEIVED, counts, received_count
from reknit_core.session.retry import Failure, meaning
from reknit_core.session.session import Session
from reknit_core.session.sockets import hello_frame
from reknit_core.session.websocket import WebSocket
from reknit_core.wire.handshake import (
    Accepted,
    Failed,
    Refusal,
    ServerHandshake,
    encode_refusal,
    refusal,
)
from reknit_core.wire.headers import HeaderList, for_client, for_refused, retry_after, value_of
from reknit_core.wire.reasons import shortened

_TAKEN_OVER = "a newer connection took over"
_TAKEN_OVER_OPENING = refusal(409, "taken_over", _TAKEN_OVER)


class Opening(Session):
    """The opening handshakes of both legs, and the way back to both being connected."""

    __slots__ = ()

    def _client_connected(self, event: ClientConnected, now: float) -> None:
        client = self.client
        client.handshake, replaced = event.handshake, client.handshake
        client.hello = event.hello
        if self.state is State.OPENING:
            if replaced is not None:
                self._counters.handshakes[_TAKEN_OVER_OPENING.status] += 1
                farewell = encode_refusal(_TAKEN_OVER_OPENING)
                self._disconnect(client, farewell=farewell, linger=self._policy.close_timeout)
            else:
                self._opening_until = now + self._policy.handshake_wait
                self._dial(now)
            client.generation += 1
            client.phase = Phase.HANDSHAKE
            client.early = event.handshake.rest
            return
        self._pinned.named = True  # or it would not be here
        outcome = Resume.RESUMED
        if client.phase is not Phase.AWAY:
            outcome = Resume.TOOK_OVER
            farewell = client.last_words(TAKEN_OVER, _TAKEN_OVER)
            self._disconnect(client, farewell=farewell, linger=self._policy.close_timeout)
            self._lost(client, _TAKEN_OVER, now)
        client.generation += 1
        client.early = event.handshake.rest
        self._grace_until = inf
        self._counters.resumes[Side.CLIENT, outcome] += 1
        self._go_on(client, event.received)
        self._open_client((), now, returned=True)
        if self.state is State.CLOSING:
            self._part(client, now)
        else:
            self._fire(Trigger.CLIENT_RETURNED, "")
            self._start_draining()

    def _open_client(self, server_headers: HeaderList, now: float, *, returned: bool) -> None:
        """Answer the client's handshake; its frames follow, those first that came early."""
        client = self.client
        handshake = client.handshake
        assert handshake is not None
        client.handshake = None
        self._counters.handshakes[101] += 1
        known = counts(client.queue, client.source) if returned else None
        told = self._pinned.told_client(self._policy, known)
        headers = (*server_headers, *told, *self._pinned.agreed_headers())
        client.say(handshake.accept(self._pinned.subprotocol, headers), client.source.sent)
        if client.hello:
            client.say(hello_frame(told), client.source.sent)
        self._open(client, now)
        if self._policy.resume_token:
            client.ask(self._nonce, now)  # its Pong proves that it has got the fresh token

    def _open(self, leg: WebSocket, now: float) -> None:
        deflate = self._pinned.compression is not None
        leg.open(deflate=deflate, now=now, nonce=self._nonce)

    def _server_connected(self, now: float, wall: float | None) -> None:
        server = self.server
        request = self._pinned.server_request(
            self._policy,
            self._upstream,
            server.retry.attempt,
            counts(server.queue, server.source),
        )
        server.handshake = ServerHandshake(request)
        server.say(server.handshake.request(), server.source.sent)
        server.phase = Phase.HANDSHAKE
        server.since = now
        server.wall = wall

    def _server_answered(self, outcome: Accepted | Refusal | Failed, now: float) -> None:
        results = self._counters.dial_results
        match outcome:
            case Accepted():
                is_pared = self._pinned.pared and not self._pinned.agreed
                problem = self._pinned.agree(outcome)
                if problem is None:
                    if is_pared:
                        self._habits.cannot_compress(now)
                    results[DialResult.ACCEPTED] += 1
                    self._server_accepted(outcome, now)
                else:
                    results[DialResult.NO_HANDSHAKE] += 1
                    if self._pinned.pare(outcome):
                        self._ask_again(now)
                    else:
                        self._attempt_failed(Failure.REFUSED, problem, now)
            case Refusal():
                results[DialResult.REFUSED] += 1
                if self._pinned.pare(outcome):
                    self._ask_again(now)
                elif self.state is State.OPENING:
                    id_header = self._policy.id_header_name
                    headers = for_refused(outcome.headers, outcome.status, id_header)
                    self._refuse_client(replace(outcome, headers=headers), now)
                    self._end(Trigger.SERVER_REFUSED, GOING_AWAY, f"status={outcome.status}", now)
                else:
                    self._reconnect_refused(outcome, now)
            case Failed():
                results[DialResult.NO_HANDSHAKE] += 1
                failure = Failure.AWAY if outcome.cut else Failure.REFUSED
                self._attempt_failed(failure, outcome.reason, now)
            case _:
                assert_never(outcome)

    def _refused_so_far(self, now: float) -> bool:
        """The server says no more: whether it has refused, if only with a part of the body."""
        handshake = self.server.handshake
        if self.server.phase is not Phase.HANDSHAKE or handshake is None:
            return False
        answer = handshake.so_far
        if answer is None:
            return False
        self._server_answered(answer, now)
        return True

    def _server_accepted(self, answer: Accepted, now: float) -> None:
        server = self.server
        server.handshake = None
        server.retry.accepted(now)
        if self.state is not State.OPENING:
            claimed = value_of(answer.headers, RECEIVED)
            try:
                received = received_count(claimed)
            except ValueError:
                received = -1
            if received is not None and not server.can_go_on(received):
                self._counters.resumes[Side.SERVER, Resume.REFUSED] += 1
                self._gap(shortened(f"the server can't continue after message {claimed}"), now)
                return
            self._counters.resumes[Side.SERVER, Resume.RESUMED] += 1
            self._go_on(server, received)
        self._open(server, now)
        if self.state is State.CLOSING:
            self._part(server, now)
        else:
            if self._fire(Trigger.SERVER_ACCEPTED, "") is State.CONNECTED:
                self._opening_until = inf
                headers = for_client(answer.headers, self._policy.id_header_name)
                self._open_client(headers, now, returned=False)
            self._start_draining()
        server.early = answer.rest

    def _ask_again(self, now: float) -> None:
        """Dial at once, for less. No attempt has failed: what did not fit was the proxy's own."""
        self._disconnect(self.server)
        self.server.gone()
        self._dial(now)

    def _gap(self, reason: str, now: float) -> None:
        """A server that counts has not got what is gone here, or claims what was never sent."""
        self._recover = False
        self._disconnect(self.server)
        self.server.gone()
        if self.state is State.CLOSING:
            self._settle(now)
        else:
            self._end(Trigger.SESSION_FAILED, GAP, reason, now)

    def _reconnect_refused(self, answer: Refusal, now: float) -> None:
        server = self.server
        wall = None if server.wall is None else server.wall + now - server.since
        after = retry_after(answer.headers, wall)
        reason = f"the server answered {answer.status}"
        self._attempt_failed(meaning(answer.status, self._policy), reason, now, after)

    def _awaits(self, generation: int) -> bool:
        server = self.server
        return server.generation == generation and server.phase is Phase.DIALLING

    def _start_draining(self) -> None:
        if self.state is State.DRAINING:
            self._drain_to = (self.client.queue.tail, self.server.queue.tail)
            self._check_drained()

    def _check_drained(self) -> None:
        to_server, to_client = self._drain_to
        up, down = self.client.queue, self.server.queue
        # A full queue may have been cut since: then `tail` has moved back.
        if up.sent >= min(to_server, up.tail) and down.sent >= min(to_client, down.tail):
            self._fire(Trigger.DRAINED, "")
