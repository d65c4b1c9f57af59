"""Who speaks in a simulated dialect: a client over all its connections, a server over one."""

from functools import partial
from typing import TYPE_CHECKING

from reknit_core.codes import SERVICE_RESTART

from reknit.memory.network import MemorySocket
from reknit.verify.simulation.actors import DIAL_TIMEOUT, RECEIVED
from reknit.verify.simulation.languages import Diary
from reknit.verify.simulation.scene import PROXY
from reknit.verify.simulation.stack import Cut, Stack

if TYPE_CHECKING:
    from reknit.verify.simulation.spoken import Spoken


class Talker:
    """A client: it begins once, and comes back to its session when its connection is lost."""

    def __init__(self, stage: "Spoken", name: str) -> None:
        self.diary = Diary()
        self._stage = stage
        self._name = name
        self._session = 0
        self._stack: Stack | None = None
        self._received = 0
        self._sent: list[bytes] = []

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
        self._stage.diaries[self.session] = self.diary
        self._received, self._sent = 0, []
        self._client = self._stage.language.client(self.diary)
        words = [*self._client.begin(), *map(self._client.ask, self.diary.unanswered)]
        self._dial({"X-Connection-Id": self.session})
        self._say(words)

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
        self._received += 1
        self._say(self._client.hear(message))

    def gone(self, stack: Stack) -> None:
        """As an Application."""
        if stack is not self._stack:
            return
        self._stack = None
        closed = stack.close_received
        if closed is None:
            self._return()
        elif closed[0] == SERVICE_RESTART:
            self._stage.began_anew(closed[1])
            self.begin()
        else:
            self._stage.note(f"{self.session} was closed: {closed}")

    def _return(self) -> None:
        self._stack = None
        self._stage.later(2.0, self._come_back)

    def _come_back(self) -> None:
        if self._stack is None:
            self._dial({"X-Reconnect-Id": self.session, RECEIVED: str(self._received)})

    def _dial(self, headers: dict[str, str]) -> None:
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
        taken = int(headers.get(RECEIVED, 0))
        stack.send(self._sent[taken:], is_text=self._stage.language.is_text)

    def _say(self, words: list[bytes]) -> None:
        messages = [*self._stage.cut(words)]
        self._sent += messages
        if self.is_here:
            assert self._stack is not None
            self._stack.send(messages, is_text=self._stage.language.is_text)


class Answerer:
    """A server's end of one connection: it knows nothing of any other.

    `is_told`: by the proxy, which must wait for the first answer.
    """

    def __init__(self, stage: "Spoken", stack: Stack, diary: Diary, *, is_told: bool) -> None:
        self._stage = stage
        self._server = stage.language.server(diary)
        self.diary = diary
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
            self.diary.wrong.append(f"a server heard {message!r} before it had answered the first")
        self._free_at = max(self._free_at, now) + self._stage.thinks()
        words = self._server.hear(message)
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
