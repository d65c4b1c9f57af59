"""Every session, and what the adapter holds for it."""

import os
from collections.abc import Iterator

from reknit_core import ContextStateMachine
from reknit_core.proxy.contexts import Contexts
from reknit_core.side import Side
from reknit_core.telemetry.recent import Recent

from reknit.observe.reports import label_of
from reknit.sockets.memory import give_back
from reknit.trio.gathering import Emptiness
from reknit.trio.links import Link
from reknit.trio.reactor import Reactor


class Sessions:
    """The links of all sessions. `records`: whether each keeps what it went through lately."""

    def __init__(self, contexts: Contexts, reactor: Reactor, *, records: bool = False) -> None:
        self.contexts = contexts
        self._reactor = reactor
        self._records = records
        self._links: dict[ContextStateMachine, Link] = {}
        self._emptiness = Emptiness(self._links)
        self.key = os.urandom(16)
        """What the digests are keyed with."""

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Link]:
        """Every session that is not over; they may change meanwhile."""
        return iter(list(self._links.values()))

    def __contains__(self, link: Link) -> bool:
        """Whether that session is not over."""
        return self._links.get(link.context) is link

    async def wait_empty(self) -> None:
        """Return when no session is here any more."""
        await self._emptiness.wait()

    def link(self, context: ContextStateMachine, now: float) -> Link:
        """The context's link, a new one if it has none yet."""
        link = self._links.get(context)
        if link is None:
            recent = Recent(now) if self._records else None
            label = label_of(context.connection_id, self.key)
            link = Link(context, label, self._reactor, recent)
            self._links[context] = link
        return link

    def known(self, context: ContextStateMachine) -> Link | None:
        """The context's link, if it is not over."""
        return self._links.get(context)

    def news(self) -> list[Link]:
        """Those that have commands by what another has met; each is handed out once."""
        links = (self._links.get(context) for context in self.contexts.news())
        return [link for link in links if link is not None]

    def find(self, label: str) -> Link | None:
        """The session that is called so."""
        return next((link for link in self._links.values() if link.label == label), None)

    def longest_waits(self, now: float) -> dict[Side, float]:
        """How long messages wait for a peer of that side that is away, or owes a Pong (seconds)."""
        longest = dict.fromkeys(Side, 0.0)
        for link in self:
            if link.recent is not None:
                for side in Side:
                    waited = link.recent.waited(link.context, side, now)
                    longest[side] = max(longest[side], waited)
        return longest

    def forget(self, link: Link) -> None:
        """The session is over. Nothing, if that was known."""
        self.contexts.forget(link.context)
        self._drop(link)
        if self.contexts.has_freed_much():
            give_back()

    def let_go(self, link: Link) -> None:
        """The session is another process's."""
        self.contexts.let_go(link.context)
        self._drop(link)

    def _drop(self, link: Link) -> None:
        self._links.pop(link.context, None)
        self._emptiness.look()
