"""How a connection between two nodes begins: each proves to the other that it knows the secret.

    caller -> : "RKN1" | 16 random bytes
    called -> : 16 random bytes           | the proof of what was said so far
    caller -> : length (2 bytes) | preface | the proof of what was said so far
    called -> : 1 byte, the answer        | the proof of what was said so far

A proof is HMAC-SHA256 by the cluster's key, over its turn and all that both have said. Each side
has random bytes of its own in it, so what was recorded proves nothing later, and what one side has
said proves nothing for the other. Who is called proves itself before it hears anything of a client.
After the answer YES to a ClientPreface the connection is that client's.
"""

import hmac
from enum import Enum
from typing import Annotated

import msgspec

from reknit_core.proxy.arrival import Arrival

MAGIC = b"RKN1"
RANDOM_BYTES = 16
MAX_PREFACE = 32 * 1024  # bytes; a request has 16 KiB, and little can have come behind it
MAX_NAME = 64  # characters

_HELLO = len(MAGIC) + RANDOM_BYTES
_LENGTH = 2
_PROOF = 32
_CHALLENGE, _PREFACE, _ANSWER = b"challenge", b"preface", b"answer"

_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


class PrefaceError(ValueError):
    """Why a connection can't be a node's, for people."""


class _Preface(msgspec.Struct, frozen=True):
    """`sender`: the node that calls; `to`: the one that it wants to reach."""

    sender: _Name
    to: _Name


class ClientPreface(_Preface, frozen=True, tag="client"):
    """A client is brought home, which has named that session, or else `creates` it."""

    session: Annotated[str, msgspec.Meta(max_length=128)]
    creates: bool
    arrival: Arrival


class PromisePreface(_Preface, frozen=True, tag="promise"):
    """Will you claim none of these books, with their epochs, for a lease? YES or NO."""

    books: dict[_Name, int]


class ProbePreface(_Preface, frozen=True, tag="probe"):
    """Are you sure that your books are yours? YES or NO."""


Preface = ClientPreface | PromisePreface | ProbePreface


class Answer(Enum):
    """What a node says to a preface."""

    YES = b"y"
    NO = b"n"
    BUSY = b"b"
    """There is no room for a client now."""
    OTHER = b"o"
    """This is another node than the one that is called."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Preface] = msgspec.msgpack.Decoder(Preface)
_ANSWERS = {answer.value: answer for answer in Answer}


class _Turns:
    """What both sides have said, and what has come and isn't understood yet."""

    __slots__ = ("_came", "_key", "_said")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._said = b""
        self._came = bytearray()

    def _proof(self, turn: bytes) -> bytes:
        return hmac.digest(self._key, turn + self._said, "sha256")

    def _say(self, turn: bytes, data: bytes) -> bytes:
        """The data with its proof, to be sent."""
        self._said += data
        proof = self._proof(turn)
        self._said += proof
        return data + proof

    def _hear(self, turn: bytes, size: int, problem: str) -> bytes | None:
        """So many bytes, if they have come with their proof. Raises PrefaceError."""
        if len(self._came) < size + _PROOF:
            return None
        data = self._take(size)
        self._said += data
        proof = self._take(_PROOF)
        if not hmac.compare_digest(self._proof(turn), proof):
            raise PrefaceError(problem)
        self._said += proof
        return data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._came[:size])
        del self._came[:size]
        return taken

    @property
    def rest(self) -> bytes:
        """What has come behind all that is understood."""
        return bytes(self._came)


class Caller(_Turns):
    """The side that has connected. `random`: RANDOM_BYTES of that, never used before.

    Raises PrefaceError if the preface is too long.
    """

    __slots__ = ("_preface", "hello")

    def __init__(self, key: bytes, random: bytes, preface: Preface) -> None:
        super().__init__(key)
        self.hello = MAGIC + random
        """To be sent first."""
        self._said = self.hello
        self._preface: bytes | None = pack(preface)

    def receive_data(self, data: bytes) -> bytes | Answer | None:
        """What to send next, or the answer; None: more has to come. Raises PrefaceError."""
        self._came += data
        if (preface := self._preface) is not None:
            problem = "who answers is no node of this cluster: has it another secret?"
            if self._hear(_CHALLENGE, RANDOM_BYTES, problem) is None:
                return None
            self._preface = None
            return self._say(_PREFACE, len(preface).to_bytes(_LENGTH, "big") + preface)
        answer = self._hear(_ANSWER, 1, "the answer is not that of the node that was called")
        if answer is None:
            return None
        if answer not in _ANSWERS:
            raise PrefaceError(f"{answer!r} is no answer: is it a node of another version?")
        return _ANSWERS[answer]


class Called(_Turns):
    """The side that was connected to. `random`: as for the caller."""

    __slots__ = ("_random",)

    def __init__(self, key: bytes, random: bytes) -> None:
        super().__init__(key)
        self._random: bytes | None = random

    def receive_data(self, data: bytes) -> bytes | Preface | None:
        """What to send next, or the preface; None: more has to come. Raises PrefaceError."""
        self._came += data
        if (random := self._random) is None:
            return self._read_preface()
        if not MAGIC.startswith(self._came[: len(MAGIC)]):
            raise PrefaceError("it doesn't begin as a node of this version does")
        if len(self._came) < _HELLO:
            return None
        self._random = None
        self._said = self._take(_HELLO)
        return self._say(_CHALLENGE, random)

    def _read_preface(self) -> Preface | None:
        if len(self._came) < _LENGTH:
            return None
        length = int.from_bytes(self._came[:_LENGTH], "big")
        if length > MAX_PREFACE:
            raise PrefaceError(f"its preface has {length} bytes; allowed: {MAX_PREFACE}")
        problem = "it doesn't prove that it is a node of this cluster: has it another secret?"
        preface = self._hear(_PREFACE, _LENGTH + length, problem)
        if preface is None:
            return None
        try:
            return _DECODER.decode(preface[_LENGTH:])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PrefaceError(f"its preface is none of this version: {error}") from None

    def answer(self, answer: Answer) -> bytes:
        """To be sent: what is said to the preface."""
        return self._say(_ANSWER, answer.value)


def pack(preface: Preface) -> bytes:
    """The preface as it goes over the link. Raises PrefaceError if it is too long."""
    packed = _ENCODER.encode(preface)
    if len(packed) > MAX_PREFACE:
        raise PrefaceError(f"the preface has {len(packed)} bytes; allowed: {MAX_PREFACE}")
    return packed
