"""Randomness in blocks: each byte is given once, and as many as are asked for."""

import os

import pytest
from reknit.sockets import randomness
from reknit.sockets.randomness import BLOCK, Randomness

REAL = os.urandom


def test_each_byte_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def draw(size: int) -> bytes:
        drawn.append(REAL(size))
        return drawn[-1]

    monkeypatch.setattr(randomness.os, "urandom", draw)
    give = Randomness()
    sizes = [16, 8, 0, 4, BLOCK + 1, 16, *[8] * BLOCK]
    given = [give(size) for size in sizes]
    assert [len(each) for each in given] == sizes
    together, at = b"".join(drawn), 0
    for each in given:
        at = together.index(each, at) + len(each)  # behind all that was given before
    assert len(drawn) < 20
