"""The core of reknit: sessions over lost connections, without a socket, a clock or randomness.

These names are public, and stay; whatever else is in here may move. They are imported when they
are first asked for, so that a program pays for what it uses.

A program that moves the bytes itself keeps a `Contexts`, which has the sessions by connection id,
and a `Driver` for each; core/README.md says how.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reknit_core.commands import (
        Answered,
        AttemptFailed,
        Command,
        Dial,
        Disconnect,
        Dropped,
        Transitioned,
        Undelivered,
    )
    from reknit_core.counters import Counters
    from reknit_core.dialect.choice import Choice, Dialects
    from reknit_core.dialect.registry import Registry, registry
    from reknit_core.dialect.ruled.mistakes import DialectError
    from reknit_core.dialect.speech import (
        Beat,
        Conversation,
        Dialect,
        Heard,
        Message,
        Offer,
        Statement,
    )
    from reknit_core.driver import Driver, Transport, Wire
    from reknit_core.events import (
        Ask,
        ClientConnected,
        ConnectionLost,
        DialFailed,
        Event,
        ServerConnected,
        Shutdown,
        StopAsking,
    )
    from reknit_core.host import Host, Socket
    from reknit_core.leg.transit import Transit
    from reknit_core.lifecycle import TRANSITIONS, LifecycleError, State, Transition, Trigger
    from reknit_core.play.player import Player, ScenarioError
    from reknit_core.policy.policy import Balance, Delivery, Http, Overflow, Policy
    from reknit_core.policy.setting import PolicyError
    from reknit_core.policy.upstream import Upstream, parse_upstream
    from reknit_core.proxy.contexts import Contexts
    from reknit_core.proxy.view import SessionView
    from reknit_core.queue.budget import Budget
    from reknit_core.queue.stream import Buffer
    from reknit_core.session.context import ContextStateMachine
    from reknit_core.side import Side
    from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

    __version__: str

_HOMES = {
    "commands": "Answered AttemptFailed Command Dial Disconnect Dropped Transitioned Undelivered",
    "counters": "Counters",
    "dialect.choice": "Choice Dialects",
    "dialect.registry": "Registry registry",
    "dialect.ruled.mistakes": "DialectError",
    "dialect.speech": "Beat Conversation Dialect Heard Message Offer Statement",
    "driver": "Driver Transport Wire",
    "host": "Host Socket",
    "events": "Ask ClientConnected ConnectionLost DialFailed Event ServerConnected Shutdown "
    "StopAsking",
    "lifecycle": "TRANSITIONS LifecycleError State Transition Trigger",
    "play.player": "Player ScenarioError",
    "policy.policy": "Balance Delivery Http Overflow Policy",
    "policy.setting": "PolicyError",
    "policy.upstream": "Upstream parse_upstream",
    "proxy.contexts": "Contexts",
    "proxy.view": "SessionView",
    "queue.budget": "Budget",
    "queue.stream": "Buffer",
    "session.context": "ContextStateMachine",
    "leg.transit": "Transit",
    "side": "Side",
    "wire.handshake": "ClientHandshake Refusal UpgradeRequest",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "TRANSITIONS",
    "Answered",
    "Ask",
    "AttemptFailed",
    "Balance",
    "Beat",
    "Budget",
    "Buffer",
    "Choice",
    "ClientConnected",
    "ClientHandshake",
    "Command",
    "ConnectionLost",
    "ContextStateMachine",
    "Contexts",
    "Conversation",
    "Counters",
    "Delivery",
    "Dial",
    "DialFailed",
    "Dialect",
    "DialectError",
    "Dialects",
    "Disconnect",
    "Driver",
    "Dropped",
    "Event",
    "Heard",
    "Host",
    "Http",
    "LifecycleError",
    "Message",
    "Offer",
    "Overflow",
    "Player",
    "Policy",
    "PolicyError",
    "Refusal",
    "Registry",
    "ScenarioError",
    "ServerConnected",
    "SessionView",
    "Shutdown",
    "Side",
    "Socket",
    "State",
    "Statement",
    "StopAsking",
    "Transit",
    "Transition",
    "Transitioned",
    "Transport",
    "Trigger",
    "Undelivered",
    "UpgradeRequest",
    "Upstream",
    "Wire",
    "__version__",
    "parse_upstream",
    "registry",
]


def __getattr__(name: str) -> object:
    """A public name, from where it lives (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("reknit")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
