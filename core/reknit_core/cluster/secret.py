"""What the nodes of a cluster share, and nobody else knows."""

from hashlib import blake2s

DIGEST_BYTES = 16


class Secret:
    """A secret text, of which only keys are kept, a different one for each purpose."""

    __slots__ = ("_for_sessions", "for_links")

    def __init__(self, text: str) -> None:
        self.for_links = _derive(text, b"link")
        """The key by which nodes prove themselves to each other."""
        self._for_sessions = _derive(text, b"session")

    def digest(self, connection_id: str) -> bytes:
        """What stands for a session in the store: who has its id can come back as its client."""
        key = self._for_sessions
        return blake2s(connection_id.encode(), digest_size=DIGEST_BYTES, key=key).digest()


def _derive(text: str, purpose: bytes) -> bytes:
    return blake2s(text.encode(), person=purpose).digest()
