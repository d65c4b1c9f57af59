"""What the demo shows: a live picture in a terminal, plain lines anywhere else."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from logging import INFO, Handler, LogRecord
from typing import Protocol

from reknit_core.lifecycle import State
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reknit.demo.endpoints import RATE, Flow

LINES = 14  # of the story that the live picture shows
BAR = 22  # characters
NEAR, FAR = "near", "far"
PLACE = ContextVar("PLACE", default="")  # which of two proxies it is that logs
_COLOURS = {
    State.CONNECTED: "bold green",
    State.DRAINING: "bold yellow",
    State.REOPENING: "bold yellow",
    State.REOPENING_ALONE: "bold red",
    State.SERVER_DOWN: "bold red",
    State.CLIENT_DOWN: "bold red",
    State.BOTH_DOWN: "bold red",
}


@dataclass(slots=True)
class Note:
    """One line of the story; `state`: the proxy's new state, if that is what it tells."""

    at: float
    text: str
    state: State | None = None
    staged: bool = False  # what the demo itself did, rather than what the proxy did about it


@dataclass(slots=True)
class Board:
    """Everything that is to be seen, as it stands. `clock` gives the time in seconds."""

    flows: tuple[Flow, Flow]
    seconds: float
    clock: Callable[[], float]
    begin: float = 0.0
    state: State = State.OPENING
    near: State | None = None  # of the proxy near the client, if there are two
    link_up: bool = False  # between the two
    client_up: bool = False
    server_up: bool = False
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=LINES))

    @property
    def is_over(self) -> bool:
        """Whether no proxy has the session any more."""
        return self.state is State.CLOSED and self.near in (None, State.CLOSED)

    @property
    def at(self) -> float:
        """How long it runs, in seconds."""
        return self.clock() - self.begin


class View(Protocol):
    """How a board is shown."""

    def note(self, note: Note) -> None:
        """A line was added."""

    def refresh(self) -> None:
        """Some time has passed."""


class PlainView:
    """Lines of text: what happens, and once a second how far the numbers are."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._next = 1.0  # seconds

    def note(self, note: Note) -> None:
        """Print it."""
        mark = "**" if note.staged else "  "
        self._print(f"{note.at:6.2f} {mark} {note.text}")

    def refresh(self) -> None:
        """Print the counts when a second is over."""
        if self._board.at >= self._next:
            self._next += 1.0
            counts = "; ".join(
                f"{flow.name} {flow.sent} sent {flow.received} received"
                for flow in self._board.flows
            )
            self._print(f"{self._board.at:6.2f}    {counts}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """A picture that is drawn anew, ten times a second."""

    def __init__(self, board: Board, live: Live) -> None:
        self._board = board
        self._live = live

    def note(self, note: Note) -> None:
        """Show it at once."""
        self.refresh()

    def refresh(self) -> None:
        """Draw the board."""
        self._live.update(draw(self._board), refresh=True)


@contextmanager
def open_view(board: Board, console: Console) -> Iterator[View]:
    """The view that suits the console."""
    can_draw = not (console.is_dumb_terminal or console.options.ascii_only)
    if console.is_terminal and can_draw:
        with Live(console=console, auto_refresh=False) as live:
            yield LiveView(board, live)
    else:
        yield PlainView(board, console)


class LogToView(Handler):
    """Brings what the proxy logs onto the board."""

    def __init__(self, board: Board, view: View) -> None:
        super().__init__()
        self._board = board
        self._view = view

    def emit(self, record: LogRecord) -> None:
        """Show one line of the log; a session's label is left out, as there is one session.

        Its states are told at `debug` while the server is out: of that level these alone are shown.
        """
        is_state = getattr(record, "event", "") == "transition"
        if record.levelno < INFO and not is_state:
            return
        fields = record.args if isinstance(record.args, Mapping) else {}
        text = record.getMessage().removeprefix(f"{fields.get('session', '')} ")
        place = PLACE.get()
        note = Note(self._board.at, f"{place}: {text}" if place else text)
        if is_state:
            note.state = State(fields["state"])
            if place == NEAR:
                self._board.near = note.state
            else:
                self._board.state = note.state
        self._board.notes.append(note)
        self._view.note(note)


# -- Drawing -----------------------------------------------------------------------------------


def draw(board: Board) -> RenderableType:
    """The live picture."""
    title = f"reknit demo · {board.at:.1f} of {board.seconds:g} s"
    parts = (_chain(board), Text(), _flow_table(board), Text(), _story(board))
    return Panel(Group(*parts), title=title, width=78, padding=(1, 2))


def _leg(up: bool, width: int) -> tuple[str, str]:
    if up:
        return ("━" * width, "green")
    return (
        "━" * (width // 3) + " " * (width - width // 2) + "━" * (width // 2 - width // 3),
        "red",
    )


def _proxy(state: State) -> tuple[str, str]:
    return (f" {state.value} ", f"{_COLOURS.get(state, 'bold')} reverse")


def _chain(board: Board) -> Text:
    near = []
    length = 12
    if board.near is not None:
        near = [(" reknit", "bold"), _proxy(board.near), _leg(board.link_up, 8)]
        length = 4
    return Text.assemble(
        ("client ", "bold"),
        _leg(board.client_up, length),
        *near,
        (" reknit", "bold"),
        _proxy(board.state),
        _leg(board.server_up, length),
        (" server", "bold"),
        justify="center",
    )


def _flow_table(board: Board) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for flow in board.flows:
        full = min(BAR, -(-flow.waiting * BAR // (2 * RATE)))
        bar = Text.assemble(("█" * full, "yellow"), ("·" * (BAR - full), "dim"))
        counts = f"{flow.sent:>6,} sent {flow.received:>6,} received"
        table.add_row(flow.name, counts, bar)
    return table


def _story(board: Board) -> Text:
    story = Text(overflow="ellipsis", no_wrap=True)
    for note in board.notes:
        style = "bold cyan" if note.staged else "default"
        if note.state is not None:
            style = _COLOURS.get(note.state, "bold")
        story.append(f"{note.at:6.2f}  ", "dim")
        story.append(f"{'' if note.staged else '  '}{note.text}\n", style)
    story.append("\n" * (LINES - len(board.notes)))
    return story


def result_table(flows: tuple[Flow, Flow]) -> Table:
    """The counts of both directions."""
    table = Table(title="Result", title_justify="left")
    table.add_column("direction")
    for name in ("sent", "received", "lost", "repeated", "reordered"):
        table.add_column(name, justify="right")
    for flow in flows:
        counts = (flow.sent, flow.received, flow.lost, flow.repeated, flow.reordered)
        table.add_row(flow.name, *(f"{count:,}" for count in counts))
    return table
