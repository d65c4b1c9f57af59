"""A leg's lane: bytes of the proxy's own making, each with its place among what goes to the peer.

They are in the order in which they go out. A place is a position in the leg's source, where a
message ends: the bytes follow what stands before it.
"""

from itertools import islice, takewhile
from typing import Final

from reknit_core.queue.stream import GATHER, Buffer, Stream

Lane = list[tuple[int, bytes]]

NOTHING_SAID: Final[Lane] = []
"""Shared, as most legs say nothing: never changed."""


def placed(lane: Lane, position: int, data: bytes) -> Lane:
    """The lane with these bytes too, behind all that has that place or one before it."""
    index = next((i for i, (at, _) in enumerate(lane) if at > position), len(lane))
    return [*lane[:index], (position, data), *lane[index:]]


def moved_up(lane: Lane, start: int, size: int) -> Lane:
    """The lane after so many bytes were cut out of the source, from `start` on."""
    return [(at if at <= start else max(start, at - size), data) for at, data in lane]


def interleaved(lane: Lane, source: Stream, until: int) -> list[Buffer]:
    """What goes out next of a lane that isn't empty, and of the source up to `until`."""
    said = 0
    at = lane[0][0]
    if at >= until:  # mostly so: all that is said follows all messages
        buffers = source.pending(until)
        return buffers + _said(lane, 0, until, GATHER - len(buffers))
    buffers = []
    at = source.sent
    for message in source.pending(until):
        rest = message
        while said < len(lane) and lane[said][0] < at + len(rest):
            ahead = lane[said][0] - at
            if ahead > 0:
                buffers.append(memoryview(rest)[:ahead])
                rest = memoryview(rest)[ahead:]
                at += ahead
            buffers.append(lane[said][1])
            said += 1
        buffers.append(rest)
        at += len(rest)
        if len(buffers) >= GATHER:
            return buffers[:GATHER]
    return buffers + _said(lane, said, at, GATHER - len(buffers))


def _said(lane: Lane, start: int, position: int, most: int) -> list[Buffer]:
    """What stands in the lane from there on, and may follow up to that place."""
    here = takewhile(lambda said: said[0] <= position, islice(lane, start, None))
    return [data for _, data in islice(here, max(0, most))]
