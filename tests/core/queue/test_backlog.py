"""The backlog against a list of messages, and its bounds."""

import tracemalloc
from itertools import accumulate

import pytest
from frame_bytes import message
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import MUCH, Budget
from reknit_core.queue.stream import GATHER

MERGE = 2048  # bytes up to which chunks are merged
LARGEST = 6000  # bytes of a message in these tests, with its headers
CHUNK = 3000  # bytes of a read in these tests


def joined(backlog: Backlog, until: int | None = None) -> bytes:
    return b"".join(backlog.pending(backlog.tail if until is None else until))


def filled(*payloads: bytes, eager: bool = True, window: int = 0) -> tuple[Backlog, list[bytes]]:
    """A backlog of these messages, each appended on its own."""
    backlog = Backlog(eager=eager, window=window)
    messages = [message(payload).data for payload in payloads]
    for data in messages:
        backlog.append(data, len(data), 1)
    return backlog, messages


# -- By example --------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 1, 2, 3])
@pytest.mark.parametrize("eager", [True, False])
def test_it_begins_anew_at_a_message_end(sent: int, eager: bool) -> None:
    backlog, messages = filled(b"one", b"two", b"three", eager=eager, window=1000)
    ends = [0, *accumulate(map(len, messages))]
    backlog.advance(ends[sent])
    backlog.append(b"\x82", 0, 0)  # of a fourth one
    lost = backlog.begin_at(ends[2])
    assert lost == (max(0, ends[2] - ends[sent]), max(0, 2 - sent))
    assert joined(backlog) == messages[2]
    assert (backlog.confirmed, backlog.confirmed_count, backlog.mark) == (ends[2], 2, (ends[3], 3))
    assert (backlog.held, backlog.budget.used) == (len(messages[2]) + 1,) * 2
    assert [backlog.holds(count) for count in range(4)] == [False, False, True, False]
    backlog.append(b"\x00", 1, 1)
    backlog.advance(ends[3] + 2 - backlog.sent)
    assert backlog.rewind() == ((ends[3] + 2, 4) if eager else (ends[2], 2))


def test_it_knows_whether_a_message_is_cut() -> None:
    backlog, (first, _) = filled(b"one", b"two")
    assert backlog.is_between
    backlog.advance(len(first) - 1)
    assert not backlog.is_between
    backlog.advance(1)
    assert backlog.is_between


def test_a_chunk_goes_out_as_the_object_that_came_in() -> None:
    backlog, (data,) = filled(b"x" * 3000)
    (buffer,) = backlog.pending(backlog.tail)
    assert buffer is data


def test_messages_go_out_in_order_as_the_socket_takes_them() -> None:
    backlog, messages = filled(b"one", b"two" * 1000, b"three")
    stream = b"".join(messages)
    out = b""
    while backlog.sent < backlog.tail:
        given = joined(backlog)
        assert stream == out + given
        out += given[:7]
        backlog.advance(min(7, len(given)))
    assert out == stream
    assert backlog.pending(backlog.tail) == []
    assert backlog.mark == (len(stream), 3)


def test_no_more_is_given_than_asked_for() -> None:
    backlog, messages = filled(b"one", b"two")
    end = len(messages[0])
    assert joined(backlog, end) == messages[0]
    backlog.advance(2)
    assert joined(backlog, end) == messages[0][2:]
    assert backlog.pending(backlog.sent) == []
    assert backlog.pending(0) == []


def test_an_incomplete_message_waits_for_its_end() -> None:
    first, second = (message(payload).data for payload in (b"one", b"second"))
    backlog = Backlog(eager=True)
    backlog.append(first + second[:3], len(first), 1)
    assert joined(backlog) == first
    backlog.advance(len(first))
    assert backlog.pending(backlog.tail) == []
    backlog.append(second[3:5], 0, 0)
    assert backlog.pending(backlog.tail) == []
    backlog.append(second[5:], len(second) - 5, 1)
    assert joined(backlog) == second


def test_a_message_whose_sender_is_lost_is_forgotten() -> None:
    first, second = (message(payload).data for payload in (b"one", b"x" * 5000))
    for parts in (1, 2, 4000):
        budget = Budget(1 << 60)
        backlog = Backlog(eager=True, budget=budget)
        backlog.append(first + second[:parts], len(first), 1)
        backlog.append(second[parts:4500], 0, 0)
        backlog.drop_partial()
        assert backlog.mark == (len(first), 1)
        assert joined(backlog) == first
        assert budget.used == len(first)
        backlog.advance(len(first))
        backlog.append(second, len(second), 1)
        assert joined(backlog) == second


def test_after_all_is_written_a_forgotten_message_leaves_no_empty_buffer() -> None:
    backlog = Backlog(eager=True)
    first, second = (message(payload * 3000).data for payload in (b"1", b"2"))
    backlog.append(first + second[:10], len(first), 1)
    backlog.advance(len(first))
    backlog.drop_partial()
    backlog.append(second, len(second), 1)
    assert backlog.pending(backlog.tail) == [second]


def test_a_message_half_written_stays_when_its_senders_next_one_is_forgotten() -> None:
    backlog, (data,) = filled(b"whole")
    backlog.append(b"\x82\x05h", 0, 0)
    backlog.advance(3)
    backlog.drop_partial()
    assert joined(backlog) == data[3:]


def test_buffers_that_are_out_stay_as_they_are() -> None:
    backlog, messages = filled(b"one", b"two")
    backlog.advance(1)
    before = backlog.pending(backlog.tail)
    more = message(b"three").data
    backlog.append(more, len(more), 1)
    assert b"".join(before) == b"".join(messages)[1:]
    assert joined(backlog) == b"".join(messages)[1:] + more


def test_one_gathered_write_has_a_bounded_number_of_buffers() -> None:
    payloads = [bytes([index % 256]) * 2000 for index in range(300)]
    backlog, messages = filled(*payloads)
    for until in (len(messages[0]) * 256, backlog.tail):
        buffers = backlog.pending(until)
        assert len(buffers) == GATHER
        assert b"".join(buffers) == b"".join(messages[:GATHER])
    size = sum(map(len, messages[:GATHER]))
    backlog.advance(size)
    assert joined(backlog) == b"".join(messages[GATHER:])


def test_at_most_once_sends_again_only_what_was_not_wholly_handed_over() -> None:
    backlog, messages = filled(b"one", b"two", b"three")
    ends = list(accumulate(map(len, messages)))
    backlog.advance(ends[1] - 1)
    assert backlog.rewind() == (ends[0], 1)
    assert joined(backlog) == messages[1] + messages[2]
    backlog.advance(ends[2] - ends[0])
    assert backlog.rewind() == (ends[2], 3)
    assert backlog.pending(backlog.tail) == []


def test_at_least_once_sends_again_all_that_is_not_confirmed() -> None:
    backlog, messages = filled(b"one", b"two", b"three", eager=False)
    ends = list(accumulate(map(len, messages)))
    backlog.advance(ends[2])
    backlog.confirm(ends[0], 1)
    assert backlog.rewind() == (ends[0], 1)
    assert joined(backlog) == messages[1] + messages[2]
    backlog.advance(3)
    assert backlog.rewind() == (ends[0], 1)
    assert joined(backlog) == messages[1] + messages[2]


@pytest.mark.parametrize("eager", [True, False])
def test_a_receiver_that_counts_goes_on_with_the_next_message(eager: bool) -> None:
    payloads = [bytes([index]) * index for index in range(20)]
    for count in range(21):
        backlog, messages = filled(*payloads, eager=eager, window=10_000)
        backlog.advance(backlog.tail - 1)
        if not eager:
            backlog.confirm(len(b"".join(messages[:7])), 7)
        backlog.rewind()
        assert backlog.holds(count) is (count < 20)  # the last was never wholly handed over
        if count < 20:
            backlog.resume_at(count)
            assert joined(backlog) == b"".join(messages[count:])


def test_what_the_window_does_not_hold_can_not_be_gone_on_from() -> None:
    payloads = [b"x" * 3000] * 10
    backlog, messages = filled(*payloads, window=7000)
    backlog.advance(backlog.tail)
    assert [backlog.holds(count) for count in range(12)] == [False] * 7 + [True] * 4 + [False]
    backlog.resume_at(7)
    assert joined(backlog) == b"".join(messages[7:])


def test_a_receiver_can_not_have_what_no_connection_was_given() -> None:
    backlog, messages = filled(b"one", b"two", b"three", eager=False)
    assert backlog.holds(0)
    assert not backlog.holds(1)
    backlog.advance(len(messages[0]) + 1)
    backlog.rewind()
    assert backlog.holds(1)
    assert not backlog.holds(2)


def test_what_a_lost_connection_was_given_is_not_dropped() -> None:
    backlog, messages = filled(b"one", b"two", b"three", b"four", eager=False)
    backlog.advance(len(messages[0] + messages[1]))
    backlog.rewind()
    backlog.drop_oldest(0, 0)
    assert backlog.dropped == 2
    assert joined(backlog) == messages[0] + messages[1]
    more = message(b"five").data
    backlog.append(more, len(more), 1)
    assert not backlog.holds(3)
    backlog.resume_at(2)
    assert joined(backlog) == more


def test_what_a_receiver_says_that_it_has_not_got_may_be_dropped() -> None:
    backlog, messages = filled(b"one", b"two", eager=False)
    backlog.advance(len(messages[0]))
    backlog.rewind()
    backlog.resume_at(0)
    backlog.drop_oldest(0, 0)
    assert backlog.dropped == 2
    assert backlog.mark == (0, 0)


def test_a_message_that_a_lost_connection_had_in_part_counts_as_not_given() -> None:
    backlog, _ = filled(b"one", b"two")
    backlog.advance(4)
    backlog.rewind()
    backlog.drop_oldest(0, 0)
    data = message(b"").data  # all of it in as many bytes as that connection had
    backlog.append(data, len(data), 1)
    assert not backlog.holds(1)


def test_a_message_that_is_being_written_is_not_dropped() -> None:
    backlog, messages = filled(b"one", b"two" * 1000, b"three" * 1000, b"four" * 1000)
    backlog.advance(len(messages[0]) + 3)
    start, size = backlog.drop_oldest(9000, 3)
    assert (start, size) == (len(messages[0] + messages[1]), len(messages[2]))
    assert joined(backlog) == messages[1][3:] + messages[3]
    assert (backlog.count, backlog.dropped) == (3, 1)
    assert backlog.drop_oldest(9000, 3) == (start, 0)


def test_the_newest_are_dropped_as_far_as_they_are_too_many() -> None:
    backlog, messages = filled(b"one", b"two", b"three", b"four")
    partial = b"\x82\x05h"
    backlog.append(partial, 0, 0)
    tail = backlog.tail
    for kept in ((0, 0, 0), (2, tail, 4), (4, 100, 100)):
        assert backlog.drop_newest(*kept) == (tail, 0)
    start, last = len(b"".join(messages[:3])), len(messages[3])
    assert backlog.drop_newest(2, tail - 1, 100) == (start, last)
    assert backlog.drop_newest(2, 100, 0) == (len(messages[0]), start - len(messages[0]))
    backlog.append(b"alf!", 4, 1)
    assert joined(backlog) == messages[0] + partial + b"alf!"
    assert (backlog.count, backlog.dropped) == (2, 3)


def test_backlogs_share_a_budget() -> None:
    budget = Budget(1 << 60)
    one, other = (Backlog(eager=True, budget=budget) for _ in range(2))
    data = message(b"x" * 98).data
    one.append(data, len(data), 1)
    other.append(data + data[:50], len(data), 1)
    assert budget.used == 250
    one.advance(len(data))
    assert budget.used == 150
    other.drop_partial()
    assert budget.used == 100
    other.clear()
    assert budget.used == 0


def test_what_ended_sessions_held_is_counted_until_it_is_much() -> None:
    budget = Budget(1 << 60)
    lasting = Backlog(eager=True, budget=budget)
    lasting.append(bytes(MUCH), MUCH, 1)
    lasting.advance(MUCH)
    assert not budget.has_freed_much()  # a session frees that all the time, and uses it again
    for size, much in ((MUCH - 1, False), (1, True), (MUCH - 1, False), (2 * MUCH, True)):
        ended = Backlog(eager=False, budget=budget)
        ended.append(bytes(size), size, 1)
        ended.clear()
        assert budget.has_freed_much() is much
        assert not budget.has_freed_much()
    assert budget.used == 0


def test_a_control_frame_goes_to_the_next_known_message_end() -> None:
    backlog = Backlog(eager=True)
    assert backlog.next_end() == (0, 0)
    data = message(b"x" * 3000).data
    backlog.append(data, len(data), 1)
    backlog.append(data, len(data), 1)
    assert backlog.next_end() == (0, 0)
    backlog.advance(1)
    assert backlog.next_end() == (len(data), 1)
    backlog.advance(len(data) - 1)
    assert backlog.next_end() == (len(data), 1)
    backlog.advance(1)
    assert backlog.next_end() == (2 * len(data), 2)


# -- Overhead ----------------------------------------------------------------------------------


def held_bytes(backlog: Backlog, messages: int, *, write: bool) -> int:
    """What appending that many messages of 8 bytes adds to the process, in bytes."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index in range(messages):
            data = b"\x82\x06" + index.to_bytes(6, "big")
            backlog.append(data, 8, 1)
            if write:
                backlog.advance(8)
                if not backlog.eager and index % 100 == 0:
                    backlog.confirm(*backlog.mark)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def test_tiny_messages_that_wait_are_merged() -> None:
    backlog = Backlog(eager=True)
    assert held_bytes(backlog, 10_000, write=False) < 2 * 80_000
    assert len(backlog.pending(backlog.tail)) <= 80_000 // MERGE + 1


@pytest.mark.parametrize("eager", [True, False])
def test_tiny_messages_that_are_kept_for_replay_are_merged(eager: bool) -> None:
    window = 40_000
    backlog = Backlog(eager=eager, window=window)
    assert held_bytes(backlog, 20_000, write=True) < 2 * window
    backlog.rewind()
    for count in (19_901, 17_777, 16_000):
        assert backlog.holds(count)
        backlog.resume_at(count)
        assert joined(backlog, backlog.sent + 8) == b"\x82\x06" + count.to_bytes(6, "big")


def test_tiny_messages_that_are_not_confirmed_are_merged() -> None:
    backlog = Backlog(eager=False)
    for index in range(10_000):
        backlog.append(b"\x82\x06" + index.to_bytes(6, "big"), 8, 1)
        backlog.advance(8)
    backlog.rewind()
    assert len(joined(backlog)) == 80_000  # in one gathered write
    assert joined(backlog)[8 * 5_000 :][:8] == b"\x82\x06" + (5_000).to_bytes(6, "big")


# -- The model ---------------------------------------------------------------------------------


class Model(RuleBasedStateMachine):
    """Whole and cut messages come, a receiver takes bytes, and either end is lost at any moment.

    The model is the list of the messages' ends in one long string of bytes.
    """

    eager = True
    window = 0

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(1 << 60)
        self.backlog = Backlog(eager=self.eager, window=self.window, budget=self.budget)
        self.stream = b""  # all that has come, without what was dropped
        self.ends = [0]  # of the messages in it
        self.coming = b""  # what the sender has still to send, and where its messages end
        self.coming_ends: list[int] = []
        self.handed = 0  # messages wholly handed to any connection of the receiver
        self.peak = 0  # highest confirmed position: what was freed once is gone
        self.number = 0
        self.dropped = 0

    # -- The sender

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        sizes = st.one_of(st.integers(0, 8), st.sampled_from([100, 125, 700, 2100, 5000]))
        for parts in data.draw(st.lists(st.lists(sizes, min_size=1, max_size=2), max_size=12)):
            self.number += 1
            filling = self.number.to_bytes(2, "big") * 4096
            self.coming += message(*(filling[:size] for size in parts)).data[: LARGEST * 2]
            self.coming_ends.append(len(self.coming))

    @precondition(lambda self: self.coming)
    @rule(size=st.one_of(st.integers(1, 20), st.integers(1, CHUNK), st.just(CHUNK)))
    def arrive(self, size: int) -> None:
        data, self.coming = self.coming[:size], self.coming[size:]
        ended = [end for end in self.coming_ends if end <= len(data)]
        self.backlog.append(data, ended[-1] if ended else 0, len(ended))
        self.ends += [len(self.stream) + end for end in ended]
        self.coming_ends = [end - len(data) for end in self.coming_ends if end > len(data)]
        self.stream += data

    @rule()
    def lose_sender(self) -> None:
        self.backlog.drop_partial()
        self.stream = self.stream[: self.ends[-1]]
        self.coming = b""
        self.coming_ends = []

    # -- The receiver

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        backlog = self.backlog
        ahead = [end for end in self.ends if end >= backlog.sent]
        until = data.draw(st.sampled_from([ahead[-1], *ahead]))
        buffers = backlog.pending(until)
        given = b"".join(buffers)
        assert len(buffers) <= GATHER
        assert all(buffers)
        assert bool(buffers) is (backlog.sent < until)
        assert given == self.stream[backlog.sent :][: len(given)]
        assert len(given) == until - backlog.sent or len(buffers) == GATHER
        taken = data.draw(st.sampled_from([len(given), None]))
        taken = data.draw(st.integers(0, len(given))) if taken is None else taken
        sent = backlog.sent
        backlog.advance(taken)
        assert backlog.sent == sent + taken
        self.handed = max(self.handed, self.count_at(backlog.sent))

    @precondition(lambda self: not self.eager)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        low, high = self.backlog.confirmed_count, self.count_at(self.backlog.sent)
        count = data.draw(st.integers(low, high))
        self.backlog.confirm(self.ends[count], count)
        assert self.backlog.confirmed_count == count

    @rule()
    def lose_receiver(self) -> None:
        backlog = self.backlog
        count = self.count_at(backlog.sent) if self.eager else backlog.confirmed_count
        assert backlog.rewind() == (self.ends[count], count)
        assert backlog.sent == backlog.confirmed == self.ends[count]

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        """A receiver that counts comes back."""
        backlog = self.backlog
        backlog.rewind()
        count = data.draw(st.integers(0, len(self.ends) + 1))
        held = backlog.holds(count)
        if count > self.handed:
            assert not held
        elif self.ends[count] >= max(self.peak, backlog.confirmed) - self.window:
            assert held
        if held:
            backlog.resume_at(count)
            assert backlog.sent == backlog.confirmed == self.ends[count]
            assert backlog.confirmed_count == count
            self.handed = count  # it says so itself

    # -- The bounds

    @rule(bytes_=st.integers(0, 8000), messages=st.integers(0, 20))
    def drop_oldest(self, bytes_: int, messages: int) -> None:
        """Cut the oldest messages of which no connection has had anything, as few as will do."""
        total = len(self.ends) - 1
        first = self.first_free()
        last = first
        while last < total and self.over(first, bytes_, messages, last):
            last += 1
        start, size = self.backlog.drop_oldest(bytes_, messages)
        assert (start, start + size) == (self.ends[first], self.ends[last])
        self.cut(first, last)

    @precondition(lambda self: self.first_free() < len(self.ends) - 1)
    @rule(data=st.data(), bytes_=st.integers(0, 8000), messages=st.integers(0, 20))
    def drop_newest(self, data: st.DataObject, bytes_: int, messages: int) -> None:
        """Cut what is too much of the last messages, of which no connection has had anything."""
        total = len(self.ends) - 1
        number = data.draw(st.integers(0, total - self.first_free()))
        first = total - number
        while first < total and not self.over(first + 1, bytes_, messages, total):
            first += 1
        start, size = self.backlog.drop_newest(number, bytes_, messages)
        assert (start, start + size) == (self.ends[first], self.ends[total])
        self.cut(first, total)

    def first_free(self) -> int:
        """How many messages a connection has had anything of."""
        sent = self.backlog.sent
        return max(self.handed, self.count_at(sent) + (sent not in self.ends))

    def over(self, first: int, bytes_: int, messages: int, last: int) -> bool:
        """Whether the bounds are passed without the messages between these two."""
        left = self.ends[-1] - (self.ends[last] - self.ends[first]) - self.backlog.confirmed
        number = len(self.ends) - 1 - (last - first) - self.backlog.confirmed_count
        return left > bytes_ or number > messages

    def cut(self, first: int, last: int) -> None:
        """Take the messages between these two out of the model."""
        start, end = self.ends[first], self.ends[last]
        self.stream = self.stream[:start] + self.stream[end:]
        self.ends = self.ends[: first + 1] + [
            other - end + start for other in self.ends[last + 1 :]
        ]
        self.dropped += last - first

    # -- What always holds

    def count_at(self, position: int) -> int:
        """How many messages end up to there."""
        return sum(end <= position for end in self.ends) - 1

    @invariant()
    def positions_are_in_order_and_at_message_ends(self) -> None:
        backlog = self.backlog
        self.peak = max(self.peak, backlog.confirmed)
        assert 0 <= backlog.confirmed <= backlog.sent <= backlog.tail
        assert backlog.mark == (self.ends[-1], len(self.ends) - 1)
        assert backlog.confirmed == self.ends[backlog.confirmed_count]
        position, count = backlog.next_end()
        assert position >= backlog.sent
        assert position == self.ends[count]
        assert backlog.dropped == self.dropped

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        received = len(self.stream)
        needed = received - min(self.backlog.confirmed, self.peak - self.window)
        assert received - self.backlog.confirmed <= self.budget.used
        assert self.budget.used <= needed + 2 * CHUNK + LARGEST + 2 * MERGE

    @invariant()
    def an_eager_backlog_confirms_what_is_sent(self) -> None:
        if self.eager:
            late = self.backlog.sent - self.backlog.confirmed
            assert late < CHUNK + LARGEST + MERGE

    def teardown(self) -> None:
        self.backlog.clear()
        assert self.budget.used == 0


class AtLeastOnce(Model):
    eager = False


class AtMostOnceWithWindow(Model):
    window = 5000


class AtLeastOnceWithWindow(Model):
    eager = False
    window = 5000


for model in (Model, AtLeastOnce, AtMostOnceWithWindow, AtLeastOnceWithWindow):
    model.TestCase.settings = settings(settings(), max_examples=60, stateful_step_count=60)

TestAtMostOnce = pytest.mark.long(Model.TestCase)
TestAtLeastOnce = pytest.mark.long(AtLeastOnce.TestCase)
TestAtMostOnceWithWindow = pytest.mark.long(AtMostOnceWithWindow.TestCase)
TestAtLeastOnceWithWindow = pytest.mark.long(AtLeastOnceWithWindow.TestCase)
