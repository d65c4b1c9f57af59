"""The asyncio adapter, for programs that embed the proxy; `open_proxy` begins one.

It has TCP, Unix sockets and TLS on both legs, and runs on uvloop too. It has no takeover, no state
directory and no admin listener, and it passes no plain HTTP requests: `reknit serve` does all that.
"""

from reknit.asyncio.embedding import open_proxy
from reknit.asyncio.proxy import AsyncioProxy

__all__ = ["AsyncioProxy", "open_proxy"]
