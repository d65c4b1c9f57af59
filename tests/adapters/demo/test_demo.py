import functools
import io
import logging
import re
import signal

import pytest
import trio
import trio.testing
from reknit.demo.demonstration import Demo, Promise, Result, play, show
from reknit.demo.endpoints import Flow
from reknit.demo.pair import PAIR_STORY, PairDemo
from reknit.demo.screen import Board, LogToView, Note, PlainView, draw
from reknit_core.lifecycle import State
from rich.console import Console


def make_console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    return console, file


def make_board() -> Board:
    return Board((Flow("client to server"), Flow("server to client")), 12.0, lambda: 3.5)


def flow_of(*numbers: int, sent: int) -> Flow:
    flow = Flow("a to b", sent=sent)
    for number in numbers:
        flow.arrived(number)
    return flow


@pytest.mark.parametrize(
    ("numbers", "received", "lost", "repeated", "reordered", "gaps"),
    [
        ((1, 2, 3), 3, 0, 0, 0, 0),
        ((1, 3), 2, 1, 0, 0, 1),
        ((3,), 1, 2, 0, 0, 1),
        ((1, 2, 2, 3), 4, 0, 1, 0, 0),
        ((1, 2, 1, 2, 3), 5, 0, 2, 0, 0),
        ((1, 3, 2), 3, 0, 0, 1, 1),
        ((), 0, 3, 0, 0, 0),
    ],
)
def test_a_flow_counts_what_became_of_its_numbers(
    numbers: tuple[int, ...], received: int, lost: int, repeated: int, reordered: int, gaps: int
) -> None:
    flow = flow_of(*numbers, sent=3)
    assert (flow.received, flow.lost, flow.repeated) == (received, lost, repeated)
    assert (flow.reordered, flow.gaps, flow.waiting) == (reordered, gaps, 3 - flow.highest)


GOOD = (1, 2, 3)


@pytest.mark.parametrize(
    ("numbers", "promise", "expected"),
    [
        (GOOD, Promise.AT_MOST_ONCE, []),
        (GOOD, Promise.AT_LEAST_ONCE, []),
        (GOOD, Promise.EXACTLY_ONCE, []),
        ((1, 3), Promise.EXACTLY_ONCE, ["a to b: 1 lost"]),
        ((1, 2, 2, 3), Promise.EXACTLY_ONCE, ["a to b: 1 repeated"]),
        ((1, 3), Promise.AT_MOST_ONCE, []),
        ((1, 3), Promise.AT_LEAST_ONCE, ["a to b: 1 lost"]),
        ((1, 2, 2, 3), Promise.AT_MOST_ONCE, ["a to b: 1 repeated"]),
        ((1, 2, 2, 3), Promise.AT_LEAST_ONCE, []),
        ((2, 1, 3), Promise.AT_LEAST_ONCE, ["a to b: 1 reordered"]),
        ((2, 1, 3), Promise.AT_MOST_ONCE, ["a to b: 1 reordered"]),
        ((1, 2), Promise.AT_MOST_ONCE, ["a to b: the last 1 never came"]),
    ],
)
def test_a_result_is_held_against_the_promise(
    numbers: tuple[int, ...], promise: Promise, expected: list[str]
) -> None:
    flows = (flow_of(*GOOD, sent=3), flow_of(*numbers, sent=3))
    assert Result(flows, promise, 1, 0, True).broken_promises() == expected


def test_losses_need_a_cut() -> None:
    flows = (flow_of(1, 3, 5, sent=5), flow_of(*GOOD, sent=3))
    assert Result(flows, Promise.AT_MOST_ONCE, 2, 0, True).broken_promises() == []
    assert Result(flows, Promise.AT_MOST_ONCE, 1, 0, True).broken_promises()


def test_a_surprised_client_and_an_early_end_are_told() -> None:
    flows = (flow_of(*GOOD, sent=3), flow_of(*GOOD, sent=3))
    assert Result(flows, Promise.AT_MOST_ONCE, 1, 1, True).broken_promises()
    assert Result(flows, Promise.AT_MOST_ONCE, 1, 0, False).broken_promises()


def test_a_broken_promise_is_shown() -> None:
    console, file = make_console()
    show(
        Result((flow_of(1, 1, sent=1), flow_of(sent=0)), Promise.AT_MOST_ONCE, 1, 0, True), console
    )
    assert "Not as promised: a to b: 1 repeated" in file.getvalue()


def test_the_picture_shows_where_things_stand() -> None:
    board = make_board()
    board.state = State.SERVER_DOWN
    board.flows[0].sent = 1234
    board.notes.append(Note(1.0, "the server is killed", staged=True))
    console, file = make_console(terminal=True)
    console.print(draw(board))
    picture = file.getvalue()
    for text in ("3.5 of 12 s", "server_down", "1,234 sent", "the server is killed", "█"):
        assert text in picture
    assert max(map(len, picture.splitlines())) <= 80


def test_the_log_moves_the_picture() -> None:
    board = make_board()
    console, file = make_console()
    handler = LogToView(board, PlainView(board, console))
    moved = "%(session)s %(state)s by %(trigger)s"
    failed = "%(session)s attempt 1 failed"
    for level, event, text, session, state in [
        (logging.INFO, "transition", moved, "0123456789ab", State.CONNECTED),
        (logging.INFO, "dial_failed", failed, "0123456789ab", State.CONNECTED),
        (logging.DEBUG, "transition", moved, "0123", State.SERVER_DOWN),  # in an outage
        (logging.DEBUG, "dial_failed", failed, "0123", State.SERVER_DOWN),
    ]:
        fields = {"session": session, "state": state.value, "trigger": "this"}
        record = {"levelno": level, "msg": text, "args": fields, "event": event}
        handler.emit(logging.makeLogRecord(record))
        assert board.state is state
    handler.emit(logging.makeLogRecord({"levelno": logging.INFO, "msg": "got SIGINT"}))
    assert board.state is State.SERVER_DOWN
    assert file.getvalue().splitlines() == [
        "  3.50    connected by this",
        "  3.50    attempt 1 failed",
        "  3.50    server_down by this",
        "  3.50    got SIGINT",
    ]


@pytest.mark.parametrize(
    ("promise", "terminal"),
    [*((promise, False) for promise in Promise), (Promise.EXACTLY_ONCE, True)],
)
def test_a_whole_run_keeps_the_promise(
    promise: Promise, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a time of its own, which goes on when all has been read, however busy the machine is."""
    clock = trio.testing.MockClock(autojump_threshold=0.001)
    monkeypatch.setattr(trio, "run", functools.partial(trio.run, clock=clock))
    console, file = make_console(terminal=terminal)
    before = logging.getLogger("reknit").handlers
    result = play(1.5, promise, console)
    show(result, console)
    text = file.getvalue()
    assert result.broken_promises() == []
    assert result.cuts == 6
    assert min(flow.received for flow in result.flows) > 10
    for state in ("connected", "server_down", "client_down", "both_down", "draining", "closed"):
        assert re.search(rf"\d +{state} by", text)
    assert "6 connections were cut; client and server saw one session." in text
    assert f"{promise.value.replace('-', ' ').capitalize()}, as promised: nothing is " in text
    assert logging.getLogger("reknit").handlers is before


@pytest.mark.parametrize("terminal", [False, True])
def test_a_pair_makes_exactly_once_of_ends_that_do_not_count(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0.001)
    monkeypatch.setattr(trio, "run", functools.partial(trio.run, clock=clock))
    console, file = make_console(terminal=terminal)
    result = play(3.0, Promise.EXACTLY_ONCE, console, PairDemo)
    show(result, console)
    text = file.getvalue()
    assert result.broken_promises() == []
    assert 5 < result.cuts <= sum(act is not None for _, act in PAIR_STORY)
    assert min(flow.received for flow in result.flows) > 10
    for line in ("near: server_down by", "far: client_down by", "near: closed by", "far: closed"):
        assert line in text
    assert f"The network was cut {result.cuts} times; client and server noticed nothing." in text
    assert "Exactly once: nothing is lost, repeated or reordered." in text


def test_the_picture_of_a_pair_fits() -> None:
    board = make_board()
    board.near = State.SERVER_DOWN
    board.state = State.CLIENT_DOWN
    console, file = make_console(terminal=True)
    console.print(draw(board))
    picture = file.getvalue()
    assert " reknit server_down " in picture
    assert " reknit client_down " in picture
    assert max(map(len, picture.splitlines())) <= 80
    assert not board.is_over
    board.near = board.state = State.CLOSED
    assert board.is_over


@pytest.mark.parametrize("kind", [Demo, PairDemo])
def test_an_interrupt_ends_the_demo_early(kind: type[Demo]) -> None:
    board = Board(make_board().flows, 60.0, trio.current_time)
    console, _ = make_console()

    async def main() -> Result:
        results: list[Result] = []

        async def run() -> None:
            results.append(
                await kind(Promise.AT_LEAST_ONCE, board, PlainView(board, console)).run()
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            while not board.flows[0].received:
                await trio.sleep(0.01)
            signal.raise_signal(signal.SIGINT)
        return results[0]

    assert trio.run(main).broken_promises() == ["the demo was stopped early"]
