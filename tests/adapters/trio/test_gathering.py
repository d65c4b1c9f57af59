"""Who waits until nothing is left, of several that do."""

import trio
import trio.testing
from reknit.trio.gathering import Gathering


async def two_wait(gathering: Gathering[str]) -> int:
    woken = 0

    async def wait() -> None:
        nonlocal woken
        await gathering.wait_empty()
        woken += 1

    async with trio.open_nursery() as nursery:
        gathering.add("a")
        gathering.add("b")
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        gathering.discard("a")
        await trio.testing.wait_all_tasks_blocked()
        assert woken == 0
        gathering.discard("b")
    return woken


def test_all_that_wait_for_the_last_are_woken() -> None:
    assert trio.run(two_wait, Gathering[str]()) == 2
