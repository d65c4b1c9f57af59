"""How late the loop is that serves everything: a timer measures what sessions would feel."""

import trio
from reknit_core.counters import Histogram

EVERY = 0.5  # seconds


async def measure_lag(histogram: Histogram) -> None:
    """Observe, for ever, how many seconds after its time a timer goes off."""
    while True:
        due = trio.current_time() + EVERY
        await trio.sleep_until(due)
        histogram.observe(trio.current_time() - due)
