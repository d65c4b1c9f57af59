"""The reference model's ends: a client or a server with its present connection."""

from reknit_core.script.phrases import FrameReader
from reknit_core.side import Side
from reknit_core.wire.frames import Opcode

from reknit.verify.model.traffic import TICK, BrokenError, Direction, Message


class End:
    """One end of the session. What it sends goes into `outgoing`, what it gets is `incoming`."""

    def __init__(self, side: Side, outgoing: Direction, incoming: Direction) -> None:
        self.side = side
        self.outgoing = outgoing
        self.incoming = incoming
        self.other: End  # the one that it talks to
        self.said: dict[str, set[int]] = {}  # its Pings and Pongs that may still come out, and
        # before which of its messages
        self.made = 0  # messages that the proxy has said in its place
        self.passed: set[str] = set()  # its Pings that the other end has got
        self.held = 0  # bytes of what it has sent that the proxy holds
        self.asked: str | None = None  # the Ping that it has sent just now
        self.connect(0.0, takes_all=True)
        self.here = False

    def connect(self, now: float, *, takes_all: bool) -> None:
        """Another connection begins."""
        self.here = True  # whether it has a connection
        self.talks = self.side is Side.CLIENT  # whether it may send frames
        self.closing = False  # whether it has sent a Close frame, or broken the protocol
        self.told = False  # whether it has got a Close frame
        self.given_up = False  # whether the proxy has dropped it while the session ended
        self.is_read = True  # whether the proxy reads what it sends
        self.attended = now  # since when the proxy can have noticed its silence
        self.takes_all = takes_all  # whether its socket takes all that the proxy writes
        self.acks_all = True  # whether its system acknowledges all at once
        self.settled = takes_all  # whether it did so when the present event began
        self.rest = b""  # of a frame that it has sent in part
        self.taken_before = self.outgoing.taken - self.made  # what earlier connections have brought
        self.dropped_before = len(self.incoming.dropped)  # of what should have come to it
        self.questions: list[str] = []  # the other end's Pings that it has not answered
        self.heard = now  # when it last sent something
        self.unanswered: float | None = None  # when the first Ping of the proxy's own came
        self.pinged = now  # when the last one came
        self._frames = b""  # that are not complete
        self._message: list[bytes] = []  # the frames of a message that is not complete

    def begin(self) -> None:
        """Another event begins."""
        self.asked = None
        self.settled = self.takes_all
        self.incoming.begun = self.incoming.next

    @property
    def in_message(self) -> bool:
        """Whether it has sent some of a message's frames, and not the last one."""
        return bool(self._message)

    def say(self, data: bytes, now: float) -> list[tuple[Opcode, str]]:
        """It sends these bytes. Returns the control frames, as phrases."""
        self.heard = now
        controls = []
        self._frames += data
        while size := _frame_size(self._frames):
            wire, self._frames = self._frames[:size], self._frames[size:]
            opcode = Opcode(wire[0] & 0x0F)
            if opcode >= Opcode.CLOSE:
                phrase = self._phrase(wire)
                if opcode is not Opcode.CLOSE:
                    self.said.setdefault(phrase, set()).add(len(self.outgoing.sent))
                controls.append((opcode, phrase))
                continue
            self._message.append(wire)
            if wire[0] & 0x80:
                wire = b"".join(self._message)
                self._message = []
                self.outgoing.send(Message(wire, self._phrase(wire)))
        return controls

    def answer(self, now: float) -> None:
        """It answers the proxy's own Ping, and so confirms what came before it."""
        self.heard = now
        self.unanswered = None
        self.incoming.answer(heard=self.is_read and self.takes_all)

    def ping(self, now: float, timeout: float) -> None:
        """It gets a Ping of the proxy's own, but no second one within the time-out."""
        if self.unanswered is not None and now < self.pinged + timeout - TICK:
            raise BrokenError(f"a second Ping to the {self.side.value} before its time")
        self.incoming.ping(at_once=self.settled)
        self.pinged = now
        if self.unanswered is None:
            self.unanswered = now

    def get(self, what: str) -> None:
        """It gets a Ping or Pong that the other end has sent, or a Pong in its place."""
        sender = self.other
        question = what.replace("pong", "ping", 1)
        if what in sender.said:
            self.incoming.check_place(what, sender.said.pop(what))
            if what == question:
                sender.passed.add(what)
                self.questions.append(what)
            self.passed.discard(question)
        elif what != question and (question in self.said or question in self.passed):
            self.said.pop(question, None)
            self.passed.discard(question)
        else:
            raise BrokenError(f"the {self.side.value} got {what}: never sent, or a second time")

    def stalled(self, late: float, allowed: float) -> None:
        """The proxy stood still for that long, which counts as no time if more than is allowed."""
        self.attended = max(self.heard, self.attended) + late + allowed
        if late > allowed:
            self.heard += late
            self.pinged += late
            if self.unanswered is not None:
                self.unanswered += late

    def check_silence(self, now: float, timeout: float, *, confirms: bool) -> None:
        """It counts as lost: it must have been silent, or left two Pings in a row unanswered."""
        timeout -= TICK
        silent = now - self.heard >= timeout and (self.unanswered is not None or not self.takes_all)
        unanswered = self.unanswered is not None and now - self.unanswered >= 2 * timeout
        if not silent and not (confirms and (unanswered or not self.takes_all)):
            raise BrokenError(f"the {self.side.value} counts as lost, though it gave signs of life")

    @property
    def has_closed(self) -> bool:
        """Whether it has sent a Close frame that the proxy has read."""
        return self.closing and self.is_read

    @property
    def owed(self) -> int:
        """How many messages it must still get before the session may end."""
        return 0 if self.closing or self.given_up else self.incoming.owed

    def _phrase(self, wire: bytes) -> str:
        masked = self.side is Side.CLIENT
        (phrase,) = FrameReader(masked=masked, deflate=True, nonce=b"~").feed(wire)
        return phrase


def _frame_size(data: bytes) -> int:
    """The size of the whole frame that the data begins with (RFC 6455, 5.2); 0 if it is cut."""
    if len(data) < 2:
        return 0
    masked, length = data[1] & 0x80, data[1] & 0x7F
    head = 2
    if length > 125:
        extended = 2 if length == 126 else 8
        length = int.from_bytes(data[2 : 2 + extended], "big")
        head += extended
    size = head + (4 if masked else 0) + length
    return size if head <= len(data) and size <= len(data) else 0
