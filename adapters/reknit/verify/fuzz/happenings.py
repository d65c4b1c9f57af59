"""A whole session whose events, and whose ends' bytes, are read from a fuzzer's bytes.

What is played is a scenario, so a failure is one too.
"""

import re

from reknit_core.leg.leg import MAX_EARLY, MAX_LANE
from reknit_core.play.player import Player
from reknit_core.policy.policy import Policy
from reknit_core.script.phrases import frame
from reknit_core.script.scenario import parse, seconds
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.frames import Opcode

from reknit.verify.fuzz.choices import Choices
from reknit.verify.fuzz.run import FailedSessionError
from reknit.verify.model.checks import held

_EVENTS = 60  # in a session
_MERGED = 10_000  # bytes that may be kept in one piece, and be freed only together
_LINES = 30  # that come of one event, beside those for bytes and time
_TIMERS = 10  # lines a second: with an interval of a second, each end has a Ping and a time-out
# What is compressed passes through unread, so an end's own zlib may complain.
_INVALID = re.compile(r"< \w+ ((response|request) )?invalid (?!\"Error -3)")
_POLICIES = tuple(
    parse(f"policy {settings}").policy
    for settings in (
        "delivery=at-least-once",
        "delivery=at-most-once",
        "queue_bytes=1000 message_limit=1000 replay_window=0",
        "confirm_bytes=20 queue_messages=3 heartbeat_interval=1 heartbeat_timeout=1",
        "overflow_to_server=drop-oldest overflow_to_client=drop-newest queue_bytes=200",
        "overflow_to_server=close overflow_to_client=close queue_messages=2",
    )
)
_OPENINGS = (
    ("client connected", "server connected", "server accepts"),
    ("client connected deflate", "server connected", "server accepts deflate"),
    ("client connected", "server connected"),
    (),
)
_WAITS = (0.0, 0.0, 0.0, 0.001, 1.0, 5.0, 30.0, 100.0)
_OPCODES = (1, 2, 0, 8, 9, 10, 3)  # text first, and one that is reserved
_PLAIN = (
    "client connected",
    "client connected takes=5",
    "client connected received=1",
    "client connected deflate",
    "server connected",
    "server accepts",
    "server accepts deflate",
    "server accepts received=1",
    "server refuses status=503",
    "server refuses status=404",
    "server refuses status=403",
    "server dial failed",
    "server dial failed answered",
    "stalled",
    "wait",
)
_OF_A_SIDE = (
    "pong probe",
    "takes nothing",
    "takes 7",
    "takes all",
    "acks 5",
    "acks all",
    "lost",
    "reset",
)


def play(data: bytes) -> None:
    """Play what the bytes say. Raises FailedSessionError, with a scenario, where it breaks."""
    choices = Choices(data)
    policy = choices.pick(_POLICIES)
    opening = choices.pick(_OPENINGS)
    player = Player(policy)
    at, largest, work = 0.0, 0, 0.0
    try:
        for event in opening:
            player.do(f"@0 > {event}")
        for _ in range(_EVENTS):
            if not choices.more:
                break
            wait = choices.pick(_WAITS)
            at += wait
            event, size = _event(choices)
            largest = max(largest, size)
            work += size + wait * _TIMERS  # some of it may wait, and be seen only later
            check_lines(player.do(f"@{seconds(at)} > {event}"), work)
            if player.context is not None:
                check_bounds(player.context, policy, largest)
    except Exception as error:  # none may leave the core
        what = f"{type(error).__name__}: {error}"
        raise FailedSessionError(what, player.lines) from error


def _event(choices: Choices) -> tuple[str, int]:
    """An event as a scenario has it, and how many bytes come with it."""
    side = choices.pick(tuple(Side))
    match choices.number(8):
        case 0:
            return choices.pick(_PLAIN), 0
        case 1:
            return f"{side.value} {choices.pick(_OF_A_SIDE)}", 0
        case 2:
            data = choices.some(255)
        case _:
            data = _frame(choices, masked=side is Side.CLIENT)
    return f"{side.value} raw hex={data.hex()}" if data else "wait", len(data)


def _frame(choices: Choices, *, masked: bool) -> bytes:
    first = choices.pick(_OPCODES)
    final, compressed = not choices.chance(4), choices.chance(4)
    payload = choices.some(140) * choices.pick((1, 1, 1, 50))
    opcode = Opcode.TEXT if first not in tuple(Opcode) else Opcode(first)
    data = frame(opcode, payload, masked=masked, final=final, compressed=compressed)
    if first != opcode:
        data = bytes((data[0] | first,)) + data[1:]
    return data[: len(data) - choices.pick((0, 0, 0, 1, 3))]


# -- What must hold ----------------------------------------------------------------------------


def check_lines(lines: list[str], work: float) -> None:
    """What came of an event; `work` gives cause for a line each. Raises AssertionError."""
    if len(lines) > _LINES + work:
        raise AssertionError(f"{len(lines)} lines come of an event")
    for line in lines:
        if _INVALID.search(line):
            raise AssertionError(f"something invalid went out: {line.strip()}")


def check_bounds(context: ContextStateMachine, policy: Policy, largest: int) -> None:
    """That little is held; `largest`: bytes of the largest read. Raises AssertionError."""
    used = 0
    for leg in (context.client, context.server):
        size = held(leg.queue)
        used += size
        unfinished = min(2 * policy.message_limit, 10**6) + 20
        most = policy.queue_bytes + policy.replay_window + unfinished + largest + _MERGED
        if size > most:
            raise AssertionError(f"{size} bytes from the {leg.side.value} are held, over {most}")
        if len(leg.lane) > MAX_LANE + largest:
            raise AssertionError(f"{len(leg.lane)} frames wait for the {leg.side.value}")
        if len(leg.early) > MAX_EARLY + largest:
            raise AssertionError(f"{len(leg.early)} bytes of the {leg.side.value} came early")
    if context.client.queue.budget.used != used:
        counted = context.client.queue.budget.used
        raise AssertionError(f"{counted} bytes are counted, {used} are held")
