"""To whom a session belongs: what its first request showed, and a token fresh on each return.

Nothing of this is kept in the clear. A keyed digest stands for what the session is bound to, and
a token is derived from the key and its number.

A fresh token goes out with each 101 answer, and that answer may get lost on its way. So the token
before it stays good until the client has proved that it has the fresh one: by showing it, or by
its Pong to a Ping that followed the answer. Before the first proof there is no earlier token, and
none is demanded.
"""

from binascii import b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2s
from hmac import compare_digest
from json.encoder import encode_basestring_ascii

from reknit_core.terms.claim import Claim
from reknit_core.terms.terms_forms import FrozenBinding
from reknit_core.wire.handshake import UpgradeRequest
from reknit_core.wire.headers import HeaderList, cookie, value_of

KEY_BYTES = 16

_SIZE = 16  # bytes of a digest and of a token
_COOKIE = "cookie:"


@dataclass(slots=True)
class Binding:
    """What a client must show to resume.

    `names`: what the session is bound to, as in the policy. `handed`: the number of the token
    that went out last; `proven`: of the last one that the client is known to have; 0: none.
    """

    names: tuple[str, ...]
    key: bytes
    digest: bytes
    handed: int = 0
    proven: int = 0

    @classmethod
    def from_request(cls, names: Iterable[str], request: UpgradeRequest, key: bytes) -> "Binding":
        """Bind a session to what its first request shows, or doesn't show, under these names.

        `key`: KEY_BYTES random bytes, the session's own.
        """
        names = _in_order(frozenset(names))
        return cls(names, key, _digest(key, names, request.headers))

    def frozen(self) -> FrozenBinding:
        """It as data."""
        return FrozenBinding(self.names, self.key, self.digest, self.handed, self.proven)

    @classmethod
    def thawed(cls, form: FrozenBinding) -> "Binding":
        """That one which frozen() gave `form` of."""
        names = _in_order(frozenset(form.names))
        return cls(names, form.key, form.digest, form.handed, form.proven)

    def admits(self, claim: Claim) -> bool:
        """Whether the client with that claim may resume.

        One that shows the newest token has proved to have it. What is wrong makes no
        difference to the time it takes.
        """
        shown = claim.token.encode()
        digest = _digest(self.key, self.names, claim.request.headers)
        is_bound = compare_digest(digest, self.digest)
        is_newest = compare_digest(shown, self._token(self.handed))
        is_proven = compare_digest(shown, self._token(self.proven))
        if not is_bound or not (is_newest or is_proven or self.proven == 0):
            return False
        if is_newest:
            self.received()
        return True

    def fresh_token(self) -> bytes:
        """The next token, for a 101 answer."""
        self.handed += 1
        return self._token(self.handed)

    def received(self) -> None:
        """The client has proved that it has the newest token: no earlier one is good any more."""
        self.proven = self.handed

    def handshake_key(self, number: int) -> bytes:
        """The Sec-WebSocket-Key for the session's connection of that number to its server.

        Drawn from the session's own key: nobody else can know it before, and each connection has
        another (RFC 6455, 4.1).
        """
        count = number.to_bytes(8, "big")
        drawn = blake2s(count, key=self.key, person=b"wskey", digest_size=_SIZE)
        return b2a_base64(drawn.digest(), newline=False)

    def close_mask(self, number: int) -> bytes:
        """The mask of the Close frame on that connection to its server (RFC 6455, 5.3).

        Drawn as handshake_key() is: nobody else can know it before.
        """
        count = number.to_bytes(8, "big")
        return blake2s(count, key=self.key, person=b"wsclose", digest_size=4).digest()

    def _token(self, number: int) -> bytes:
        count = number.to_bytes(8, "big")
        token = blake2s(count, key=self.key, person=b"token", digest_size=_SIZE)
        return token.hexdigest().encode()


@cache
def _in_order(names: frozenset[str]) -> tuple[str, ...]:
    """These names, always in the same order; all sessions share them."""
    return tuple(sorted(names))


def _digest(key: bytes, names: tuple[str, ...], headers: HeaderList) -> bytes:
    """What stands in the headers under these names; what is missing counts too."""
    shown = [
        cookie(headers, name.removeprefix(_COOKIE))
        if name.startswith(_COOKIE)
        else value_of(headers, name.encode())
        for name in names
    ]
    said = ["null" if value is None else encode_basestring_ascii(value) for value in shown]
    data = f"[{', '.join(said)}]".encode()  # a list in JSON, in less time
    return blake2s(data, key=key, person=b"bind", digest_size=_SIZE).digest()
