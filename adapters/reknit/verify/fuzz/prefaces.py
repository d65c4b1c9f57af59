"""Beginnings of a connection between two nodes: whoever speaks, and however it is cut."""

import hmac
from collections.abc import Callable

from reknit_core.cluster.preface import (
    MAGIC,
    MAX_PREFACE,
    RANDOM_BYTES,
    Answer,
    Called,
    Caller,
    Preface,
    PrefaceError,
    ProbePreface,
    pack,
)

from reknit.verify.fuzz.choices import Choices

_KEY, _OTHER_KEY = b"k" * 32, b"o" * 32
_HELLO = MAGIC + b"1" * RANDOM_BYTES
_RANDOM = b"2" * RANDOM_BYTES
_PROBE = ProbePreface("a", "b")
_PROOF = 32
_MOST = 2 + MAX_PREFACE + _PROOF  # bytes of a turn

_Receive = Callable[[bytes], bytes | Preface | Answer | None]

PREFACE_SEEDS = (
    b"\x00\x00\x00" + pack(_PROBE),
    b"\x01\x03\x00" + b"y",
    b"\x02\x01\x00" + _HELLO + b"\x00\x01",
    b"\x03\x00\x00" + _RANDOM + b"y",
)


def feed_prefaces(data: bytes) -> None:
    """To a called one: any preface, with a proof or with none; to a caller: any answer."""
    choices = Choices(data)
    speaks = choices.pick((_preface_with_proof, _answer_with_proof, _to_called, _to_caller))
    size, key = choices.number(256) or 1 << 20, choices.pick((_KEY, _OTHER_KEY))
    rest = choices.rest()
    whole = speaks(rest, 1 << 20, key)
    cut = speaks(rest, size, key)
    _check(cut == whole, f"cut into pieces, {whole} becomes {cut}")


def _preface_with_proof(body: bytes, size: int, key: bytes) -> object:
    called = Called(_KEY, _RANDOM)
    challenge = called.receive_data(_HELLO)
    _check(challenge == _RANDOM + _proof(_KEY, b"challenge", _HELLO + _RANDOM), "not proved")
    assert isinstance(challenge, bytes)
    turn = len(body).to_bytes(2, "big") + body if len(body) < 1 << 16 else body
    said = _HELLO + challenge + turn
    found = _read(called.receive_data, called, turn + _proof(key, b"preface", said), size)
    _check(key is _KEY or isinstance(found, str), "another secret is as good")
    return found


def _answer_with_proof(body: bytes, size: int, key: bytes) -> object:
    caller = Caller(_KEY, b"1" * RANDOM_BYTES, _PROBE)
    said = caller.hello + _RANDOM
    said += _proof(_KEY, b"challenge", said)
    preface = caller.receive_data(said[len(_HELLO) :])
    assert isinstance(preface, bytes)
    said += preface + body[:1]
    found = _read(
        caller.receive_data, caller, body[:1] + _proof(key, b"answer", said) + body[1:], size
    )
    _check(key is _KEY or not isinstance(found, Answer), "another secret is as good")
    return found


def _to_called(body: bytes, size: int, key: bytes) -> object:
    called = Called(_KEY, _RANDOM)
    found = _read(called.receive_data, called, body, size)
    _check(not isinstance(found, Preface), "no proof, and yet a node")
    return found


def _to_caller(body: bytes, size: int, key: bytes) -> object:
    caller = Caller(_KEY, _RANDOM, _PROBE)
    found = _read(caller.receive_data, caller, body, size)
    _check(not isinstance(found, Answer), "no proof, and yet a node")
    return found


def _read(receive: _Receive, turns: Called | Caller, data: bytes, size: int) -> object:
    """What comes of it; text: what is wrong."""
    for start in range(0, len(data), size):
        try:
            found = receive(data[start : start + size])
        except PrefaceError as error:
            return str(error)
        if found is not None and not isinstance(found, bytes):
            return found
        _check(len(turns.rest) <= _MOST + size, "more of a turn is kept than it may have")
    return None


def _proof(key: bytes, turn: bytes, said: bytes) -> bytes:
    return hmac.new(key, turn + said, "sha256").digest()


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
