"""Where the states, the arrows and their labels stand in a picture of the lifecycle.

Each state has its place in a grid, of which there are two sizes; the rest follows from the table
of transitions. An arrow runs straight where two states stand side by side, else around one
corner, and around everything where others stand in between. A trigger that leads to one state
from most others is drawn once, from a frame around them. Arrows that meet at one side of a state
get places of their own there, the widest outermost, so that they don't cross.
"""

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum

from reknit_core.lifecycle import TRANSITIONS, State, Trigger

Point = tuple[float, float]

PLACES = {  # column and row of each state
    State.OPENING: (1, 0),
    State.CONNECTED: (1, 1),
    State.SERVER_DOWN: (0, 2),
    State.DRAINING: (1, 2),
    State.CLIENT_DOWN: (2, 2),
    State.REOPENING: (1, 3),
    State.REOPENING_ALONE: (1, 4),
    State.BOTH_DOWN: (1, 5),
    State.CLOSED: (1, 6),
    State.CLOSING: (3, 6),
}
LINE = 18  # height of a line of a label
_MIDDLE = 1  # the column to which a picture is symmetrical
_LETTER = 7.4  # width of a letter of a label, about
_MANY = 5  # sources that make one frame of as many arrows


class _Way(Enum):
    """How an arrow runs."""

    ACROSS = "across"
    DOWN = "down"
    CORNER = "corner"
    AROUND = "around"
    FROM_FRAME = "from frame"


class _Side(Enum):
    """A side of a box."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


@dataclass(frozen=True, slots=True)
class Rectangle:
    """An area of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Rectangle") -> bool:
        """Whether the two share an area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """The size of a picture and of what is in it, in pixels.

    `columns` and `rows`: their centres. `frame`: between the frame and the boxes in it; `lane`:
    between the frame and an arrow around it; `gap`: between arrows at one side of a box.
    """

    width: float
    height: float
    columns: tuple[float, ...]
    rows: tuple[float, ...]
    box_width: float
    box_height: float
    frame: float
    lane: float
    gap: float

    def center(self, state: State) -> Point:
        """The middle of a state's box."""
        column, row = PLACES[state]
        return self.columns[column], self.rows[row]

    def box(self, state: State) -> Rectangle:
        """A state's box."""
        (x, y), across, down = self.center(state), self.box_width / 2, self.box_height / 2
        return Rectangle(x - across, y - down, x + across, y + down)


LABELLED = Grid(
    1280,
    1008,
    (184, 610, 936, 1152),
    (106, 228, 376, 496, 616, 760, 936),
    184,
    58,
    frame=30,
    lane=34,
    gap=26,
)
"""With room for what each arrow stands for."""

LIVE = Grid(
    520,
    688,
    (91, 236, 381, 463),
    (44, 140, 250, 340, 430, 540, 648),
    106,
    54,
    frame=14,
    lane=14,
    gap=18,
)
"""With room for a number at each arrow, and readable on a telephone."""


@dataclass(frozen=True, slots=True)
class Label:
    """A text: its lines, where they begin or have their middle, and the area they fill."""

    lines: tuple[str, ...]
    x: float
    y: float  # the first line's base
    anchor: str
    area: Rectangle


@dataclass(frozen=True, slots=True)
class Arrow:
    """One or more transitions between two states; without a source, from the frame."""

    source: State | None
    target: State
    triggers: tuple[Trigger, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The triggers in words."""
        return tuple(trigger.value.replace("_", " ") for trigger in self.triggers)

    @property
    def way(self) -> _Way:
        """How it runs."""
        if self.source is None:
            return _Way.FROM_FRAME
        (column, row), (other_column, other_row) = PLACES[self.source], PLACES[self.target]
        if row == other_row:
            return _Way.ACROSS
        if column != other_column:
            return _Way.CORNER
        between = range(min(row, other_row) + 1, max(row, other_row))
        blocked = any((column, step) in PLACES.values() for step in between)
        return _Way.AROUND if blocked else _Way.DOWN

    def other(self, state: State) -> State:
        """Its other end."""
        assert self.source is not None
        return self.target if state is self.source else self.source

    def side(self, state: State) -> _Side:
        """The side of that end's box where it leaves or arrives."""
        if self.way is _Way.AROUND:
            return _Side.LEFT
        if self.way is _Way.FROM_FRAME:
            return _Side.TOP
        (column, row), (other_column, other_row) = PLACES[state], PLACES[self.other(state)]
        outer = abs(column - _MIDDLE) > abs(other_column - _MIDDLE)
        if self.way is _Way.DOWN or (self.way is _Way.CORNER and outer):
            return _Side.BOTTOM if row < other_row else _Side.TOP
        return _Side.RIGHT if column < other_column else _Side.LEFT

    def rank(self, state: State) -> tuple[float, ...]:
        """What orders the arrows at one side of that end's box, from the left or from the top."""
        if self.source is None:
            return (0.0,)
        (column, row), (other_column, other_row) = PLACES[state], PLACES[self.other(state)]
        inward = abs(PLACES[self.source][0] - _MIDDLE) > abs(PLACES[self.target][0] - _MIDDLE)
        if self.way is _Way.ACROSS:
            return (float(abs(other_column - column) - 1), float(not inward))
        around = self.way is _Way.AROUND
        width = (around, abs(other_column - column), abs(other_row - row), inward)
        if self.side(state) in (_Side.TOP, _Side.BOTTOM):
            widest_last = column > _MIDDLE
        else:
            widest_last = other_row < row or around
        return tuple(float(part) if widest_last else -float(part) for part in width)


def arrows() -> list[Arrow]:
    """The table as arrows: all triggers between two states on one, those from most on one too."""
    by_target: dict[tuple[Trigger, State], list[State]] = defaultdict(list)
    for row in TRANSITIONS:
        by_target[row.trigger, row.target].append(row.source)
    common = {key for key, sources in by_target.items() if len(sources) >= _MANY}
    merged: dict[tuple[State | None, State], list[Trigger]] = defaultdict(list)
    for row in TRANSITIONS:
        source = None if (row.trigger, row.target) in common else row.source
        if row.trigger not in merged[source, row.target]:
            merged[source, row.target].append(row.trigger)
    return [Arrow(source, target, tuple(found)) for (source, target), found in merged.items()]


class Layout:
    """The places of everything: `frame`, and for each arrow `path` and `label`."""

    def __init__(self, grid: Grid = LABELLED) -> None:
        self.grid = grid
        self.arrows = arrows()
        shared = {
            trigger for arrow in self.arrows if not arrow.source for trigger in arrow.triggers
        }
        framed = [grid.box(row.source) for row in TRANSITIONS if row.trigger in shared]
        self.frame = Rectangle(
            min(area.left for area in framed) - grid.frame,
            min(area.top for area in framed) - grid.frame,
            max(area.right for area in framed) + grid.frame,
            max(area.bottom for area in framed) + grid.frame,
        )
        self._framed_rows = sorted({(area.top + area.bottom) / 2 for area in framed})
        self._at: dict[tuple[State, _Side], list[Arrow]] = defaultdict(list)
        for arrow in self.arrows:
            for state in filter(None, (arrow.source, arrow.target)):
                self._at[state, arrow.side(state)].append(arrow)
        for (state, _), found in self._at.items():
            found.sort(key=lambda arrow, state=state: arrow.rank(state))  # type: ignore[misc]

    def path(self, arrow: Arrow) -> list[Point]:
        """The corners of an arrow, with its two ends."""
        end = self._port(arrow, arrow.target)
        if arrow.source is None:
            start = (self.frame.right, self._framed_rows[-1])
            return [start, (end[0], start[1]), end]
        start = self._port(arrow, arrow.source)
        match arrow.way:
            case _Way.ACROSS:
                y = self._port(arrow, self._level_end(arrow))[1]
                return [(start[0], y), (end[0], y)]
            case _Way.CORNER if arrow.side(arrow.source) in (_Side.LEFT, _Side.RIGHT):
                return [start, (end[0], start[1]), end]
            case _Way.CORNER:
                return [start, (start[0], end[1]), end]
            case _Way.AROUND:
                lane = self.frame.left - self.grid.lane
                return [start, (lane, start[1]), (lane, end[1]), end]
            case _:
                return [start, end]

    def label(self, arrow: Arrow, texts: tuple[str, ...] = ()) -> Label:
        """Where an arrow says what it stands for, or these texts."""
        texts = texts or arrow.texts
        path = self.path(arrow)
        if arrow.source is None:
            (_, top), (x, bottom) = path[1], path[2]
            return _beside(texts, x, (max(top, self.frame.bottom) + bottom) / 2)
        if arrow.way is _Way.DOWN:
            (x, y), (_, other_y) = path
            low, high = min(y, other_y), max(y, other_y)
            if low < self.frame.bottom < high:
                low = self.frame.bottom
            return _beside(texts, x, (low + high) / 2, left=self._has_twin_at_its_right(arrow))
        leg = path[:2] if path[0][1] == path[1][1] else path[-2:]
        index, count = self._place(arrow, self._level_end(arrow))
        below = arrow.way is not _Way.AROUND and index == count - 1 > 0
        return _along(texts, (leg[0][0] + leg[1][0]) / 2, leg[0][1], below=below)

    def _has_twin_at_its_right(self, arrow: Arrow) -> bool:
        """Whether the opposite arrow runs beside it: then there is no room between the two."""
        found = self._at[arrow.target, arrow.side(arrow.target)]
        behind = found[found.index(arrow) + 1 :]
        return any((twin.target, twin.source) == (arrow.source, arrow.target) for twin in behind)

    def _level_end(self, arrow: Arrow) -> State:
        """The end at which an arrow runs across, and which says at what height."""
        assert arrow.source is not None
        if arrow.way is _Way.ACROSS:  # both do: the one with more arrows at its side
            ends = (arrow.source, arrow.target)
            return max(ends, key=lambda state: self._place(arrow, state)[1])
        level = arrow.side(arrow.source) in (_Side.LEFT, _Side.RIGHT)
        return arrow.source if level else arrow.target

    def _place(self, arrow: Arrow, state: State) -> tuple[int, int]:
        """Which one of how many an arrow is at its side of that box."""
        found = self._at[state, arrow.side(state)]
        return found.index(arrow), len(found)

    def _port(self, arrow: Arrow, state: State) -> Point:
        """Where an arrow touches that end's box."""
        index, count = self._place(arrow, state)
        shift = (index - (count - 1) / 2) * self.grid.gap
        (x, y), area = self.grid.center(state), self.grid.box(state)
        match arrow.side(state):
            case _Side.LEFT:
                return area.left, y + shift
            case _Side.RIGHT:
                return area.right, y + shift
            case _Side.TOP:
                return x + shift, area.top
            case _Side.BOTTOM:
                return x + shift, area.bottom


def _beside(lines: tuple[str, ...], x: float, middle: float, *, left: bool = False) -> Label:
    """To the right of an arrow that runs up or down, or to its left."""
    width = max(map(len, lines)) * _LETTER
    top = middle - len(lines) * LINE / 2
    if left:
        area = Rectangle(x - 10 - width, top, x - 10, top + len(lines) * LINE)
        return Label(lines, x - 10, top + LINE - 5, "end", area)
    area = Rectangle(x + 10, top, x + 10 + width, top + len(lines) * LINE)
    return Label(lines, x + 10, top + LINE - 5, "start", area)


def _along(words: tuple[str, ...], x: float, y: float, *, below: bool) -> Label:
    """Above or below an arrow that runs across."""
    line = " · ".join(words)
    half = len(line) * _LETTER / 2
    top = y + 4 if below else y - 4 - LINE
    return Label(
        (line,), x, top + LINE - 5, "middle", Rectangle(x - half, top, x + half, top + LINE)
    )
