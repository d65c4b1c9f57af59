"""One direction's queue, write buffer and replay buffer: one structure with three positions.

    confirmed <= sent <= tail      (bytes since the session began)
    [ kept for replay ][ waiting ]

Whole messages are appended at `tail`; `sent` moves as the socket takes bytes; `confirmed` says
what never has to go out again. Chunks are kept by reference, as they were read: there is no
object per message. A mark is kept per chunk, after its last whole message; the other message
ends are found by walking the chunk again, which only a lost connection needs. Behind `tail`
stand the bytes of a message that is not complete yet.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice

from reknit_core.budget import Budget
from reknit_core.frames import message_ends

Buffer = bytes | memoryview
Mark = tuple[int, int]
"""A place where a message ends: its position in bytes, and how many messages end up to it."""
Cut = tuple[int, int]
"""Messages that were taken out: from which position on, and how many bytes."""

GATHER = 256  # buffers in one gathered write: below every system's IOV_MAX
_MERGE = 2048  # bytes: chunks that wait are merged up to this size: their overhead stays small
_PACK = 64  # chunks that were sent are packed by so many
_STRIDE = 4096  # bytes between marks, and by which more than the window may be kept, at most
_ALL = 1 << 62  # above every count


class Backlog:
    """Messages from one leg that are on their way to the other.

    `eager`: bytes count as confirmed once the socket has taken their whole message
    (at-most-once); without it confirm() says so. `window`: confirmed bytes that stay for replay.
    `budget`: counts what is held here together with other backlogs.
    """

    __slots__ = (
        "_base",
        "_chunks",
        "_cursor",
        "_handed",
        "_marks",
        "_offset",
        "_packed",
        "_received",
        "_stride",
        "_window",
        "alarm",
        "budget",
        "confirmed",
        "confirmed_count",
        "count",
        "dropped",
        "eager",
        "sent",
        "tail",
    )

    def __init__(self, *, eager: bool, window: int = 0, budget: Budget | None = None) -> None:
        self.eager = eager
        self.budget = budget or Budget(_ALL)
        self._window = window
        self._stride = min(window // 8, _STRIDE)
        self._chunks: list[Buffer] = []
        self._packed = 0  # how many of them, from the first on, are packed
        self._base = 0  # position of the first chunk's first byte
        self._cursor = 0  # index of the chunk that `sent` is in
        self._offset = 0  # where in that chunk
        self._handed = 0  # end of the last message that an earlier connection got whole
        self._received = 0  # end of all bytes, those of the incomplete message included
        self._marks: list[Mark] = [(0, 0)]  # the first one: where replay can begin at the earliest
        self.alarm = 0  # the `tail` from which on the legs' bounds and thresholds are looked at
        self.confirmed = 0
        self.confirmed_count = 0
        self.sent = 0
        self.tail = 0
        self.count = 0  # messages up to `tail`
        self.dropped = 0  # messages that a full queue has cost

    @property
    def mark(self) -> Mark:
        """The end of the last whole message."""
        return self.tail, self.count

    @property
    def held(self) -> int:
        """Bytes that are held here, those kept for replay and of an incomplete message included."""
        return self._received - self._base

    @property
    def is_partial(self) -> bool:
        """Whether a message has begun that is not complete yet."""
        return self._received > self.tail

    def append(self, data: Buffer, boundary: int, messages: int) -> None:
        """Add bytes; the first `boundary` of them complete `messages` more messages."""
        chunks = self._chunks
        marks = self._marks
        received = self._received
        size = len(data)
        if self._cursor == len(chunks):  # nothing waits: these will mostly be sent at once
            chunks.append(data)
            if boundary:
                self.tail = received + boundary
                self.count += messages
                if self.tail - marks[-1][0] >= self._stride:
                    marks.append((self.tail, self.count))
            if self._cursor - self._packed >= _PACK:
                self._pack()
        else:
            if marks[-1][0] < self.tail:
                marks.append((self.tail, self.count))
            merge = len(chunks[-1]) + size <= _MERGE
            if merge:
                chunks[-1] = b"".join((chunks[-1], data))
            else:
                chunks.append(data)
            if boundary:
                self.tail = received + boundary
                self.count += messages
                if merge and marks[-1][0] > max(self.sent, received - _MERGE):
                    marks[-1] = (self.tail, self.count)
                else:
                    marks.append((self.tail, self.count))
        self._received = received + size
        self.budget.used += size

    def drop_partial(self) -> None:
        """Forget the message that is not complete: its sender is gone."""
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

    def pending(self, until: int) -> list[Buffer]:
        """The bytes from `sent` up to position `until` (at most `tail`), as buffers to gather."""
        size = until - self.sent
        if size <= 0:
            return []
        chunks = self._chunks
        cursor = self._cursor
        first = chunks[cursor]
        if self._offset == 0 and len(first) == size:
            return [first]
        buffers: list[Buffer] = []
        view: Buffer = memoryview(first)[self._offset :] if self._offset else first
        while len(view) < size:
            buffers.append(view)
            if len(buffers) == GATHER:
                return buffers
            size -= len(view)
            cursor += 1
            view = chunks[cursor]
        buffers.append(view if len(view) == size else memoryview(view)[:size])
        return buffers

    def advance(self, taken: int) -> None:
        """The socket took `taken` bytes."""
        cursor = self._cursor
        if taken and self._offset == 0 and taken == len(self._chunks[cursor]):
            self._cursor = cursor + 1
            self.sent += taken
        else:
            self._move(taken)
        if self.eager:
            self._confirm_sent()

    def _confirm_sent(self) -> None:
        if self.sent == self.tail:
            position, count = self.tail, self.count
        else:
            position, count = self._last_mark(self.sent)
        if position - self._marks[0][0] > self._window + self._stride:
            self.confirm(position, count)
        elif position > self.confirmed:
            self.confirmed = position
            self.confirmed_count = count

    def confirm(self, position: int, count: int) -> None:
        """Everything up to this message end has arrived; what the window doesn't hold is freed."""
        self.confirmed = position
        self.confirmed_count = count
        marks = self._marks
        if position > marks[-1][0]:
            marks.append((position, count))
        budget = self.budget
        window = self._window if budget.used <= budget.limit else 0  # what waits comes first
        floor = bisect_right(marks, (position - window, _ALL)) - 1
        if floor > 0:
            del marks[:floor]
        freed = 0
        base = self._base
        limit = marks[0][0]
        for chunk in self._chunks:
            if base + len(chunk) > limit:
                break
            base += len(chunk)
            freed += 1
        if freed:
            del self._chunks[:freed]
            budget.used -= base - self._base
            self._base = base
            self._cursor -= freed
            self._packed = max(0, self._packed - freed)

    def trim(self) -> None:
        """Free what the window no longer holds: it is given up while too much waits elsewhere."""
        self.confirm(self.confirmed, self.confirmed_count)

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

    def clear(self) -> None:
        """The session is over: nothing is held any more."""
        self._chunks = []
        self._cursor = self._offset = self._packed = 0
        self.budget.used -= self.held
        self._base = self._received

    def next_end(self) -> Mark:
        """The nearest known message end at or after `sent`: where a control frame may go."""
        index = bisect_left(self._marks, (self.sent, 0))
        return self._marks[index] if index < len(self._marks) else self.mark

    def _pack(self) -> None:
        """Join small chunks that were sent: many of them may be kept."""
        sent = self._chunks[self._packed : self._cursor]
        if sum(map(len, sent)) <= _PACK * _MERGE:
            self._chunks[self._packed : self._cursor] = [b"".join(sent)]
            self._cursor = self._packed + 1
        self._packed = self._cursor

    def _last_mark(self, position: int) -> Mark:
        if self.tail <= position:
            return self.tail, self.count
        return self._marks[bisect_right(self._marks, (position, _ALL)) - 1]

    def _end_before(self, position: int) -> Mark:
        """The last message end at or before `position`."""
        start, count = self._last_mark(position)
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

    def _seek(self, position: int) -> None:
        self._cursor = 0
        self._offset = 0
        self.sent = self._base
        self._move(position - self._base)

    def _move(self, size: int) -> None:
        self.sent += size
        chunks = self._chunks
        cursor = self._cursor
        offset = self._offset + size
        while cursor < len(chunks) and offset >= len(chunks[cursor]):
            offset -= len(chunks[cursor])
            cursor += 1
        self._cursor = cursor
        self._offset = offset
