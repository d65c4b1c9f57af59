"""How long things last in a cluster. All nodes of one must have the same."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """All in seconds.

    `lease`: how long a node's word stands in the store after each renewal. `alone`: how long it
    goes on without the store, by the other nodes' promises. `patience`: how long it stands still
    before it drops what it has. `forgets`: how much of its newest past a store may lose when it
    fails over; managed ones say up to 10.
    """

    lease: float = 5.0
    alone: float = 600.0
    patience: float = 60.0
    forgets: float = 10.0

    @property
    def sure(self) -> float:
        """How long a node is sure by a lease or a promise, from when it asked for it.

        A tenth less than the lease: for clocks that don't run equally fast.
        """
        return self.lease * 0.9

    @property
    def renewal(self) -> float:
        """Between two renewals, and between two requests for promises."""
        return self.lease / 5

    @property
    def look(self) -> float:
        """Between two looks at the others' leases."""
        return self.lease / 10
