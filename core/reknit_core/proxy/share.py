"""Several proxies that are one: which of them a session belongs to, and what each may hold.

The owner follows from the session's id alone, so nobody needs to be asked, and none can disagree.
"""

from dataclasses import dataclass, replace
from hashlib import blake2s

from reknit_core.policy.policy import Policy

DIVIDED = ("session_limit", "connection_limit", "queue_total")
"""The limits of the policy that are for all together. Those for an address count in each."""

_DIGEST = 8  # bytes: so many that the remainder favours nobody


@dataclass(frozen=True, slots=True)
class Share:
    """The part of one, `number` from 0 on, of `of` workers."""

    number: int = 0
    of: int = 1

    def owner(self, connection_id: str) -> int:
        """The number of the worker to which the session with that id belongs."""
        digest = blake2s(connection_id.encode(), digest_size=_DIGEST).digest()
        return int.from_bytes(digest, "big") % self.of

    def owns(self, connection_id: str) -> bool:
        """Whether it belongs to this one."""
        return self.of == 1 or self.owner(connection_id) == self.number

    def divide(self, policy: Policy) -> Policy:
        """What of the policy holds for one worker: its part of the limits, rounded up."""
        parts = {name: -(-getattr(policy, name) // self.of) for name in DIVIDED}
        return replace(policy, **parts)


ALONE = Share()
