"""reknit, a WebSocket reconnect proxy: adapters that move bytes and tell the time.

These names are public, and stay; so are `reknit.trio.open_proxy` and `reknit.asyncio.open_proxy`,
which run a proxy in a program of one's own, and `reknit.resume`, a client whose session outlives
its connections. The core is `reknit_core`. Names are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reknit_core.policy.policy import Policy
    from reknit_core.policy.upstream import Upstream, parse_upstream
    from reknit_core.proxy.view import SessionView

    from reknit.settings.addresses import Address, Listen, UnixPath, parse_address

    __version__: str

_HOMES = {
    "reknit_core.policy.policy": "Policy",
    "reknit_core.policy.upstream": "Upstream parse_upstream",
    "reknit_core.proxy.view": "SessionView",
    "reknit.settings.addresses": "Address Listen UnixPath parse_address",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Address",
    "Listen",
    "Policy",
    "SessionView",
    "UnixPath",
    "Upstream",
    "__version__",
    "parse_address",
    "parse_upstream",
]


def __getattr__(name: str) -> object:
    """A public name, from where it lives (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("reknit")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
