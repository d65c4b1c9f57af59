"""`--state-dir` of several workers: each has a directory in it; the whole is the parent's."""

from collections.abc import Iterable
from contextlib import suppress
from logging import ERROR
from pathlib import Path

import trio
from reknit_core.proxy.share import Share
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import tell
from reknit.settings.options import NEVER
from reknit.state.directory import StateDir, StateError
from reknit.state.elsewhere import HANDOVER, POLL, Elsewhere, clear, find, part_of


class Kept:
    """The directory at `path`, if there is one, of so many workers. Raises StateError."""

    def __init__(self, path: Path | None, count: int) -> None:
        self._path = path
        self._count = count
        self._root = None if path is None else StateDir(path, NEVER)
        self._others: Elsewhere | None = None

    @property
    def name(self) -> str:
        """Its name, the same in every process; empty: there is none."""
        return "" if self._path is None else str(self._path.resolve())

    @property
    def elsewhere(self) -> list[str]:
        """The directories in it that another number of workers has left. Raises StateError."""
        if self._path is None:
            return []
        paths = find(self._path, self._count)
        return [str(each.relative_to(self._path)) for each in paths]

    def lock(self) -> None:
        """Make it this process's own. Raises StateError if it is another's."""
        if self._root is not None:
            self._root.lock()
            self._others = self._find()
            self._others.lock()

    def settle(self, damaged: Iterable[str]) -> None:
        """All workers have what was elsewhere. Raises StateError."""
        if self._root is None or self._others is None:
            return
        known = set(damaged)
        try:
            for each in (Elsewhere([self._root]), self._others):
                each.remove(known)
        except OSError as error:
            raise StateError(f"can't use {self._path}: {reason_of(error)}") from None
        self._others.close()
        self._others = None

    async def take_over(self) -> None:
        """Another process is letting go of it now."""
        if self._root is None:
            return
        with trio.move_on_after(HANDOVER):
            while True:
                with suppress(StateError):
                    self._root.lock()
                    return
                await trio.sleep(POLL)
        tell(ERROR, "state_trouble", "%(path)s is in use still", path=self.name)

    async def clear(self) -> None:
        """All workers have written down what they have taken over."""
        if self._root is not None:
            await clear(self._find())
            with suppress(OSError, StateError):  # it says so when it is to be written to
                Elsewhere([self._root]).remove()

    def leave_nothing(self) -> None:
        """No session goes on: what there is no worker for is not to come back."""
        if self._path is None:
            return
        own = [part_of(self._path, Share(number, self._count)) for number in range(self._count)]
        with suppress(OSError, StateError):
            left = Elsewhere.of(own, Share())
            try:
                left.lock()
                left.remove()
            finally:
                left.close()

    def close(self) -> None:
        """Let another process have it."""
        if self._root is not None:
            self._root.close()
            self._root = None
        if self._others is not None:
            self._others.close()
            self._others = None

    def _find(self) -> Elsewhere:
        """What is there beside the directory itself."""
        assert self._path is not None  # else nobody asks
        paths = [path for path in find(self._path, self._count) if path != self._path]
        return Elsewhere.of(paths, Share())
