"""What the reference model holds a context against when an event is over."""

from reknit_core.leg.leg import MAX_LANE, Leg
from reknit_core.leg.phase import Phase
from reknit_core.leg.probe import SLOW_PATIENCE
from reknit_core.leg.transit import SLOWEST
from reknit_core.lifecycle import State
from reknit_core.queue.backlog import Backlog
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side

from reknit.verify.model.end import End
from reknit.verify.model.model import Model
from reknit.verify.model.phases import CLIENT_AWAY, ENDED, SERVER_AWAY
from reknit.verify.model.traffic import TICK, BrokenError

_DIALLED = frozenset((Phase.DIALLING, Phase.HANDSHAKE))
_AWAY = _DIALLED | {Phase.AWAY}
_MERGED = 4096  # bytes that may be kept in one piece, and be freed only together
_SMALLEST = 2  # bytes of a frame


def check(model: Model, context: ContextStateMachine) -> None:
    """An event is over: raise BrokenError where the context is not as the model has it."""
    model.event_over(context._armed)
    context.check()
    legs = ((model.client, context.client), (model.server, context.server))
    if context.state is not model.life.state:
        raise BrokenError(f"the state is {context.state.value}, and was not said")
    for end, leg in legs:
        _check_taken(end, leg, ended=context.state in ENDED)
    if context.state is not State.CLOSED:
        for end, leg in legs:
            # Its answer is not waited for: what was written counts.
            unheard = model.alone and end is model.client
            ended = context.state is State.CLOSING
            _check_incoming(end, leg, is_over=ended and (end.closing or unheard))
    for end, leg in legs:
        if end.here and leg.phase in (Phase.AWAY, Phase.DIALLING):
            raise BrokenError(f"the connection of the {end.side.value} is not dropped")
        _check_flow(end, leg, is_told=_is_told(context, end))
        _check_pings(end, leg)
        _check_silence(model, end, leg)
        _check_bounds(model, end, leg)
    if model.alone and model.client.here:
        raise BrokenError("the stream to a client that nobody hears does not end with its Close")
    _check_budget(context)
    _check_state(context)
    if context.state is State.DRAINING and model.client.takes_all and model.server.takes_all:
        raise BrokenError("draining goes on, with nothing left to drain")


def held(backlog: Backlog) -> int:
    """All bytes in there. The backlog does not count them itself: that is what is checked."""
    return sum(map(len, backlog._chunks))


def _kept(leg: Leg) -> int:
    """Bytes that its scanner keeps of a message, until it is whole; see Stream.keep_back()."""
    counted = leg.queue._kept_back
    if leg.scanner is not None and leg.dialogue is not None and counted != leg.scanner.kept:
        raise BrokenError(f"{leg.scanner.kept} bytes are kept back, {counted} are counted")
    return counted


def _check_taken(end: End, leg: Leg, *, ended: bool) -> None:
    queue = leg.queue
    all_of_it = leg.phase is Phase.OPEN and end.is_read and not ended
    end.outgoing.check_taken(queue.count + queue.dropped, all_of_it=all_of_it)


def _check_incoming(end: End, leg: Leg, *, is_over: bool) -> None:
    """`is_over`: its Close, which counts as the answer to the proxy's, is there or not due."""
    source = leg.source
    if is_over:
        end.incoming.confirm_up_to(end.incoming.next)
    away = leg.phase in _AWAY
    end.incoming.check_confirmed(source.confirmed_count, away=away)
    waiting = b"".join(source.pending(source.tail))
    end.incoming.check_waiting(waiting, source.dropped, away=away)


def _is_told(context: ContextStateMachine, end: End) -> bool:
    """Whether what waits for that end has to wait for its answer."""
    dialogue = context.dialogue
    return end.side is Side.SERVER and dialogue is not None and dialogue.is_reopening


def _check_flow(end: End, leg: Leg, *, is_told: bool) -> None:
    """What can go on does."""
    name = end.side.value
    owed = 0 if is_told else end.incoming.owed
    if owed and leg.phase is Phase.OPEN and end.takes_all:
        raise BrokenError(f"{owed} messages wait for the {name}, which would take them")
    if owed and end.told and not end.closing and leg.phase not in _AWAY:
        raise BrokenError(f"the {name} got a Close before {owed} messages")
    queue = leg.queue
    idle = queue.confirmed == queue.tail and not end.incoming.owed and end.other.takes_all
    if not end.is_read and leg.phase is Phase.OPEN and idle and end.takes_all:
        raise BrokenError(f"the {name} is not read, for no reason")


def _check_pings(end: End, leg: Leg) -> None:
    """A Ping that has just come in is passed on, or answered in the other end's place."""
    ready = leg.phase is Phase.OPEN and leg.other.phase in (Phase.OPEN, *_AWAY)
    takes = end.takes_all and end.other.takes_all
    if end.asked in end.said and ready and takes and end.is_read:
        raise BrokenError(f"{end.asked} of the {end.side.value} is lost")


def _check_silence(model: Model, end: End, leg: Leg) -> None:
    policy = model.policy
    takes = end.takes_all and end.acks_all
    if leg.phase is Phase.OPEN and policy.heartbeat_interval and takes and end.is_read:
        timeout = policy.heartbeat_timeout
        much = leg.source.tail - leg.source.confirmed >= SLOWEST * timeout
        longest = max(policy.heartbeat_interval, timeout) + timeout * (SLOW_PATIENCE if much else 1)
        since = max(end.heard, end.attended)
        if model.now > since + longest + TICK:
            raise BrokenError(
                f"the {end.side.value} has been silent since {since}, and counts as up"
            )


def _check_bounds(model: Model, end: End, leg: Leg) -> None:
    policy = model.policy
    queue = leg.queue
    window = policy.replay_window
    before, end.held = end.held, held(queue)
    count = queue.count - queue.confirmed_count
    full = (
        end.held > policy.queue_bytes + window + 2 * model.largest + _MERGED
        or count > policy.queue_messages + (2 * model.largest + window) // _SMALLEST
    )
    # An end that owes a Pong may be read further: the Pong stands behind what it has sent.
    owes = model.confirms and end.unanswered is not None and not end.other.incoming.owed
    if full and end.held > before and not owes:
        name = leg.other.side.value
        raise BrokenError(
            f"{count} messages, {end.held} bytes wait for the {name}, and more are read"
        )
    if len(leg.lane) > MAX_LANE + model.largest // _SMALLEST:
        raise BrokenError(f"{len(leg.lane)} control frames wait for the {leg.side.value}")


def _check_budget(context: ContextStateMachine) -> None:
    queues = (context.client.queue, context.server.queue)
    used = queues[0].budget.used
    sizes = [held(queue) for queue in queues]
    sizes += [_kept(leg) for leg in (context.client, context.server)]
    if context.dialogue is not None:
        sizes.append(context.dialogue.held)
        interpreter = context.dialogue.interpreter
        if interpreter is not None and context.dialogue.held not in (0, interpreter.size):
            raise BrokenError(f"{context.dialogue.held} bytes are not {interpreter.size}")
    if used != sum(sizes):
        raise BrokenError(f"{used} bytes are counted, {sizes} are held")
    over = context.client.phase is context.server.phase is Phase.AWAY
    if context.state is State.CLOSED and over and used:
        raise BrokenError(f"{used} bytes are held when all is over")


def _check_state(context: ContextStateMachine) -> None:
    """The state says which legs are up, and something will happen next."""
    state = context.state
    client, server = context.client.phase, context.server.phase
    timer = context.next_deadline() is not None
    if state in ENDED:
        going = timer or server in _DIALLED
        right = going or (state is State.CLOSED and client is server is Phase.AWAY)
    elif state is State.OPENING:
        right = timer and client is Phase.HANDSHAKE and server in _DIALLED
    else:
        client_right = client is (Phase.AWAY if state in CLIENT_AWAY else Phase.OPEN)
        server_right = server in (_DIALLED if state in SERVER_AWAY else (Phase.OPEN,))
        right = client_right and server_right and (timer or state not in CLIENT_AWAY)
    if not right:
        legs = f"client {client.value}, server {server.value}, {'a' if timer else 'no'} deadline"
        raise BrokenError(f"in {state.value}: {legs}")
