"""The directory of --state-dir: numbered files, of which the last one grows.

    lock                 held by the process that the directory belongs to
    sessions-00000007    see reknit_core.durable.records
    sessions-….damaged   could not be read to its end; nobody looks at it any more

Only the user of the process may read them: they hold what clients have shown and sent.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

import trio

from reknit.settings.options import ALWAYS, NEVER

_NAME = re.compile(r"sessions-(\d+)")


class StateError(Exception):
    """The directory can't be used: which and why, for people."""


class StateDir:
    """The directory at `path`, made if it isn't there. Raises StateError.

    `sync`: seconds after which what is written is on the disk; ALWAYS, or NEVER. All else raises
    OSError.
    """

    def __init__(self, path: Path, sync: float) -> None:
        self.path = path
        self.sync = sync
        self._file = -1
        self._number = 0
        self._retired: list[int] = []  # files that are full, and not yet on the disk
        self._is_dirty = False
        self._kept_from = 0
        self._lock = -1
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"can't use {path}: {error.strerror or error}") from None

    def lock(self) -> None:
        """Make it this process's own. Raises StateError if it is another's."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"{self.path} is in use by another process") from None

    def files(self) -> Iterator[tuple[int, Path]]:
        """Its files by their numbers, the oldest first."""
        found = ((_NAME.fullmatch(path.name), path) for path in self.path.iterdir())
        yield from sorted((int(match[1]), path) for match, path in found if match)

    def append(self, number: int, data: bytearray) -> None:
        """Write to the end of that file: of the last one, or of a new one."""
        if number != self._number:
            self._begin(number)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if self.sync == ALWAYS:
            os.fdatasync(self._file)
        self._is_dirty = True

    def _begin(self, number: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        file = os.open(f"sessions-{number:08}", flags, 0o600, dir_fd=self._directory)
        if self._file >= 0:
            self._retired.append(self._file)
        self._file = file
        self._number = number
        if self.sync != NEVER:
            os.fsync(self._directory)
        if self.sync in (ALWAYS, NEVER):
            self._close_retired()

    def keep_from(self, number: int) -> None:
        """Remove the files before that one."""
        if number > self._kept_from:
            self._kept_from = number
            for old, path in self.files():
                if old < number:
                    path.unlink(missing_ok=True)

    def take_back(self, number: int) -> None:
        """Remove the files from that one on: they could not be written to their end."""
        self._close_files()
        self._number = 0
        for new, path in self.files():
            if new >= number:
                path.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> Path:
        """Look at that file no more, but leave it to people; returns what it is called then."""
        aside = path.with_name(path.name + ".damaged")
        return path.replace(aside)

    async def flush(self) -> None:
        """Have all that is written so far on the disk."""
        if not self._is_dirty:
            return
        self._is_dirty = False
        retired, self._retired = self._retired, []
        files = [*retired, os.dup(self._file)]
        try:
            for file in files:
                await trio.to_thread.run_sync(os.fdatasync, file)
        finally:
            for file in files:
                os.close(file)

    def close(self) -> None:
        """Let another process have it."""
        self._close_files()
        for descriptor in (self._directory, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._directory = self._lock = -1

    def _close_files(self) -> None:
        self._close_retired()
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        self._is_dirty = False

    def _close_retired(self) -> None:
        for file in self._retired:
            os.close(file)
        self._retired = []
