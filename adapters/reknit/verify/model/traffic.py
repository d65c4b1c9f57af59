"""The reference model's messages: one direction of a session, as plain lists.

A position is an index into the list of all messages that were sent in that direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TICK = 1e-5  # seconds: the played lines have times with six decimals
_ALONE = "server_no_context_takeover"
_WINDOW = "client_max_window_bits"


class BrokenError(AssertionError):
    """What an invariant says does not hold; the text says what happened instead."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message's frames, and how its receiver tells of it."""

    wire: bytes
    phrase: str


class Direction:
    """What one end has sent to the other, and how far each message has come.

    `confirms`: whether a message may go out again until the receiver has confirmed it
    (at-least-once). `drops`: whether a full queue may cost messages. `window`: bytes that stay
    for a receiver that counts.
    """

    def __init__(self, name: str, *, confirms: bool, drops: bool, window: int) -> None:
        self.name = name
        self.sent: list[Message] = []
        self.taken = 0  # so many of them the proxy has; the others are on their way to it
        self.next = 0  # what the receiver must get next, over its present or its next connection
        self.had: list[int] = []  # what it has had, over all connections, each once
        self.dropped: set[int] = set()
        self.confirmed = 0  # what stands before this, the receiver has confirmed
        self.proved = 0  # and of that, the proxy must know this much
        self.claimed = 0  # what the proxy takes to be confirmed
        self.released = 0  # the most that ever was
        self.resumed = 0  # `next` when the receiver's present connection began
        self.begun = 0  # `next` when the present event began
        self.pinged = 0  # where the receiver stood when the proxy's last Ping came
        self.asked = 0  # where it stood at least when that Ping was made
        self.first = 0  # of those that are of use
        self._confirms = confirms
        self._drops = drops
        self._window = window

    # -- The sender ----------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """The sender has sent all of it."""
        self.sent.append(message)

    def sender_anew(self) -> None:
        """The sender has another connection: what the proxy hasn't taken is gone."""
        del self.sent[self.taken :]

    # -- The receiver --------------------------------------------------------------------------

    def receiver_anew(self, received: int | None) -> None:
        """The receiver has another connection, and perhaps says how many messages it has had."""
        if received is not None:
            del self.had[received:]
            self.claimed = self.had[-1] + 1 if received else 0
            self.next = self.confirmed = self.proved = self.claimed
        elif self._confirms:
            self.next = self.claimed  # what is not confirmed goes out again
        self.begun = self.pinged = self.asked = self.resumed = self.next

    def begin_at(self, position: int) -> None:
        """Both ends begin anew: what was sent before is of no use to anybody."""
        self.had = list(range(position))
        self.next = self.confirmed = self.proved = self.claimed = self.first = position
        self.released = max(self.released, position)
        self.begun = self.pinged = self.asked = self.resumed = position

    def can_go_on_after(self, received: int) -> bool | None:
        """Whether a receiver that says so may go on; None: it depends."""
        if received > len(self.had):
            return False
        if received < self.first:
            return None
        position = self.had[received - 1] + 1 if received else 0
        kept = sum(len(self.sent[index].wire) for index in self._kept(position, self.released))
        return True if position >= self.confirmed or kept <= self._window else None

    def receive(self, phrase: str) -> None:
        """The receiver tells of a message: it must be the next one, none left out."""
        for index in self._kept(self.next, len(self.sent)):
            if self.sent[index].phrase == phrase:
                self.next = index + 1
                self.taken = max(self.taken, self.next)
                if not self.had or index > self.had[-1]:
                    self.had.append(index)
                return
            if not self._drops:
                raise BrokenError(f"{self.name} got {phrase}, not {self.sent[index].phrase}")
            self.dropped.add(index)
        raise BrokenError(f"{self.name} got {phrase}, where nothing more was sent")

    def ping(self, *, at_once: bool) -> None:
        """The receiver gets a Ping of the proxy's own, `at_once` when it was made."""
        self.pinged = self.next
        self.asked = self.begun if at_once else 0

    def answer(self, *, heard: bool) -> None:
        """The receiver answers that Ping; `heard`: the proxy has certainly heard it."""
        self.confirm_up_to(self.pinged)
        if heard and not self._drops:
            self.proved = max(self.proved, self.asked)

    def confirm_up_to(self, position: int) -> None:
        """The receiver has confirmed all before."""
        self.confirmed = max(self.confirmed, position)

    def check_place(self, what: str, places: set[int]) -> None:
        """A control frame comes out: it stood before the message that must come next."""
        if not self._drops and self.next not in places:
            raise BrokenError(f"{self.name} got {what} before message {self.next}, not {places}")

    @property
    def owed(self) -> int:
        """How many messages that the proxy has taken must still go to the receiver."""
        return len(self._kept(self.next, self.taken))

    @property
    def missing(self) -> int:
        """How many messages that were sent must still come to the receiver."""
        return len(self._kept(self.next, len(self.sent)))

    # -- What the proxy says -------------------------------------------------------------------

    def check_taken(self, count: int, *, all_of_it: bool) -> None:
        """The proxy has taken that many messages."""
        if not self.taken <= count <= len(self.sent):
            raise BrokenError(
                f"{count} messages to {self.name} are taken, not {self.taken} or more"
            )
        if all_of_it and count < len(self.sent):
            raise BrokenError(f"{self.sent[count].phrase} to {self.name} is not taken")
        self.taken = count

    def check_confirmed(self, count: int, *, away: bool) -> None:
        """The proxy holds the first `count` messages for confirmed."""
        kept = self._kept(0, self.taken)
        if count > len(kept):
            raise BrokenError(f"{count} messages to {self.name} are confirmed, of {len(kept)}")
        position = kept[count - 1] + 1 if count else 0
        if self._confirms:
            if not self.proved <= position <= self.confirmed:
                right = f"{self.proved} to {self.confirmed}"
                raise BrokenError(
                    f"{position} messages to {self.name} count as confirmed, not {right}"
                )
            self.claimed = position
            if away:
                self.next = position
        elif position > self.next:
            raise BrokenError(f"{position} messages to {self.name} are given up, not {self.next}")
        else:
            self.claimed = self.confirmed = self.next
        self.released = max(self.released, self.claimed)

    def check_waiting(self, waiting: bytes, dropped: int, *, away: bool) -> None:
        """The proxy holds these bytes to be written: just what the receiver is to get next.

        `dropped`: how many messages it says that full queues have cost.
        """
        rest = waiting
        lost = []
        for index in reversed(self._kept(self.next, self.taken)):
            wire = self.sent[index].wire
            if rest.endswith(wire):
                rest = rest[: -len(wire)]
            else:
                lost.append(index)
        if rest and not away:  # the first one is partly written
            for index in reversed(lost):
                if self.sent[index].wire.endswith(rest):
                    lost.remove(index)
                    rest = b""
                    break
        if rest:
            raise BrokenError(f"what waits for {self.name} begins with {rest!r}")
        self.dropped.update(self._not_had(lost))
        if not self.dropped.isdisjoint(self.had):
            raise BrokenError(f"messages that {self.name} has had count as dropped")
        if len(self.dropped) != dropped:
            gone = [self.sent[index].phrase for index in lost] or "nothing"
            raise BrokenError(f"{gone} to {self.name} is gone, and {dropped} count as dropped")

    def check_lost(self, count: int) -> None:
        """The session is over, and the proxy says that so many messages are lost by that."""
        most = len(self._kept(min(self.claimed, self.next), len(self.sent)))
        if count > most:
            raise BrokenError(f"{count} messages to {self.name} are lost, of {most}")

    def _not_had(self, lost: list[int]) -> list[int]:
        """Of messages that look alike, the one that was lost is one that nobody has had."""
        found = list(lost)
        for place, index in enumerate(found):
            if index in self.had:
                twins = (
                    other
                    for other in self._kept(index + 1, self.taken)
                    if self.sent[other].wire == self.sent[index].wire
                    and other not in self.had
                    and other not in found
                )
                found[place] = next(twins, index)
        return found

    def _kept(self, start: int, end: int) -> Sequence[int]:
        if not self.dropped:
            return range(start, end)
        return [index for index in range(start, end) if index not in self.dropped]


def stands_alone(parameters: str) -> bool:
    """Whether what a server compresses so stands alone, in windows that need no thought."""
    return _ALONE in parameters and _WINDOW not in parameters
