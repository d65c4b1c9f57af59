"""Numbered messages: what one end sent, what the other received, and what a loss may explain.

A ledger belongs to one direction of one session. Each message carries its number, and its whole
content follows from it, so that lost, repeated, reordered and altered messages can be told apart.
"""

from dataclasses import dataclass, field
from enum import Enum

SIZES = (16,)  # bytes of padding


class Promise(Enum):
    """What the receiver may rely on when connections are lost."""

    AT_MOST_ONCE = "at most once"  # what was in a lost connection may be lost
    AT_LEAST_ONCE = "at least once"  # nothing that the proxy took is lost
    EXACTLY_ONCE = "exactly once"  # both ends count: nothing is lost, nothing comes twice


@dataclass(frozen=True, slots=True)
class Count:
    """How the messages of one direction fared."""

    sent: int = 0
    received: int = 0
    """Arrived, each counted once."""
    lost: int = 0
    """Sent, and not arrived."""
    repeated: int = 0
    reordered: int = 0
    """Arrived after one with a higher number."""
    altered: int = 0
    """Arrived, but never sent in this form."""
    unexplained: int = 0
    """Lost without a lost connection that could have cost them."""

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.sent + other.sent,
            self.received + other.received,
            self.lost + other.lost,
            self.repeated + other.repeated,
            self.reordered + other.reordered,
            self.altered + other.altered,
            self.unexplained + other.unexplained,
        )


@dataclass(slots=True)
class Ledger:
    """One direction of one session.

    `sizes`: the padding of messages (bytes), taken in turn.
    """

    name: str
    sizes: tuple[int, ...] = SIZES
    promise: Promise = Promise.AT_MOST_ONCE
    sent: int = 0
    last: int = 0
    """The highest number that has arrived."""
    _repeated: int = 0
    _reordered: int = 0
    _altered: int = 0
    _unexplained: int = 0
    _missing: set[int] = field(default_factory=set)
    _exposed_to: int = 0
    _exposed_bytes: int = 0

    def next(self) -> bytes:
        """The next message to send."""
        self.sent += 1
        return self._message(self.sent)

    def begin_again(self) -> None:
        """What was sent and has not arrived doesn't count: the session has only begun now."""
        self.sent = self.last

    def after(self, taken: int) -> list[bytes]:
        """The messages that were sent after the first `taken` ones, to send them again."""
        return [self._message(number) for number in range(taken + 1, self.sent + 1)]

    def receive(self, message: bytes) -> None:
        """That message has arrived."""
        digits, _, _ = message.partition(b" ")
        number = int(digits) if digits.isdigit() else 0
        if not 0 < number <= self.sent or message != self._message(number):
            self._altered += 1
        elif number > self.last:
            if number > self.last + 1:
                self._gap(number)
            self.last = number
            if number >= self._exposed_to:
                self._exposed_bytes = 0
        elif number in self._missing:
            self._missing.remove(number)
            self._reordered += 1
        else:
            self._repeated += 1

    def sender_lost(self, held: int) -> None:
        """The sender's connection is lost: `held` bytes of messages had not reached the proxy.

        Not to be called for a sender that sends them again.
        """
        self._expose(held)

    def receiver_lost(self, held: int) -> None:
        """The receiver's connection is lost, with `held` bytes on their way to it."""
        if self.promise is Promise.AT_MOST_ONCE:
            self._expose(held)

    def finish(self) -> None:
        """Everything that was sent and not lost must have arrived by now."""
        self._gap(self.sent + 1)
        self.last = self.sent

    def count(self) -> Count:
        """How it stands. What is still on its way counts as lost."""
        lost = len(self._missing) + self.sent - self.last
        return Count(
            self.sent,
            self.sent - lost,
            lost,
            self._repeated,
            self._reordered,
            self._altered,
            self._unexplained,
        )

    def _expose(self, size: int) -> None:
        self._exposed_to = self.sent
        self._exposed_bytes += size

    def _gap(self, until: int) -> None:
        """Account for the missing numbers after `last` and before `until`."""
        for number in range(self.last + 1, until):
            self._missing.add(number)
            size = len(self._message(number))
            if number <= self._exposed_to and size <= self._exposed_bytes:
                self._exposed_bytes -= size
            else:
                self._unexplained += 1

    def _message(self, number: int) -> bytes:
        padding = self.sizes[number % len(self.sizes)]
        return b"%d %s %s" % (number, self.name.encode(), b"." * padding)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Both directions of one session."""

    to_server: Ledger
    to_client: Ledger

    @classmethod
    def begin(
        cls,
        name: str,
        sizes: tuple[int, ...] = SIZES,
        promise: Promise = Promise.AT_MOST_ONCE,
    ) -> "Dialogue":
        """Nothing is sent yet. `name`: the session's, which each message carries."""
        return cls(Ledger(f"{name}>", sizes, promise), Ledger(f"{name}<", sizes, promise))
