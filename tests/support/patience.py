"""How long the tests wait for what must come: one setting for all of them.

$TEST_PATIENCE is a factor, 1 by default: on a machine that is very busy, TEST_PATIENCE=5 makes
every limit five times as long. Only a test that fails waits so long, so the limits are generous;
what has to pass while a test looks on takes longer too.
"""

import os

FACTOR = float(os.environ.get("TEST_PATIENCE") or 1)


def patience(seconds: float) -> float:
    """That many seconds, by this machine's measure."""
    return seconds * FACTOR


LIMIT = patience(120.0)  # seconds for a whole test, or for one thing that it waits for
