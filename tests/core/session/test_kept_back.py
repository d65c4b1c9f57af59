"""What is kept of messages that aren't whole counts, and is bounded."""

from math import inf

import pytest
from frame_bytes import CONTINUATION, FIN, TEXT, frame
from reknit_core.durable.frozen import decode, encode
from reknit_core.events import ConnectionLost
from reknit_core.leg.dialogue import MIN_SEEN
from reknit_core.policy.policy import GraceFor, Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.budget import SHARE
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, session, take

NAMED = b"X-Connection-Id: a"
PIECE = 16 * 1024
BOTH = pytest.mark.parametrize("side", list(Side), ids=lambda side: side.value)


def begun(dialect: str = "jsonrpc", **settings: int) -> tuple[Contexts, ContextStateMachine]:
    sessions = contexts(Policy(dialect=dialect, grace_for=GraceFor.ALL, **settings))
    context = session(sessions, NAMED)
    accept(context)
    return sessions, context


def say(context: ContextStateMachine, side: Side, first: int, size: int, *, whole: int = -1) -> int:
    """Part of a frame of `whole` bytes; how many bytes it takes."""
    said = frame(first, bytes(size), masked=side is Side.CLIENT, length=whole)
    context.receive_data(side, said, 1.0)
    return len(said)


@BOTH
def test_the_beginning_of_a_message_counts_until_it_is_whole(side: Side) -> None:
    sessions, context = begun()
    other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
    size = say(context, side, TEXT, PIECE)
    assert take(context, other) == b"", "it is kept back"
    assert sessions.budget.used == size
    size += say(context, side, FIN | CONTINUATION, PIECE)
    assert sessions.budget.used == size, "now it is queued"
    assert len(take(context, other)) == size


@BOTH
def test_a_message_that_is_cut_counts_no_more(side: Side) -> None:
    sessions, context = begun()
    size = say(context, side, FIN | TEXT, PIECE, whole=3 * PIECE)
    assert sessions.budget.used == size
    leg = context.client if side is Side.CLIENT else context.server
    context.handle(ConnectionLost(side, leg.generation, "reset"), 1.0)
    assert sessions.budget.used == 0


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("dialect", ["jsonrpc", "mqtt", "nats", "stomp"])
def test_a_message_without_end_takes_bounded_memory(side: Side, dialect: str) -> None:
    sessions, context = begun(dialect, message_limit=64 * 2**20)
    other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
    leg = context.client if side is Side.CLIENT else context.server
    say(context, side, TEXT, 1)
    most = 0
    for _ in range(4 * MIN_SEEN // PIECE):
        say(context, side, CONTINUATION, PIECE)
        assert leg.scanner is not None
        most = max(most, leg.scanner.kept)
        assert sessions.budget.used >= leg.scanner.kept
        take(context, other)
    assert most <= MIN_SEEN
    assert leg.scanner.kept == 0, "it passes on as it is"
    assert context.dialogue is not None
    assert context.dialogue.ends, "as nobody knows what it says"


@BOTH
def test_who_keeps_a_message_open_is_not_read_while_all_bytes_are_in_use(side: Side) -> None:
    sessions, context = begun(queue_total=2 * SHARE)
    say(context, side, TEXT, SHARE)
    assert context.wants_read(side)
    say(context, side, CONTINUATION, SHARE)
    assert sessions.budget.used >= sessions.budget.limit
    assert not context.wants_read(side), "as with a message of which a part is queued"


@BOTH
def test_it_counts_in_the_next_process_too(side: Side) -> None:
    _, context = begun()
    size = say(context, side, TEXT, PIECE)
    after = contexts(Policy(dialect="jsonrpc", grace_for=GraceFor.ALL))
    taken = after.take_in(decode(encode(context.frozen(1.0))), 5.0)
    assert after.budget.used == size
    size += say(taken, side, FIN | CONTINUATION, PIECE)
    assert after.budget.used == size


# -- What the conversation keeps -----------------------------------------------------------------


def test_half_a_packet_of_the_servers_counts() -> None:
    sessions, context = begun("mqtt")
    whole = b"\x30\x80\x08" + bytes(1024)  # a PUBLISH
    context.receive_data(Side.SERVER, frame(FIN | TEXT, whole[:500]), 1.0)
    assert sessions.budget.used == 500
    context.receive_data(Side.SERVER, frame(FIN | TEXT, whole[500:]), 1.0)
    assert len(take(context, Side.CLIENT)) == sessions.budget.used == len(whole) + 4


def test_half_a_packet_of_the_clients_counts_until_a_server_has_heard_it() -> None:
    sessions, context = begun("mqtt")
    said = frame(FIN | TEXT, b"\x30\x80\x08" + bytes(497), masked=True)
    context.receive_data(Side.CLIENT, said, 1.0)
    assert sessions.budget.used == len(said) + 500, "queued, and as what a new server must hear"


def request(number: int, size: int) -> bytes:
    said = b'{"jsonrpc":"2.0","id":%d,"method":"%s"}' % (number, b"x" * size)
    return frame(FIN | TEXT, said, masked=True)


@pytest.mark.parametrize(
    ("requests", "size", "ends"),
    [(1, 99_000, False), (1, 100_000, True), (3, 30_000, False), (4, 30_000, True)],
)
def test_statements_that_are_too_much_mean_the_end(requests: int, size: int, ends: bool) -> None:
    """One too large to be kept, or together more than a queue may hold."""
    sessions, context = begun(queue_bytes=100_000)
    for number in range(requests):
        context.receive_data(Side.CLIENT, request(number, size), 1.0)
        take(context, Side.SERVER)
    assert context.dialogue is not None
    assert context.dialogue.ends is ends
    assert context.dialogue.hold == inf
    assert context.dialogue.held < 100_000 + 64 * 1024, "at most one statement more"
    assert sessions.budget.used >= context.dialogue.held
