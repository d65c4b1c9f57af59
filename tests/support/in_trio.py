"""Tests in a trio loop."""

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

import trio

LIMIT = 20.0  # seconds within which what is waited for has to happen


def in_trio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in a loop of its own."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        trio.run(partial(test, **arguments))

    return run


async def until(happens: Callable[[], bool]) -> None:
    """Return when that is so."""
    with trio.fail_after(LIMIT):
        while not happens():
            await trio.sleep(0.001)
