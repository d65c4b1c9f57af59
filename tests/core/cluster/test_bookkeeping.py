"""Books: sessions come back from their entries, whoever claims them, and they don't grow."""

import pytest
from crashing_player import WALL, successor
from frame_bytes import BINARY, FIN, TEXT, frame
from reknit_core.cluster.bookkeeping import CLAIMED, FILE, KEPT, Book, Entry, EntryId, Reading
from reknit_core.durable.journal import SLACK
from reknit_core.durable.revival import revive
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, lose_client, session, take
from streams_by_hand import Streams, make_books

PATIENT = Policy(client_grace=60.0, heartbeat_interval=0.0)


def connected(sessions: Contexts) -> ContextStateMachine:
    context = session(sessions, b"x-reconnect: true")
    accept(context)
    return context


def say(context: ContextStateMachine) -> None:
    context.receive_data(Side.CLIENT, frame(FIN | TEXT, b"something", masked=True), 0.0)


def revived(streams: Streams, sessions: Contexts) -> dict[bytes, ContextStateMachine]:
    """All sessions of all streams, as another node would have them."""
    after = successor(sessions)
    found = {}
    for name in streams.entries:
        for kept in streams.read(name).replay.kept.values():
            context = revive(after, kept, 0.0, WALL)
            assert context is not None
            assert context.nonce not in found
            found[context.nonce] = context
    return found


def test_each_session_stays_in_one_book_and_comes_back_from_it() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(2), Streams()
    known = [connected(sessions) for _ in range(9)]
    for number, context in enumerate(known):
        for _ in range(number):
            say(context)
            streams.commit(books, context)
    streams.commit(books, *known)
    assert len(books) == len(streams.entries) == 2
    assert sum(len(book.contexts) for book in books) == 9
    after = revived(streams, sessions)
    assert [after[each.nonce].client.queue.count for each in known] == list(range(9))


def test_a_book_begins_with_its_owner() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(1, b"node"), Streams()
    assert not len(books)  # it isn't made before it is needed
    streams.commit(books, connected(sessions))
    first, second = streams.entries["book-1"]
    assert first == Entry(EntryId(1, 0), CLAIMED, b"node")
    assert second.id == EntryId(1, 1)
    assert second.kind == KEPT


def test_sessions_that_are_over_are_gone_though_their_book_has_no_other() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(2), Streams()
    one, two = connected(sessions), connected(sessions)
    streams.commit(books, one, two)
    lose_client(one)
    one.handle_timeout(60.0)
    take(one, Side.SERVER)
    books.forget(one)
    streams.commit(books, two)
    streams.commit(books, one)  # late: it is in no book any more
    assert list(revived(streams, sessions)) == [two.nonce]
    assert sum(len(book.contexts) for book in books) == 1


def test_a_session_that_opens_is_in_no_book() -> None:
    books, streams = make_books(), Streams()
    context = session(contexts(PATIENT))
    assert context.state is State.OPENING
    streams.commit(books, context)
    assert not streams.entries


def test_a_book_is_bounded_by_what_is_alive_in_it_alone() -> None:
    sessions = contexts(Policy(heartbeat_interval=0.0, replay_window=0))
    books, streams = make_books(2), Streams()
    rich, poor = connected(sessions), connected(sessions)
    for _ in range(40):
        rich.receive_data(Side.SERVER, frame(FIN | BINARY, bytes(2**20)), 0.0)
    streams.commit(books, rich, poor)
    (name,) = [book.name for book in books if poor in book.contexts]
    for _ in range(300):
        poor.receive_data(Side.SERVER, frame(FIN | BINARY, bytes(50_000)), 0.0)
        streams.commit(books, poor)
        take(poor, Side.CLIENT)
        poor.client.source.confirm(*poor.client.source.mark)
        size = max(len(entry.data) for entry in streams.entries[name])
        assert streams.size(name) <= SLACK * FILE + FILE + size + 100_000
    assert streams.entries[name][0].id > EntryId(1, 0)
    after = revived(streams, sessions)
    assert after[poor.nonce].server.queue.count == 300
    assert after[rich.nonce].server.queue.count == 40


def test_who_claims_a_book_goes_on_in_it_and_what_was_before_goes() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(1), Streams()
    known = [connected(sessions) for _ in range(3)]
    for context in known:
        say(context)
    streams.commit(books, *known)
    reading = streams.read("book-1")
    assert reading.top == streams.top("book-1")
    after = successor(sessions)
    book = Book("book-1", reading.top.epoch + 1, 0, reading.size)
    mine = [revive(after, kept, 0.0, WALL) for kept in reading.replay.kept.values()]
    for context in mine:
        assert context is not None
        book.adopt(context)
    others = make_books(1)
    others.add(book)
    one, *rest = [context for context in mine if context is not None]
    streams.commit(others, one)
    assert EntryId(1, 1) in [entry.id for entry in streams.entries["book-1"]]
    assert len(revived(streams, sessions)) == 3  # the rest is as it was
    streams.commit(others, *rest)
    streams.append([book.entry(b"l")])
    assert all(entry.id.epoch == 2 for entry in streams.entries["book-1"])
    assert [each.client.queue.count for each in revived(streams, sessions).values()] == [1, 1, 1]
    new = connected(after)
    streams.commit(others, new)  # a node's new sessions go into the books that it has
    assert list(streams.entries) == ["book-1"]


def test_a_store_that_has_lost_all_is_written_anew() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(1), Streams()
    known = [connected(sessions) for _ in range(3)]
    streams.commit(books, *known)
    say(known[0])
    streams.entries.clear()
    (book,) = books
    book.begin_anew(1)
    streams.append([book.claim(b"a")])
    assert streams.top("book-1") == EntryId(1, 2)  # above whatever may have come through
    streams.commit(books, *known)
    assert [each.client.queue.count for each in revived(streams, sessions).values()] == [1, 0, 0]
    assert book.size == streams.size("book-1") - len(b"a")


def test_a_dropped_book_is_forgotten() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(1), Streams()
    one, two = connected(sessions), connected(sessions)
    streams.commit(books, one, two)
    (book,) = books
    books.forget(one)
    assert books.drop(book) == [two]
    assert books.get("book-1") is None
    streams.commit(books)
    assert len(streams.entries["book-1"]) == 2
    streams.commit(books, two)  # it is a new one's, should that happen
    assert list(streams.entries) == ["book-1", "book-2"]


def test_blocks_that_cannot_be_read_are_said_and_the_rest_is_read() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(1), Streams()
    one, two = connected(sessions), connected(sessions)
    streams.commit(books, one)
    streams.commit(books, two)
    claimed, first, second = streams.entries["book-1"]
    reading = Reading()
    for entry in (claimed, first, second._replace(data=second.data[:-1] + b"#")):
        reading.read(entry)
    (problem,) = reading.problems
    assert str(problem) == "a block is damaged"
    assert list(reading.replay.kept) == [one.nonce]
    assert reading.top == second.id


@pytest.mark.parametrize("text", [b"", b"1", b"x-1", b"1-"])
def test_an_id_that_is_none_is_an_error(text: bytes) -> None:
    assert EntryId.read(b"12-345") == EntryId(12, 345)
    assert bytes(EntryId(12, 345)) == b"12-345"
    with pytest.raises(ValueError, match="invalid literal"):
        EntryId.read(text)


def test_blocks_are_small_enough_to_read_in_slices() -> None:
    sessions = contexts(PATIENT)
    books, streams = make_books(1), Streams()
    known = [connected(sessions) for _ in range(20)]
    for context in known:
        context.receive_data(Side.CLIENT, frame(FIN | TEXT, b"x" * 60_000, masked=True), 0.0)
    streams.commit(books, *known)
    assert len(streams.entries["book-1"]) == 5
    assert max(len(entry.data) for entry in streams.entries["book-1"]) < 2**19
