"""What is written down of sessions: complete, bounded, and read back whatever a crash has left."""

import pytest
from crashing_player import WALL, Files, successor
from frame_bytes import BINARY, CLOSE, FIN, TEXT, frame
from hypothesis import given, settings
from hypothesis import strategies as st
from reknit_core.durable import frozen, records
from reknit_core.durable.journal import FILE, SLACK, Journal
from reknit_core.durable.records import FILE_HEAD, JournalError
from reknit_core.durable.revival import Replay
from reknit_core.durable.revival import revive as revive_one
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Overflow, Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, lose_client, session, take

PATIENT = Policy(client_grace=60.0, heartbeat_interval=0.0)


def text(number: int, *, masked: bool = True) -> bytes:
    return frame(FIN | TEXT, b"%d" % number, masked=masked)


def connected(sessions: Contexts) -> ContextStateMachine:
    context = session(sessions, b"x-reconnect: true")  # its client can come back
    accept(context)
    return context


def revive(replay: Replay, sessions: Contexts, now: float = 0.0) -> list[ContextStateMachine]:
    after = successor(sessions)
    revived = [revive_one(after, kept, now, WALL + now) for kept in replay.kept.values()]
    return [context for context in revived if context is not None]


def waiting(context: ContextStateMachine, receiver: Side) -> bytes:
    """What is to go out again to that side."""
    source = context.server.source if receiver is Side.SERVER else context.client.source
    return bytes(b"".join(source.pending(source.tail)))


# -- What comes back ---------------------------------------------------------------------------


def test_what_came_in_is_written_before_it_has_gone_out() -> None:
    sessions = contexts(PATIENT)
    context = connected(sessions)
    journal, files = Journal(), Files()
    files.commit(journal, context)
    up, down = text(1), text(2, masked=False)
    context.receive_data(Side.CLIENT, up, 0.0)
    context.receive_data(Side.SERVER, down, 0.0)
    files.commit(journal, context)
    (after,) = revive(files.replay(), sessions)
    assert after.state is State.BOTH_DOWN
    assert waiting(after, Side.SERVER) == up
    assert waiting(after, Side.CLIENT) == down
    assert after.client.can_go_on(1)  # it may have been written to the client
    assert after.server.can_go_on(1)


def test_at_most_once_repeats_nothing_that_may_have_gone_out() -> None:
    sessions = contexts(Policy(delivery=Delivery.AT_MOST_ONCE))
    context = connected(sessions)
    journal, files = Journal(), Files()
    context.receive_data(Side.SERVER, text(1, masked=False), 0.0)
    files.commit(journal, context)
    (after,) = revive(files.replay(), sessions)
    assert waiting(after, Side.CLIENT) == b""
    assert after.client.can_go_on(0)  # one that counts can still have it
    take(context, Side.CLIENT)
    lose_client(context)
    context.receive_data(Side.SERVER, text(2, masked=False), 0.0)
    files.commit(journal, context)
    (after,) = revive(files.replay(), sessions)
    assert waiting(after, Side.CLIENT) == text(2, masked=False)


def test_a_client_that_was_connected_has_all_of_the_grace() -> None:
    sessions = contexts(PATIENT)
    journal, files = Journal(), Files()
    files.commit(journal, connected(sessions))
    (after,) = revive(files.replay(), sessions, now=1000.0)
    assert after.next_deadline() == 1060.0


@pytest.mark.parametrize(("passed", "left"), [(20.0, 40.0), (-5.0, 60.0)])
def test_the_grace_of_a_client_that_was_away_runs_on(passed: float, left: float) -> None:
    """By the clock on the wall; one that was put back doesn't make it longer."""
    sessions = contexts(PATIENT)
    context = connected(sessions)
    lose_client(context)
    journal, files = Journal(), Files()
    files.commit(journal, context)
    (kept,) = files.replay().kept.values()
    after = revive_one(successor(sessions), kept, 1000.0, WALL + passed)
    assert after is not None
    assert after.next_deadline() == pytest.approx(1000.0 + left)


@pytest.mark.parametrize("passed", [60.0, 61.5, 1e6])
def test_a_grace_that_ended_while_the_process_was_dead_has_ended(passed: float) -> None:
    sessions = contexts(PATIENT)
    context = connected(sessions)
    lose_client(context)
    context.receive_data(Side.SERVER, text(1, masked=False), 0.0)
    journal, files = Journal(), Files()
    files.commit(journal, context)
    (kept,) = files.replay().kept.values()
    after = successor(sessions)
    assert revive_one(after, kept, 1000.0, WALL + passed) is None
    assert list(after) == []
    assert after.budget.used == 0
    assert after.counters.to_client.lost_messages == 1


def test_several_crashes_make_no_grace_longer() -> None:
    sessions = contexts(PATIENT)
    context: ContextStateMachine | None = connected(sessions)
    assert context is not None
    lose_client(context)
    now = 0.0
    for later in (20.0, 45.0, 59.5, 60.0):
        assert context is not None
        assert context.next_deadline() == pytest.approx(60.0)
        journal, files = Journal(), Files()
        files.commit(journal, context, now=now)
        (kept,) = files.replay().kept.values()
        sessions, now = successor(sessions), later
        context = revive_one(sessions, kept, now, WALL + now)
    assert context is None


@pytest.mark.parametrize("order", [1, -1])
def test_an_id_is_that_of_the_session_which_goes_on(order: int) -> None:
    """The other one ends, but still owes its client a message."""
    sessions = contexts(PATIENT)
    older = session(sessions, b"x-connection-id: same")
    accept(older)
    bye = frame(FIN | CLOSE, (1000).to_bytes(2, "big"), masked=False)
    older.receive_data(Side.SERVER, text(1, masked=False) + bye, 0.0)
    newer = session(sessions, b"x-connection-id: same")
    accept(newer)
    journal, files = Journal(), Files()
    files.commit(journal, *[older, newer][::order])
    after = successor(sessions)
    for kept in files.replay().kept.values():
        revive_one(after, kept, 0.0, WALL)
    states = {context.nonce: context.state for context in after}
    assert states == {older.nonce: State.CLOSING, newer.nonce: State.BOTH_DOWN}
    back = session(after, b"x-reconnect-id: same")
    assert back.nonce == newer.nonce


def test_nothing_is_written_of_sessions_that_open_or_are_over() -> None:
    sessions = contexts(PATIENT)
    opening, over, alive = session(sessions), connected(sessions), connected(sessions)
    journal, files = Journal(), Files()
    files.commit(journal, opening, over, alive)
    assert len(files.replay().kept) == 2
    journal.forget(over)
    files.commit(journal)
    assert list(files.replay().kept) == [alive.nonce]


def test_what_a_full_queue_drops_is_dropped_after_a_crash_too() -> None:
    for overflow in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST):
        sessions = contexts(Policy(overflow_to_client=overflow, queue_messages=20))
        context = connected(sessions)
        lose_client(context)
        journal, files = Journal(), Files()
        for number in range(50):
            context.receive_data(Side.SERVER, text(number, masked=False), 0.0)
            files.commit(journal, context)
            (after,) = revive(files.replay(), sessions)
            assert after.server.queue.dropped == context.server.queue.dropped
            assert waiting(after, Side.CLIENT) == waiting(context, Side.CLIENT)
        assert context.server.queue.dropped >= 30


# -- How much is written -----------------------------------------------------------------------


def test_the_files_stay_within_a_bound_however_much_passes() -> None:
    sessions = contexts(PATIENT)
    busy, idle = connected(sessions), connected(sessions)
    journal, files = Journal(), Files()
    big = frame(FIN | BINARY, bytes(2**20), masked=False)
    idle.receive_data(Side.SERVER, text(7, masked=False), 0.0)
    files.commit(journal, busy, idle)
    for number in range(200):
        busy.receive_data(Side.SERVER, big, 0.0)
        files.commit(journal, busy)
        source = busy.client.source
        take(busy, Side.CLIENT)
        source.confirm(*source.mark)
        size = sum(map(len, files.contents.values()))
        assert size <= SLACK * (4 * len(big) + FILE) + 2 * len(big), number
        assert journal.size == size
    assert len(files.contents) < 200 * len(big) / FILE
    first, second = revive(files.replay(), sessions)
    assert {first.connection_id, second.connection_id} == {busy.connection_id, idle.connection_id}
    quiet = second if second.connection_id == idle.connection_id else first
    assert waiting(quiet, Side.CLIENT) == text(7, masked=False)


def test_the_next_process_writes_anew_what_it_goes_on_with() -> None:
    sessions = contexts(PATIENT)
    journal, files = Journal(), Files()
    many = [connected(sessions) for _ in range(5)]
    files.commit(journal, *many)
    after = successor(sessions)
    revived = [revive_one(after, kept, 0.0, WALL) for kept in files.replay().kept.values()]
    assert None not in revived
    journal = Journal(2, past=len(files.contents[1]))
    for context in revived:
        journal.adopt(context)  # type: ignore[arg-type]
    for context in revived:
        assert journal.needed_from == 1  # a crash meanwhile costs nothing
        assert len(files.replay().kept) == 5
        files.commit(journal, context)  # type: ignore[arg-type]
    assert list(files.contents) == [2]
    assert len(files.replay().kept) == 5


def test_what_was_confirmed_is_held_no_longer_than_the_window_asks_for() -> None:
    policy = Policy(heartbeat_interval=0.0, replay_window=10_000)
    sessions = contexts(policy)
    context = connected(sessions)
    journal, files = Journal(), Files()
    for _ in range(100):
        context.receive_data(Side.SERVER, frame(FIN | BINARY, bytes(1000)), 0.0)
        files.commit(journal, context)
        take(context, Side.CLIENT)
        source = context.client.source
        source.confirm(*source.mark)
    context.receive_data(Side.SERVER, text(1, masked=False), 0.0)
    files.commit(journal, context)
    (after,) = revive(files.replay(), sessions)
    assert 10_000 <= after.server.queue.held < 20_000
    assert waiting(after, Side.CLIENT) == text(1, masked=False)


# -- What a crash, or a bad disk, leaves -------------------------------------------------------


def history() -> tuple[bytes, list[int], Contexts]:
    """A file of two sessions' doings, and where its blocks end."""
    sessions = contexts(PATIENT)
    one, two = connected(sessions), connected(sessions)
    journal, files = Journal(), Files()
    ends = []
    for number in range(6):
        one.receive_data(Side.CLIENT, text(number), 0.0)
        if number % 2:
            two.receive_data(Side.SERVER, text(number, masked=False), 0.0)
        if number == 3:
            lose_client(two)
        files.commit(journal, one, two)
        ends.append(len(files.contents[1]))
    return files.contents[1], ends, sessions


DATA, ENDS, SESSIONS = history()


def states(replay: Replay) -> list[tuple[State, bytes, bytes]]:
    return [
        (each.state, waiting(each, Side.SERVER), waiting(each, Side.CLIENT))
        for each in revive(replay, SESSIONS)
    ]


def intact(size: int) -> list[tuple[State, bytes, bytes]]:
    replay = Replay()
    assert replay.read(DATA[:size]) is None
    return states(replay)


BEFORE = {0: [], **{end: intact(end) for end in ENDS}}


def test_a_torn_end_is_cut_off() -> None:
    for size in range(len(DATA) + 1):
        for filling in (b"", bytes(40)):  # zeros: the machine died before it had written them
            replay = Replay()
            problem = replay.read(DATA[:size] + filling)
            whole = max(end for end in BEFORE if end <= size)
            assert states(replay) == BEFORE[whole]
            if size not in (*ENDS, len(FILE_HEAD)) or filling:
                assert isinstance(problem, JournalError)
                assert problem.is_torn or size < len(FILE_HEAD) or filling
                assert problem.position == (whole or (len(FILE_HEAD) if size >= 10 else 0))
            else:
                assert problem is None


def test_what_is_before_damage_comes_back() -> None:
    for place in range(len(DATA)):
        replay = Replay()
        problem = replay.read(DATA[:place] + bytes([DATA[place] ^ 0x10]) + DATA[place + 1 :])
        assert isinstance(problem, JournalError)
        whole = max(end for end in BEFORE if end <= place)
        assert states(replay) == BEFORE[whole]
        assert problem.position == (whole or (len(FILE_HEAD) if place >= 10 else 0))
        assert not problem.is_torn or place >= ENDS[-2]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(ENDS), max_size=3), st.binary(max_size=60), st.randoms())
def test_no_bytes_break_the_reader(cuts: list[int], junk: bytes, chance: object) -> None:
    replay = Replay()
    for cut in cuts:
        replay.read(DATA[:cut] + junk)
        replay.read(junk + DATA[cut:])
    revive(replay, SESSIONS)
    replay.read(FILE_HEAD + junk)
    body = records._SIZES.pack(len(junk), records.crc32(junk))
    block = body + records._CHECK.pack(records.crc32(body)) + junk
    problem = replay.read(FILE_HEAD + block)
    assert problem is None or problem.position == len(FILE_HEAD)


def test_a_session_of_which_records_are_missing_is_given_up() -> None:
    hole = Replay()
    assert hole.read(DATA[: ENDS[1]]) is None
    assert hole.read(FILE_HEAD + DATA[ENDS[2] :]) is None
    assert len(hole.given_up) == 1  # the other one had nothing in that block
    ((state, _, to_client),) = states(hole)
    assert state is State.BOTH_DOWN
    assert to_client == b"".join(text(number, masked=False) for number in (1, 3, 5))


def test_another_form_has_another_version() -> None:
    """But for the form of a whole session, which has a version and a test of its own."""
    block = records.encode_block(
        [
            records.Appended(b"k", Side.CLIENT, 3, 2, memoryview(b"data")),
            records.Confirmed(b"k", Side.SERVER, 9, 4, 1),
            records.Ended(b"k"),
        ],
        FILE_HEAD,
    )
    head = "72656b6e6974 0001" + records.frozen.VERSION.to_bytes(2, "big").hex()
    sizes = "00000029 607c8a4c 71388951"
    body = "93 9602c4016ba6636c69656e740302c40464617461 9603c4016ba6736572766572090401 9204c4016b"
    assert records.VERSION == 1
    assert block.hex(" ") == bytes.fromhex(head + sizes + body).hex(" "), "count VERSION up"


def test_a_file_of_another_version_is_refused_with_the_reason() -> None:
    other = DATA[:6] + (records.VERSION + 1).to_bytes(2, "big") + DATA[8:]
    problem = Replay().read(other)
    assert problem is not None
    assert not problem.is_torn
    forms = f"form 2.{frozen.VERSION}; this version reads form 1.{frozen.VERSION}"
    assert forms in str(problem)
    problem = Replay().read(b"something else entirely")
    assert str(problem) == "it is no file of reknit's"


# -- Sessions in a dialect -----------------------------------------------------------------------


def subscribe(identifier: int) -> bytes:
    body = identifier.to_bytes(2, "big") + b"\x00\x07a/%05d\x01" % identifier
    return frame(FIN | BINARY, bytes((0x82, len(body))) + body, masked=True)


def publish(identifier: int) -> bytes:
    body = b"\x00\x01a" + identifier.to_bytes(2, "big") + b"payload"
    return frame(FIN | BINARY, bytes((0x32, len(body))) + body, masked=True)


def acknowledged(identifier: int) -> bytes:
    return frame(FIN | BINARY, b"\x40\x02" + identifier.to_bytes(2, "big"))


def test_a_chatty_dialect_writes_what_is_new_and_not_all_that_it_knows() -> None:
    sessions = contexts(Policy(dialect="mqtt", client_grace=60.0, heartbeat_interval=0.0))
    context = connected(sessions)
    for number in range(1, 501):
        context.receive_data(Side.CLIENT, subscribe(number), 0.0)
        granted = b"\x90\x03" + number.to_bytes(2, "big") + b"\x01"
        context.receive_data(Side.SERVER, frame(FIN | BINARY, granted), 0.0)
    journal, files = Journal(), Files()
    files.commit(journal, context)
    all_of_it = journal.size
    for number in range(1000, 1100):
        context.receive_data(Side.CLIENT, publish(number), 0.0)
        files.commit(journal, context)
        if number < 1098:
            context.receive_data(Side.SERVER, acknowledged(number), 0.0)
            files.commit(journal, context)
    assert journal.size - all_of_it < 100 * all_of_it / 20
    (after,) = revive(files.replay(), sessions)
    assert context.dialogue is not None
    assert after.dialogue is not None
    before, now = context.dialogue.interpreter, after.dialogue.interpreter
    assert before is not None
    assert now is not None
    assert now.statements.freeze() == before.statements.freeze()
    assert [kept.statement.key for kept in now.statements][-2:] == [
        ("publish", 1098),
        ("publish", 1099),
    ]
