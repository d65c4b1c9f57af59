"""A worker whose loop doesn't go round is ended, where systemd has a watchdog on the parent."""

from collections.abc import Callable, Sequence
from logging import ERROR

import trio

from reknit.observe.logs import tell
from reknit.workers.messages import Ask
from reknit.workers.worker_process import WorkerProcess

_ASK = Ask(0, "GET", "/worker/alive", {}, b"")  # any answer will do


async def watch_workers(staff: Callable[[], Sequence[WorkerProcess]], patience: float) -> None:
    """Ask all workers again and again; end one that gives no answer in so many seconds.

    It is started again as any that has died.
    """
    while True:
        async with trio.open_nursery() as nursery:
            for worker in staff():
                if worker.serves:
                    nursery.start_soon(_watch, worker, patience)
            nursery.start_soon(trio.sleep, patience / 2)


async def _watch(worker: WorkerProcess, patience: float) -> None:
    with trio.move_on_after(patience) as asking:
        await worker.ask(_ASK)
    if asking.cancelled_caught and worker.serves:
        text = "worker %(number)d gives no answer in %(seconds).0f seconds: it is ended"
        tell(ERROR, "worker_stuck", text, number=worker.number, seconds=patience)
        worker.kill()
