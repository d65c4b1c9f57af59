"""Who speaks in a simulated dialect: a client over all its connections, a server over one."""

from functools import partial
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

from reknit_core.codes import SERVICE_RESTART

from reknit.memory.network import MemorySocket
from reknit.verify.simulation.actors import DIAL_TIMEOUT, RECEIVED
from reknit.verify.simulation.languages import Diary
from reknit.verify.simulation.scene import PROXY
from reknit.verify.simulation.stack import Cut, Stack

if TYPE_CHECKING:
    from reknit.verify.simulation.spoken import Spoken


BEGINS_ANEW = "the client begins anew"  # the reason of a Close


class Talker:
    """A client: it begins once, and comes back to its session when its connection is lost.

    Or it has forgotten all but its id, and begins its protocol anew. Then it can't count: it does
    not know what of the session was its own. It forgets at each loss from then on.

    Up to a `_mark` in its stream (bytes) it hears what was said to its former life. That stands
    where the proxy has sought another server for its first word, or a server has heard that as its
    first one; at infinity until then.
    """

    def __init__(self, stage: "Spoken", name: str) -> None:
        self.diary = Diary()
        self._stage = stage
        self._name = name
        self._session = 0
        self._stack: Stack | None = None
        self._received = 0
        self._sent: list[bytes] = []
        self._has_forgotten = False
        self._counts = self._may_count = False  # whether the proxy knows that it counts
        self._first = 0  # which of its messages ends its first word
        self._is_whole = True  # whether that is one message, or at the beginning of one
        self._said_at = inf  # where that message ends in what was sent (bytes)
        self._mark: float = 0
        self._is_anew = False  # whether the proxy has sought another server
        self._is_ended = False  # or has ended the session
        self._is_within = False  # and this within a message for the client

    @property
    def is_here(self) -> bool:
        """Whether its connection is open."""
        return self._stack is not None and self._stack.open

    @property
    def session(self) -> str:
        """Its connection id."""
        return f"{self._name}.{self._session}"

    def begin(self) -> None:
        """A new session, in which all is asked again that was not answered."""
        self._session += 1
        self._stage.talkers[self.session] = self
        self._has_forgotten = self._counts = self._may_count = False
        self._begin(0)

    def _begin(self, mark: float) -> None:
        self._mark = mark
        self._is_anew = self._is_ended = self._is_within = False
        self._received, self._sent = 0, []
        self._client = self._stage.language.client(self.diary)
        word = self._client.begin()
        self._dial({"X-Connection-Id": self.session})
        self._say([word, *map(self._client.ask, self.diary.unanswered)])
        sizes = accumulate(map(len, self._sent))
        self._first = next(place for place, size in enumerate(sizes) if size >= len(word))
        self._is_whole = self._first == 0

    def _forget(self) -> None:
        """As a page that is loaded again and has stored its id: another life begins."""
        self.diary.forget()
        self._has_forgotten = True
        self._begin(inf)

    def gets_another_server(self) -> None:
        """The proxy seeks a server that knows nothing of the session."""
        if self._is_taken:
            self._mark, self._is_anew = self._place, True
            self._stage.began_anew(elsewhere=False)

    def is_ended(self) -> None:
        """The proxy ends the session: what it still hears is of that."""
        if self._is_taken:
            self._mark, self._is_ended = self._place, True

    def is_heard(self) -> None:
        """A server has heard its first word."""
        if self._mark == inf:
            self._mark = self._place

    @property
    def _is_taken(self) -> bool:
        """Whether the proxy has read its first word, which is not the session's."""
        return self._stack is not None and self._stack.socket.accepted >= self._said_at

    @property
    def _place(self) -> int:
        """How much of its stream the proxy has sent (bytes)."""
        return 0 if self._stack is None else self._stack.socket.peer.sent

    def ask(self) -> None:
        """One more request, also while it is away."""
        self.diary.asked += 1
        self._say([self._client.ask(self.diary.asked)])

    def lose(self, how: Cut) -> None:
        """Its connection is lost; it comes back."""
        if self.is_here:
            assert self._stack is not None
            self._stack.cut(how)

    def received(self, message: bytes) -> None:
        """As an Application."""
        assert self._stack is not None
        self._received += 1
        start, end = self._stack.frame
        self._is_within |= start < self._mark < end
        if start < self._mark or self._is_ended:
            return  # for its former life
        if self._is_anew:
            self._is_anew = False
            self._check(can_begin=False)
        self._say(self._client.hear(message))

    def _check(self, *, can_begin: bool) -> None:
        """It could begin anew on its connection, or could not: so it must be."""
        for_nothing = self._is_ended and self._is_whole
        if can_begin and for_nothing and not (self._may_count or self._is_within):
            self._stage.note(f"{self.session} could begin anew on its connection")
        if not can_begin and (self._counts or self._is_within or not self._is_whole):
            self._stage.note(f"{self.session} can't begin anew on its connection")

    def gone(self, stack: Stack) -> None:
        """As an Application."""
        if stack is not self._stack:
            return
        self._stack = None
        closed = stack.close_received
        if closed is None:
            self._return()
        elif closed[0] == SERVICE_RESTART:
            if self._has_forgotten and closed[1] == BEGINS_ANEW:
                self._stage.began_anew(elsewhere=True)
                self._check(can_begin=True)
            else:
                self._stage.ended(closed[1])
            self.begin()
        else:
            self._stage.note(f"{self.session} was closed: {closed}")

    def _return(self) -> None:
        self._stack = None
        self._stage.later(2.0, self._come_back)

    def _come_back(self) -> None:
        if self._stack is not None:
            return
        forget = self._stage.plan.forget
        if self._has_forgotten or (forget and self._stage.random.random() < forget):
            self._forget()
        else:
            self._may_count = True
            self._dial({"X-Reconnect-Id": self.session, RECEIVED: str(self._received)})

    def _dial(self, headers: dict[str, str]) -> None:
        self._said_at = inf
        headers = {**headers, "Sec-WebSocket-Protocol": self._stage.language.subprotocol}
        connected = partial(self._dialled, headers)
        self._stage.network.dial(PROXY, DIAL_TIMEOUT, connected)

    def _dialled(self, headers: dict[str, str], outcome: MemorySocket | str) -> None:
        assert isinstance(outcome, MemorySocket)
        stack = Stack(outcome, self._answered, mask=self._stage.random.randbytes(4))
        stack.application = self
        self._stack = stack
        stack.request("/", headers)

    def _answered(self, stack: Stack, line: str, headers: dict[str, str]) -> None:
        if not line.startswith("HTTP/1.1 101"):
            self._stage.note(f"{self.session} was refused: {line}")
            return
        taken = 0 if self._has_forgotten else int(headers.get(RECEIVED, 0))
        self._counts = self._may_count
        ends = stack.send(self._sent[taken:], is_text=self._stage.language.is_text)
        if self._has_forgotten:
            self._said_at = ends[self._first]

    def _say(self, words: list[bytes]) -> None:
        messages = [*self._stage.cut(words)]
        self._sent += messages
        if self.is_here:
            assert self._stack is not None
            self._stack.send(messages, is_text=self._stage.language.is_text)


class Answerer:
    """A server's end of one connection: it knows nothing of any other.

    `session`: the connection id. `is_told`: by the proxy, which must wait for the first answer.
    """

    def __init__(
        self, stage: "Spoken", stack: Stack, talker: Talker, session: str, *, is_told: bool
    ) -> None:
        self._stage = stage
        self._server = stage.language.server(talker.diary)
        self.talker = talker
        self.session = session
        self.stack = stack
        self.is_mute = stage.is_mute
        self._is_told = is_told
        self._begins_at = 0.0  # when it has said its first word
        self._free_at = 0.0

    def received(self, message: bytes) -> None:
        """As an Application. It answers in turn, after a while: what it has not said dies too."""
        if self.is_mute:
            return
        now = self._stage.network.now
        if self._is_told and self._begins_at > now:
            self.talker.diary.wrong.append(
                f"a server heard {message!r} before it had answered the first"
            )
        self._free_at = max(self._free_at, now) + self._stage.thinks()
        words = self._server.hear(message)
        if self._server.life == self.talker.diary.life:
            self.talker.is_heard()
        if words and not self._begins_at:
            self._begins_at = self._free_at
        self._stage.network.at(self._free_at, partial(self.say, words))

    def gone(self, stack: Stack) -> None:
        """As an Application."""
        self._stage.answerers.pop(self, None)

    def event(self) -> None:
        """Say something to the subscription."""
        event = None if self.is_mute else self._server.event()
        if event is not None:
            self.say([event])

    def say(self, words: list[bytes]) -> None:
        """To the client."""
        if self.stack.open:
            messages = [*self._stage.cut(words)] if self._stage.plan.harsh else words
            self.stack.send(messages, is_text=self._stage.language.is_text)
