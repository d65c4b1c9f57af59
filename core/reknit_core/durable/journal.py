"""What has to be written down so that sessions outlive the process, and into which file.

An adapter calls commit() with the contexts that something has happened to, and appends what comes
out before it writes to any peer. So whatever a peer has seen, or was told that the proxy has
taken, is in the journal. What a connection is doing is not: a crash ends it.

The journal doesn't grow without bound. Where it is larger than what is alive in it asks for, the
sessions on which the oldest file depends are written anew, some with each commit, until that file
isn't needed any more.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from reknit_core.dialect.speech import Key
from reknit_core.dialect.statements import Kept
from reknit_core.durable.records import (
    FILE_HEAD,
    Appended,
    Changed,
    Confirmed,
    Ended,
    Record,
    Spoke,
    Whole,
    encode_block,
)
from reknit_core.leg.dialogue import Dialogue
from reknit_core.leg.leg import Leg
from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Overflow
from reknit_core.queue.backlog import Backlog
from reknit_core.session.context import ContextStateMachine
from reknit_core.session.forms import FrozenContext

BLOCK = 2**20  # bytes of records after which a block is written
FILE = 16 * 2**20  # bytes after which another file is begun
SLACK = 2  # times what is alive that the files may take, and two files more
SESSION = 2048  # bytes that a session takes beside its queues, roughly
SPOKEN = 512  # bytes of what is known of the messages, and of a statement, roughly
SMALL = 32  # bytes of a record without data, roughly
REWRITE = 64 * 1024  # bytes of the oldest file's sessions that a commit writes anew at least

_AWAY: Final = Phase.AWAY
_DIALLING: Final = Phase.DIALLING
_HANDSHAKE: Final = Phase.HANDSHAKE
_OPENING: Final = State.OPENING
_CLOSED: Final = State.CLOSED


class Block(NamedTuple):
    """Bytes to append to the file of that number, which begins with it if it isn't there yet."""

    file: int
    data: bytearray


class _Queue:
    """How far a queue is written, and how many bytes it held then."""

    __slots__ = ("confirmed", "count", "dropped", "held", "tail")

    def __init__(self) -> None:
        self.tail = self.count = self.confirmed = self.dropped = self.held = 0

    def note(self, queue: Backlog) -> int:
        """It is written as far as it goes; by how many bytes it has grown."""
        grown = queue.held - self.held
        self.held += grown
        self.tail = queue.tail
        self.count = queue.count
        self.confirmed = queue.confirmed
        self.dropped = queue.dropped
        return grown


class _Written:
    """What of a context is written. `outline`: of its state; None: it must be written as a whole.

    `base`: the file from which on it is written. `spoken`: the number of its dialogue's changes.
    `told`: bytes of what a new server must be told.
    """

    __slots__ = (
        "base",
        "context",
        "key",
        "outline",
        "spoken",
        "statements",
        "to_client",
        "to_server",
        "told",
    )

    def __init__(self, context: ContextStateMachine, base: int) -> None:
        self.context = context
        self.key = context.nonce
        self.base = base
        self.outline: tuple[object, ...] | None = None
        self.spoken = self.told = 0
        self.statements: dict[Key, Kept] = {}
        self.to_server = _Queue()
        self.to_client = _Queue()

    def note(self, outline: tuple[object, ...]) -> int:
        """All is written but what is in the queues; by how many bytes the rest has grown."""
        self.outline = outline
        return self.note_spoken(self.context.dialogue)

    def note_spoken(self, dialogue: Dialogue | None) -> int:
        """What is known of the messages is written; by how many bytes it has grown."""
        if dialogue is not None and dialogue.interpreter is not None:
            self.spoken = dialogue.changes
            self.statements = dialogue.interpreter.statements.all()
        grown = (0 if dialogue is None else dialogue.held) - self.told
        self.told += grown
        return grown


class Journal:
    """Writes contexts down, from the file number `first` on.

    `past`: bytes in the files before that one, which hold the contexts that adopt() names.
    `block`: bytes of records after which a block is written; `file`: of a file, after which
    another one is begun.
    """

    def __init__(
        self, first: int = 1, past: int = 0, *, block: int = BLOCK, file: int = FILE
    ) -> None:
        self._block_size = block
        self._file_size = file
        self._alive = 0  # bytes that the contexts hold, as they are written
        self._file = first
        self._sizes = {first - 1: past}
        self._written: dict[ContextStateMachine, _Written] = {}
        self._bases: dict[int, dict[_Written, None]] = {}  # by the file on which they depend
        self._records: list[Record] = []
        self._pending = 0  # bytes in these records, roughly

    @property
    def needed_from(self) -> int:
        """The number of the oldest file that is still needed, once all blocks are written."""
        return min(self._bases, default=self._file)

    @property
    def size(self) -> int:
        """Bytes in all files that are needed."""
        return sum(self._sizes.values())

    def adopt(self, context: ContextStateMachine) -> None:
        """An earlier file has this context; the next commit() with it writes it anew."""
        if is_kept(context):
            self._base(_Written(context, self._file - 1))

    def forget(self, context: ContextStateMachine) -> None:
        """The session is over: the next commit() says so."""
        written = self._written.pop(context, None)
        if written is not None:
            self._unbase(written)
            self._alive -= written.told + written.to_server.held + written.to_client.held
            self._add(Ended(written.key), SMALL)

    def commit(
        self, contexts: Iterable[ContextStateMachine], now: float, wall: float
    ) -> Iterator[Block]:
        """What is new with these contexts at `now` (`wall`: in seconds since 1970)."""
        new = 0
        for context in contexts:
            if is_kept(context):
                written = self._written.get(context)
                if written is None:
                    written = _Written(context, self._file)
                    self._base(written)
                if not self._follow(written, now, wall):
                    self._write_whole(written, now, wall)
                if self._pending >= self._block_size:
                    new += self._pending
                    yield self._block()
        new += self._pending
        if new and self.size > self._allowance():
            self._rewrite_oldest(max(2 * new, REWRITE), now, wall)
        if self._records:
            yield self._block()

    # -- One context ---------------------------------------------------------------------------

    def _follow(self, written: _Written, now: float, wall: float) -> bool:
        """Write what has changed; False if it must be written as a whole."""
        context = written.context
        if (
            written.outline is None
            or not self._follow_queue(written.key, context.client, written.to_server)
            or not self._follow_queue(written.key, context.server, written.to_client)
        ):
            return False
        outline = _outline(context)
        if outline != written.outline:
            self._alive += written.note(outline)
            self._add(Changed(written.key, wall, _form(context, now, whole=False)), SESSION)
            return True
        dialogue = context.dialogue
        if dialogue is not None and dialogue.changes != written.spoken:
            self._follow_dialogue(written, dialogue)
        return True

    def _follow_dialogue(self, written: _Written, dialogue: Dialogue) -> None:
        """Write what has changed of what is known of the messages."""
        interpreter = dialogue.interpreter
        assert interpreter is not None
        gone, rows = interpreter.statements.since(written.statements)
        self._alive += written.note_spoken(dialogue)
        size = SPOKEN * (1 + len(rows))
        self._add(Spoke(written.key, dialogue.frozen(whole=False), gone, rows), size)

    def _follow_queue(self, key: bytes, leg: Leg, before: _Queue) -> bool:
        """Write what has changed in what comes from that leg's peer.

        False if it can't be told so: messages that are written may have been taken out since, or
        some not written yet.
        """
        queue = leg.queue
        tail, confirmed, dropped = queue.tail, queue.confirmed, queue.dropped
        marks = confirmed != before.confirmed or dropped != before.dropped
        if marks:
            if queue.base > before.tail:
                return False
            if dropped != before.dropped and leg.policy.overflow(leg.side) is Overflow.DROP_OLDEST:
                return False
        elif tail == before.tail:
            return True
        if tail > before.tail:
            messages = queue.count - before.count
            parts = queue.since(before.tail)
            data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
            self._add(Appended(key, leg.side, before.tail, messages, data), len(data))
        if marks:
            self._add(Confirmed(key, leg.side, confirmed, queue.confirmed_count, dropped), SMALL)
        self._alive += before.note(queue)
        return True

    def _write_whole(self, written: _Written, now: float, wall: float) -> None:
        context = written.context
        to_server, to_client = context.client.queue, context.server.queue
        self._unbase(written)
        written.base = self._file
        self._base(written)
        self._alive += written.note(_outline(context))
        self._alive += written.to_server.note(to_server) + written.to_client.note(to_client)
        size = SESSION + to_server.held + to_client.held
        self._add(Whole(written.key, wall, _form(context, now, whole=True)), size)

    # -- Blocks and files ----------------------------------------------------------------------

    def _add(self, record: Record, size: int) -> None:
        self._records.append(record)
        self._pending += size

    def _block(self) -> Block:
        number = self._file
        data = encode_block(self._records, b"" if number in self._sizes else FILE_HEAD)
        self._records = []
        self._pending = 0
        size = self._sizes[number] = self._sizes.get(number, 0) + len(data)
        if size >= self._file_size:
            self._file += 1
        needed = self.needed_from
        for old in [each for each in self._sizes if each < needed]:
            del self._sizes[old]
        return Block(number, data)

    def _allowance(self) -> int:
        alive = self._alive + SESSION * len(self._written)
        return SLACK * (alive + self._file_size)

    def _rewrite_oldest(self, size: int, now: float, wall: float) -> None:
        """Write some of the sessions anew that depend on the oldest file: some `size` bytes."""
        oldest = self.needed_from
        if oldest == self._file:
            return
        until = self._pending + size
        for written in list(self._bases[oldest]):
            self._write_whole(written, now, wall)
            if self._pending >= until:
                break

    def _base(self, written: _Written) -> None:
        self._written[written.context] = written
        self._bases.setdefault(written.base, {})[written] = None

    def _unbase(self, written: _Written) -> None:
        based = self._bases[written.base]
        del based[written]
        if not based:
            del self._bases[written.base]


def is_kept(context: ContextStateMachine) -> bool:
    """Whether the session outlives the process: nobody knows yet of one that opens."""
    return context.state is not _OPENING and context.state is not _CLOSED


def _outline(context: ContextStateMachine) -> tuple[object, ...]:
    """What of a context, beside its queues, makes a difference once its connections are lost."""
    client, server = context.client, context.server
    phase = server.phase
    return (
        context.state,
        client.phase,
        _AWAY if phase is _DIALLING or phase is _HANDSHAKE else phase,
        client.asked,
        server.asked,
        context.terms,
        context.dialogue is not None,
    )


def _form(context: ContextStateMachine, now: float, *, whole: bool) -> FrozenContext:
    """The context as data, without messages that are not complete; `whole`: with the others."""
    form = context.frozen(now)
    for leg, queue in (
        (form.client.leg, context.client.queue),
        (form.server.leg, context.server.queue),
    ):
        kept = leg.queue
        kept.chunks = queue.since(kept.base) if whole else []  # type: ignore[assignment]
        kept.marks = kept.marks if whole else []
        kept.received = kept.tail
    return form
