"""One direction's messages as a stream of bytes, with three positions in it.

    confirmed <= sent <= tail      (bytes since the session began)
    [ kept for replay ][ waiting ]

Whole messages are appended at `tail`; `sent` moves as the socket takes bytes; `confirmed` says
what never has to go out again. Behind `tail` stand the bytes of a message that is not complete
yet. Chunks are kept by reference, as they were read: there is no object per message. Marks are
kept here and there, where a message ends.
"""

from bisect import bisect_left, bisect_right
from typing import Final

from reknit_core.queue.budget import Budget

Buffer = bytes | memoryview
Mark = tuple[int, int]
"""A place where a message ends: its position in bytes, and how many messages end up to it."""

GATHER = 256  # buffers in one gathered write: below every system's IOV_MAX
MORE = 1 << 62  # than every count
_MERGE = 2048  # bytes: chunks that wait are merged up to this size: their overhead stays small
_PACK = 64  # chunks that were sent are packed by so many
_STRIDE = 4096  # bytes between marks, and by which more than the window may be kept, at most

# Many streams carry nothing, and memory counts: they share these, until the first bytes come.
_NO_CHUNKS: Final[list[Buffer]] = []
_BEGINNING: Final[list[Mark]] = [(0, 0)]


class Stream:
    """Bytes from one leg that are on their way to the other.

    `eager`: bytes count as confirmed once the socket has taken their whole message
    (at-most-once); without it confirm() says so. `window`: confirmed bytes that stay for replay.
    `budget`: counts what is held here together with other backlogs.
    """

    __slots__ = (
        "_base",
        "_chunks",
        "_cursor",
        "_kept_back",
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
        "eager",
        "sent",
        "tail",
    )

    def __init__(self, *, eager: bool, window: int = 0, budget: Budget | None = None) -> None:
        self.eager = eager
        self.budget = budget or Budget(MORE)
        self._window = window
        self._stride = min(window // 8, _STRIDE)
        self._chunks = _NO_CHUNKS
        self._packed = 0  # how many of them, from the first on, are packed
        self._base = 0  # position of the first chunk's first byte
        self._cursor = 0  # index of the chunk that `sent` is in
        self._offset = 0  # where in that chunk
        self._kept_back = 0  # bytes that its reader keeps, of a message that isn't complete
        self._received = 0  # end of all bytes, those of the incomplete message included
        self._marks = _BEGINNING  # the first one: where replay can begin at the earliest
        self.alarm = 0  # the `tail` from which on the legs' bounds and thresholds are looked at
        self.confirmed = 0
        self.confirmed_count = 0
        self.sent = 0
        self.tail = 0
        self.count = 0  # messages up to `tail`

    @property
    def mark(self) -> Mark:
        """The end of the last whole message."""
        return self.tail, self.count

    @property
    def received(self) -> int:
        """The end of all bytes, those of a message included that is not complete."""
        return self._received

    @property
    def base(self) -> int:
        """The position of the first byte that is held here."""
        return self._base

    @property
    def held(self) -> int:
        """Bytes that are held here, those kept for replay and of an incomplete message included."""
        return self._received - self._base

    @property
    def partial(self) -> int:
        """Bytes of a message that has begun and is not complete yet."""
        return self._received - self.tail + self._kept_back

    def keep_back(self, size: int) -> None:
        """Its reader keeps so many bytes, which aren't in here: they count as if they were."""
        self.budget.used += size - self._kept_back
        self._kept_back = size

    def append(self, data: Buffer, boundary: int, messages: int) -> None:
        """Add bytes; the first `boundary` of them complete `messages` more messages."""
        chunks = self._chunks
        marks = self._marks
        received = self._received
        size = len(data)
        if self._cursor == len(chunks):  # nothing waits: these will mostly be sent at once
            if chunks:
                chunks.append(data)
            else:
                self._chunks = [data]
                if marks is _BEGINNING:
                    marks = self._marks = _BEGINNING.copy()
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
        floor = bisect_right(marks, (position - window, MORE)) - 1
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

    def since(self, position: int) -> list[Buffer]:
        """The bytes of whole messages from that position on, which must still be held."""
        parts: list[Buffer] = []
        end = self._received
        chunks = self._chunks
        if chunks and end == self.tail and end - len(chunks[-1]) == position:
            return [chunks[-1]]  # mostly so: what one read has brought
        for chunk in reversed(chunks):
            if end <= position:
                break
            start = end - len(chunk)
            if start < self.tail:
                whole = start >= position and end <= self.tail
                part = memoryview(chunk)[max(0, position - start) : self.tail - start]
                parts.append(chunk if whole else part)
            end = start
        parts.reverse()
        return parts

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
        return self._marks[bisect_right(self._marks, (position, MORE)) - 1]

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
