"""The reference adapter: trio owns what begins and ends, one readiness loop the rest.

`open_proxy` begins one in a program of one's own; `reknit serve` is a process around the same.
"""

from reknit.trio.embedding import TrioProxy, open_proxy

__all__ = ["TrioProxy", "open_proxy"]
