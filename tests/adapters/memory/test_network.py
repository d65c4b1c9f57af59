"""The in-memory network by itself."""

from functools import partial

import pytest
from memory_world import ADDRESS, connect, make
from reknit.memory.network import MAX_AT_ONCE, Conditions


def test_a_dial_takes_two_latencies_and_bytes_one() -> None:
    network = make(Conditions(latency=(0.25, 0.25)))
    times: list[float] = []
    network.listen(ADDRESS, lambda socket: times.append(network.now))
    network.dial(ADDRESS, 10.0, lambda outcome: times.append(network.now))
    network.run(1.0)
    assert times == [0.25, 0.5]
    near, far = connect(network)
    began = network.now
    near.socket.send(b"hello")
    network.run(began + 1.0)
    assert far.seen == [(began + 0.25, "hello")]


def test_bytes_keep_their_order_and_their_latency() -> None:
    network = make(Conditions(latency=(0.1, 1.0)))
    near, far = connect(network)
    began = network.now

    def send(number: int) -> None:
        near.socket.send(b"%d " % number)

    for number in range(50):
        network.at(began + number / 10, partial(send, number))
    network.run(began + 20.0)
    assert far.data.split() == [b"%d" % number for number in range(50)]
    delays = [time - began - int(text) / 10 for time, text in far.seen]
    assert min(delays) >= 0.1
    assert len({round(delay, 3) for delay in delays}) > 20
    assert max(delays) <= 1.0 + 1e-9


def test_a_partial_write_takes_a_part_and_goes_on_later() -> None:
    network = make(Conditions(partial=1.0, part=10))
    near, far = connect(network)
    left = b"x" * 200
    writes = 0
    while left:
        taken = near.socket.send(left)
        assert 1 <= taken <= 10
        left = left[taken:]
        writes += 1
        network.run(network.now + 0.1)
    assert far.data == b"x" * 200
    assert writes >= 20
    assert near.what == ["writable"] * (writes - 1)  # the last one took all


def test_a_writer_waits_for_a_peer_that_does_not_read() -> None:
    network = make(Conditions(capacity=100))
    near, far = connect(network)
    far.socket.read(False)
    assert near.socket.send(b"x" * 150) == 100
    assert near.socket.send(b"x" * 50) == 0
    network.run(network.now + 100.0)
    assert (near.what, far.what) == ([], [])
    assert far.socket.unread == 100
    far.socket.read(True)
    network.run(network.now + 1.0)
    assert near.what == ["writable"]
    assert far.data == b"x" * 100
    assert near.socket.send(b"y" * 50) == 50


def test_what_is_discarded_is_read_but_not_accepted() -> None:
    network = make()
    near, far = connect(network)
    near.socket.send(b"used")
    network.run(network.now + 1.0)
    far.socket.discard()
    near.socket.send(b"not used")
    network.run(network.now + 1.0)
    assert (near.socket.acked, near.socket.accepted) == (12, 4)


def test_a_graceful_end_lets_everything_before_it_arrive() -> None:
    network = make()
    near, far = connect(network)
    near.socket.send(b"last")
    near.socket.end()
    assert near.socket.send(b"too late") == 0
    network.run(network.now + 1.0)
    assert far.what == ["last", "end"]
    far.socket.send(b"answer")  # the other direction goes on
    far.socket.close()
    network.run(network.now + 1.0)
    assert near.what == ["answer", "end"]


def test_the_end_waits_for_a_reader() -> None:
    network = make()
    near, far = connect(network)
    far.socket.read(False)
    near.socket.send(b"last")
    near.socket.close()
    network.run(network.now + 10.0)
    assert far.what == []
    far.socket.read(True)
    network.run(network.now + 1.0)
    assert far.what == ["last", "end"]


def test_a_reset_costs_what_is_unread() -> None:
    network = make()
    near, far = connect(network)
    far.socket.read(False)
    near.socket.send(b"unread")
    near.socket.reset()
    network.run(network.now + 1.0)
    far.socket.read(True)
    network.run(network.now + 1.0)
    assert (near.what, far.what) == ([], ["lost"])


def test_closing_with_unread_bytes_resets_the_connection() -> None:
    network = make()
    near, far = connect(network)
    far.socket.read(False)
    near.socket.send(b"unread")
    network.run(network.now + 1.0)
    far.socket.close()
    network.run(network.now + 1.0)
    assert near.what == ["lost"]


def test_bytes_for_a_closed_socket_reset_the_connection() -> None:
    network = make()
    near, far = connect(network)
    far.socket.close()
    near.socket.send(b"crossing")
    network.run(network.now + 1.0)
    assert near.what == ["end", "lost"]
    assert far.what == []


def test_a_cut_is_seen_by_both_ends_and_costs_what_is_on_its_way() -> None:
    network = make()
    near, far = connect(network)
    near.socket.send(b"on its way")
    near.socket.cut()
    network.run(network.now + 1.0)
    assert (near.what, far.what) == (["lost"], ["lost"])


def test_a_vanished_connection_tells_nobody() -> None:
    network = make(Conditions(capacity=100))
    near, far = connect(network)
    near.socket.vanish()
    assert near.socket.send(b"x" * 150) == 100
    near.socket.close()
    network.run(network.now + 1000.0)
    assert (near.what, far.what) == ([], [])
    assert far.socket.open


def test_dials_that_come_to_nothing() -> None:
    network = make(Conditions(latency=(0.5, 0.5)))
    outcomes: list[tuple[float, object]] = []

    def dial(timeout: float) -> None:
        began = network.now
        network.dial(ADDRESS, timeout, lambda outcome: outcomes.append((network.now, outcome)))
        network.run(began + 10.0)

    dial(3.0)
    network.swallow(ADDRESS)
    dial(3.0)
    network.listen(ADDRESS, lambda socket: None)
    dial(0.9)
    network.refuse(ADDRESS)
    dial(3.0)
    assert outcomes == [
        (1.0, "connection refused"),
        (13.0, "timed out"),
        (20.9, "timed out"),
        (31.0, "connection refused"),
    ]


def test_events_of_one_moment_happen_in_the_order_of_the_calls() -> None:
    network = make()
    seen: list[int] = []
    for number in range(100):
        network.at(1.0, partial(seen.append, number))
    network.at(0.5, lambda: network.at(0.1, lambda: seen.append(-1)))  # the past is now
    network.run(0.9)
    assert (seen, network.now) == ([-1], 0.9)
    network.run(2.0)
    assert seen == [-1, *range(100)]


def test_time_that_stands_still_is_an_error() -> None:
    network = make()

    def again() -> None:
        network.after(0.0, again)

    network.after(1.0, again)
    with pytest.raises(RuntimeError, match=r"no end of events at 1\.0"):
        network.run(2.0)
    assert network.events == MAX_AT_ONCE + 1
