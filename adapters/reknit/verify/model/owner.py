"""The reference model's owner of a session: who must be let in, and who must not."""

from reknit_core.script.actions import ClientConnects

from reknit.verify.model.traffic import BrokenError

_Shown = tuple[str | None, str | None]


class Owner:
    """What the first client has shown, and the last token that the client was told."""

    def __init__(self) -> None:
        self.token: str | None = None
        self._bound: _Shown | None = None

    def let_in(self, client: ClientConnects) -> None:
        """The client is let in. Raises BrokenError if the session is another's."""
        if self._bound not in (None, _shown(client)):
            raise BrokenError("a stranger is let in")
        self._bound = _shown(client)

    def turned_away(self, client: ClientConnects) -> None:
        """The client is not let in. Raises BrokenError if the session is its own."""
        if self._bound == _shown(client) and client.token == self.token:
            raise BrokenError("the owner is not let in")


def _shown(client: ClientConnects) -> _Shown:
    return client.authorization, client.origin
