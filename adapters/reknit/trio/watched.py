"""What the readiness loop serves beside established connections, and what its timers stand for."""

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

EXPIRING = 8  # in one go: thousands may have begun in one moment


class Timed:
    """What a timer stands for. Those of one time have any order: a heap asks for one."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)  # compiled, a class with an order has no hash of its own

    def due(self, now: float) -> None:
        """The time has come that was named; it may have no meaning any more."""
        raise NotImplementedError


class Watched(Timed):
    """A socket that is no session's: one that listens, a newcomer's, one that is being connected.

    Whoever made it closes its socket, once the loop has let go of it.
    """

    __slots__ = ("fd", "mask")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.mask = 0  # what the poller watches for; 0: it doesn't have it

    def ready(self, now: float) -> None:
        """It is ready for what is watched for, or broken; or a socket was that had its number."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close it now: nobody serves it any more."""
        raise NotImplementedError


Schedule = Callable[[float, Timed], None]

T = TypeVar("T")


class Deadlines(Timed, Generic[T]):
    """Those that have the same time, `seconds`, for something: who began first is late first.

    `expire` is called for each that is late. However many there are, one timer is enough.
    """

    __slots__ = ("_expire", "_is_set", "_schedule", "_seconds", "_until")

    def __init__(
        self, seconds: float, schedule: Schedule, expire: Callable[[T, float], None]
    ) -> None:
        self._seconds = seconds
        self._schedule = schedule
        self._expire = expire
        self._until: OrderedDict[T, float] = OrderedDict()  # the first is found at once in it
        self._is_set = False

    def __contains__(self, member: T) -> bool:
        return member in self._until

    def begin(self, member: T, now: float) -> None:
        """From now on; also where it had begun before."""
        self._until.pop(member, None)
        self._until[member] = now + self._seconds
        if not self._is_set:
            self._set(now + self._seconds)

    def end(self, member: T) -> None:
        """It has made it, or has gone."""
        self._until.pop(member, None)

    def due(self, now: float) -> None:
        """Look who is late."""
        for _ in range(EXPIRING):
            if not self._until:
                break
            member, until = next(iter(self._until.items()))
            if until > now:
                break
            del self._until[member]
            self._expire(member, now)
        self._is_set = False  # only now: who is late may begin anew, and needs no second timer
        self._set(next(iter(self._until.values()), inf))

    def _set(self, until: float) -> None:
        if until < inf:
            self._is_set = True
            self._schedule(until, self)
