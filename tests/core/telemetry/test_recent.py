"""What a session remembers of itself, in the form that scenarios have."""

from reknit_core.commands import Dial, Disconnect, Dropped, Transitioned, Undelivered
from reknit_core.events import ConnectionLost, DialFailed, ServerConnected, Shutdown
from reknit_core.lifecycle import State, Trigger
from reknit_core.play.player import Player, parse
from reknit_core.side import Side
from reknit_core.telemetry.recent import KEPT, Recent

EVIL = 'it\'s "evil"\n@9 > client lost é'


def test_it_reads_like_a_scenario() -> None:
    recent = Recent(100.0)
    recent.note(Dial(1, 0, 100.0), 100.0)
    recent.note_event(DialFailed(1, "connection refused"), 100.5)
    recent.note(Dial(2, 1, 101.5), 100.5)
    recent.note_event(ServerConnected(2), 101.6)
    recent.note(Transitioned(Trigger.SERVER_ACCEPTED, State.CONNECTED, ""), 101.75)
    recent.note_event(ConnectionLost(Side.SERVER, 2, "reset"), 102.0)
    recent.note(Disconnect(Side.SERVER, 2), 102.0)
    recent.note(Transitioned(Trigger.SERVER_LOST, State.SERVER_DOWN, "reset"), 102.0)
    recent.note(Dropped(Side.SERVER, 4), 103.0)
    recent.note(Undelivered(Side.CLIENT, 2, 30), 103.0)
    recent.note_event(Shutdown(1012, "later"), 104.0)
    assert recent.lines() == [
        "@0.000 > wait",
        "       < dial attempt=0 at=0.000",
        '@0.500 > server dial failed reason="connection refused"',
        "       < dial attempt=1 at=1.500",
        "@1.600 > server connected",
        "@1.750 > server accepts",
        "       = connected",
        "       # server_accepted",
        "@2.000 > server reset",
        "       < server disconnect generation=2",
        "       = server_down",
        "       # server_lost: reset",
        "@3.000 > wait",
        "       < server dropped total=4",
        "       < client undelivered messages=2 bytes=30",
        '@4.000 > shutdown 1012 "later"',
    ]
    parse("\n".join(recent.lines()))


def test_it_can_be_read_back_whatever_peers_have_said() -> None:
    recent = Recent(0.0)
    recent.note_event(DialFailed(1, EVIL), 0.0)
    recent.note(Transitioned(Trigger.SESSION_ENDED, State.CLOSING, EVIL), 1.0)
    recent.note_event(Shutdown(1001, "\N{EURO SIGN}" * 41), 2.0)
    assert len(parse("\n".join(recent.lines())).lines) == 4


def test_it_keeps_a_bounded_number_of_the_newest_entries() -> None:
    recent = Recent(0.0)
    for second in range(1000):
        recent.note(Dropped(Side.CLIENT, second), float(second))
    outcomes = [line for line in recent.lines() if "dropped" in line]
    assert KEPT // 2 < len(outcomes) <= KEPT
    assert outcomes[-1].endswith("total=999")
    parse("\n".join(recent.lines()))


def test_how_long_messages_wait() -> None:
    player = Player(parse("policy delivery=at-least-once confirm_after=0.1").policy)
    recent = Recent(0.0)
    for event in ("client connected", "server connected", "server accepts"):
        player.do(f"@0 > {event}")
    context = player.context
    assert context is not None
    assert recent.waited(context, Side.SERVER, 1.0) == 0.0
    player.do('@1.000 > client message "1"')
    assert recent.waited(context, Side.SERVER, 1.05) == 0.0
    player.do("@1.200 > wait")  # the Ping went out at 1.1
    assert round(recent.waited(context, Side.SERVER, 1.2), 6) == 0.1
    player.do("@2.000 > server lost")
    recent.note(Transitioned(Trigger.SERVER_LOST, State.SERVER_DOWN, ""), 2.0)
    assert recent.waited(context, Side.SERVER, 5.0) == 3.0
    assert recent.waited(context, Side.CLIENT, 5.0) == 0.0
    recent.note(Transitioned(Trigger.CLIENT_LOST, State.BOTH_DOWN, ""), 4.0)
    assert recent.waited(context, Side.SERVER, 5.0) == 3.0
    assert recent.since == 4.0
