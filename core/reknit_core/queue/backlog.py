"""One direction's queue, write buffer and replay buffer: what a loss, and a full queue, do to it.

Only a lost connection needs to know where each message ends: those ends are found by walking the
chunks again from the mark before.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from reknit_core.queue.backlog_form import FrozenBacklog
from reknit_core.queue.budget import Budget
from reknit_core.queue.stream import Mark, Stream
from reknit_core.wire.frames import message_ends

Cut = tuple[int, int]
"""Messages that were taken out: from which position on, and how many bytes."""


class Backlog(Stream):
    """Messages from one leg that are on their way to the other; see Stream for the parameters."""

    __slots__ = ("_handed", "dropped")

    def __init__(self, *, eager: bool, window: int = 0, budget: Budget | None = None) -> None:
        super().__init__(eager=eager, window=window, budget=budget)
        self._handed = 0  # end of the last message that an earlier connection got whole
        self.dropped = 0  # messages that a full queue has cost

    def frozen(self) -> FrozenBacklog:
        """The queue as data, by reference."""
        return FrozenBacklog(
            chunks=self._chunks,  # type: ignore[arg-type]  # MessagePack takes views too
            base=self._base,
            cursor=self._cursor,
            offset=self._offset,
            handed=self._handed,
            received=self._received,
            marks=self._marks,
            confirmed=self.confirmed,
            confirmed_count=self.confirmed_count,
            sent=self.sent,
            tail=self.tail,
            count=self.count,
            dropped=self.dropped,
        )

    def thaw(self, form: FrozenBacklog) -> None:
        """Become what that one was; the form's lists are this one's own from here on."""
        self._chunks = [*form.chunks]
        self._base = form.base
        self._cursor = form.cursor
        self._offset = form.offset
        self._handed = form.handed
        self._received = form.received
        self._marks = form.marks
        self.confirmed = form.confirmed
        self.confirmed_count = form.confirmed_count
        self.sent = form.sent
        self.tail = form.tail
        self.count = form.count
        self.dropped = form.dropped
        self.budget.used += self.held

    @property
    def waiting(self) -> Mark:
        """How many bytes no socket has taken yet, and how many messages they complete."""
        return self.tail - self.sent, self.count - self._end_before(self.sent)[1]

    def drop_partial(self) -> None:
        """Forget the message that is not complete: its sender is gone."""
        self.keep_back(0)
        while self._received > self.tail:
            last = self._chunks.pop()
            self._received -= len(last)
            self.budget.used -= len(last)
            if self._received < self.tail:
                whole = last[: self.tail - self._received]
                self._chunks.append(whole)
                self._received = self.tail
                self.budget.used += len(whole)
        self._move(0)  # `sent` may stand at the end of what was cut

    def rewind(self) -> Mark:
        """The receiver is lost: go back to what has to go out again, and say where that is.

        At-most-once: the first message not wholly handed to the socket. At-least-once: the
        first one not confirmed.
        """
        end = self._end_before(self.sent)
        self._handed = max(self._handed, end[0])
        if self.eager:  # without freeing: a returning receiver may name an earlier one
            self.confirmed, self.confirmed_count = end
        self._seek(self.confirmed)
        return self.confirmed, self.confirmed_count

    def handed(self) -> Mark:
        """The end of the last message that some connection got whole."""
        return self._end_before(max(self._handed, self.sent))

    def holds(self, count: int) -> bool:
        """Whether the receiver can go on after `count` messages: neither freed nor never sent."""
        return self._marks[0][1] <= count <= self.handed()[1]

    def resume_at(self, count: int) -> None:
        """The receiver has had `count` messages, which holds() must allow: go on with the next."""
        start, _ = self._end_of(count)
        self.confirm(start, count)
        self._seek(start)
        self._handed = start

    def confirm_to(self, position: int) -> None:
        """The receiver has shown that it has had all up to there."""
        mark = self._end_before(min(position, self.sent))
        if mark[0] > self.confirmed:
            self.confirm(*mark)

    @property
    def is_between(self) -> bool:
        """Whether the socket has taken its last message whole."""
        return self._end_before(self.sent)[0] == self.sent

    def begin_at(self, position: int) -> Mark:
        """Nobody wants what stands before that message end: go on there, and keep nothing of it.

        Returns how many bytes, and messages, were not handed to any connection whole.
        """
        mark, handed = self._end_before(position), self.handed()
        rest = self._bytes(position, self._received)
        self.budget.used -= position - self._base
        self._chunks = [rest] if rest else []
        self._packed = 0
        self._base = self._handed = position
        self._marks = [mark]
        self.confirmed, self.confirmed_count = mark
        self._seek(position)
        return max(0, mark[0] - handed[0]), max(0, mark[1] - handed[1])

    def drop_oldest(self, max_bytes: int, max_messages: int) -> Cut:
        """Cut the oldest messages until no more than that is unconfirmed.

        None that the receiver may have: it may name the number of those, which must not change.
        """
        start = end = self.handed()
        ends = self._ends_after(start)
        if start[0] < self.sent:  # that message is being written: the next one is the oldest
            start = end = next(ends)
        kept_bytes = start[0] - self.confirmed
        kept_messages = start[1] - self.confirmed_count
        while end != self.mark and (
            kept_bytes + self.tail - end[0] > max_bytes
            or kept_messages + self.count - end[1] > max_messages
        ):
            end = next(ends)
        return self._cut(start, end)

    def drop_newest(self, messages: int, max_bytes: int, max_messages: int) -> Cut:
        """Cut of the last `messages` messages, none of which is sent, what is over the bounds."""
        start = self._end_of(self.count - messages)
        for end in self._ends_after(start):
            if end[0] - self.confirmed > max_bytes or end[1] - self.confirmed_count > max_messages:
                break
            start = end
        return self._cut(start, self.mark)

    def clear(self) -> Mark:
        """The session is over: nothing is held any more. Returns what was still `waiting`."""
        waited = self.waiting
        self.keep_back(0)
        self._chunks = []
        self._cursor = self._offset = self._packed = 0
        self.budget.free(self.held)
        self._base = self._received
        self.sent = self.tail
        return waited

    def _end_before(self, position: int) -> Mark:
        """The last message end at or before `position`."""
        start, count = self._last_mark(position)
        if start == position:
            return start, count
        end = start
        for offset in message_ends(self._bytes(start, position)):
            end = start + offset
            count += 1
        return end, count

    def _end_of(self, count: int) -> Mark:
        """Where message number `count` ends; it must still be held, or be the one before."""
        mark = self._marks[bisect_right(self._marks, count, key=lambda mark: mark[1]) - 1]
        if mark[1] < count:
            mark = next(islice(self._ends_after(mark), count - mark[1] - 1, None))
        return mark

    def _ends_after(self, mark: Mark) -> Iterator[Mark]:
        """The ends of all whole messages after this one."""
        start, count = mark
        for number, offset in enumerate(message_ends(self._bytes(start, self.tail)), count + 1):
            yield start + offset, number

    def _bytes(self, start: int, end: int) -> bytes:
        """A copy of these positions."""
        parts = []
        base = self._base
        for chunk in self._chunks:
            if base >= end:
                break
            if base + len(chunk) > start:
                parts.append(chunk[max(0, start - base) : end - base])
            base += len(chunk)
        return b"".join(parts)

    def _cut(self, start: Mark, end: Mark) -> Cut:
        """Take out the messages between two message ends; what follows moves up."""
        size, messages = end[0] - start[0], end[1] - start[1]
        before = self._bytes(self._base, start[0])
        after = self._bytes(end[0], self._received)
        self._chunks = [part for part in (before, after) if part]
        self._packed = 0
        self._marks = [
            *(mark for mark in self._marks if mark[0] < start[0]),
            start,
            *((p - size, c - messages) for p, c in self._marks if p > end[0]),
        ]
        self.tail -= size
        self.count -= messages
        self._received -= size
        self.budget.used -= size
        self.dropped += messages
        self._seek(self.sent)
        return start[0], size
