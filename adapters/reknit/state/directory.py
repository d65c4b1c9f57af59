"""The directory of --state-dir: numbered files, of which the last one grows.

    lock                 held by the process that the directory belongs to
    sessions-00000007    see reknit_core.durable.records
    sessions-….damaged   could not be read to its end; nobody looks at it any more

Only the user of the process may read them: they hold what clients have shown and sent.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from errno import EACCES, ENOTDIR
from pathlib import Path

import trio
from reknit_core.wire.reasons import reason_of

from reknit.settings.options import ALWAYS, NEVER

_NAME = re.compile(r"sessions-(\d+)")
_sync = getattr(os, "fdatasync", os.fsync)  # not every system has it

# What is opened must be a file: a link would lead elsewhere, a pipe would wait for its other end.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class StateError(Exception):
    """The directory can't be used: which and why, for people."""


def check_directory(path: Path) -> None:
    """Whether a StateDir can be at `path`, as far as can be said without making it.

    Raises StateError. The lock is left alone: it must not become another user's.
    """
    try:
        if path.exists():
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _check_private(path, descriptor)
            finally:
                os.close(descriptor)
        above = next(each for each in (path, *path.absolute().parents) if each.exists())
        if not above.is_dir():
            raise NotADirectoryError(ENOTDIR, "it is not a directory")
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, "Permission denied")
    except OSError as error:
        raise StateError(f"can't use {path}: {_words(error)}") from None


def _words(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "it is not a directory"
    return reason_of(error)


class StateDir:
    """The directory at `path`, made if it isn't there. Raises StateError.

    No one but its user and root may be able to change what is in it. `sync`: seconds after which
    what is written is on the disk; ALWAYS, or NEVER. All else raises OSError or StateError.
    """

    def __init__(self, path: Path, sync: float) -> None:
        self.path = path
        self.sync = sync
        self._file = -1
        self._number = 0
        self._retired: list[int] = []  # files that are full, and not yet on the disk
        self._is_dirty = False
        self._kept_from = 0
        self._directory = self._lock = -1
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _check_private(path, self._directory)
            self._lock = self._open("lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            self.close()
            raise StateError(f"can't use {path}: {_words(error)}") from None
        except StateError:
            self.close()
            raise

    def lock(self) -> None:
        """Make it this process's own. Raises StateError if it is another's."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"{self.path} is in use by another process") from None

    def files(self) -> Iterator[tuple[int, str]]:
        """Its files, by their numbers and names, the oldest first."""
        names = os.listdir(self._directory)  # noqa: PTH208  # of the very one that was checked
        found = ((_NAME.fullmatch(name), name) for name in names)
        yield from sorted((int(match[1]), name) for match, name in found if match)

    def read(self, name: str) -> bytes:
        """What is in that file."""
        with os.fdopen(self._open(name, os.O_RDONLY), "rb") as file:
            return file.read()

    def size(self, name: str) -> int:
        """Bytes in that file."""
        return os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_size

    def remove(self, name: str) -> None:
        """Remove that file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)

    def _open(self, name: str, flags: int) -> int:
        path = self.path / name
        try:
            file = os.open(name, flags | _SAFELY, 0o600, dir_fd=self._directory)
        except OSError:
            if _is_link(name, self._directory):
                raise StateError(f"{path} is a link, not a file of reknit's") from None
            raise
        about = os.fstat(file)
        if stat.S_ISREG(about.st_mode) and about.st_uid in _trusted():
            return file
        os.close(file)
        raise StateError(f"{path} is no file, or not this user's")

    def append(self, number: int, data: bytearray) -> None:
        """Write to the end of that file: of the last one, or of a new one."""
        if number != self._number:
            self._begin(number)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if self.sync == ALWAYS:
            _sync(self._file)
        self._is_dirty = True

    def _begin(self, number: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        file = self._open(f"sessions-{number:08}", flags)
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
            for old, name in self.files():
                if old < number:
                    self.remove(name)

    def take_back(self, number: int) -> None:
        """Remove the files from that one on: they could not be written to their end."""
        self._close_files()
        self._number = 0
        for new, name in self.files():
            if new >= number:
                self.remove(name)

    def set_aside(self, name: str) -> str:
        """Look at that file no more, but leave it to people; returns what it is called then."""
        aside = name + ".damaged"
        os.replace(name, aside, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        return aside

    async def flush(self) -> None:
        """Have all that is written so far on the disk."""
        if not self._is_dirty:
            return
        self._is_dirty = False
        retired, self._retired = self._retired, []
        files = [*retired, os.dup(self._file)]
        try:
            for file in files:
                await trio.to_thread.run_sync(_sync, file)
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


def _trusted() -> tuple[int, int]:
    """Whose files are believed: this user's, and root's, who can change all others too."""
    return os.geteuid(), 0


def _is_link(name: str, directory: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _check_private(path: Path, directory: int) -> None:
    """Nobody else may change the directory, or put another in its place. Raises StateError."""
    about = os.fstat(directory)
    if about.st_uid not in _trusted():
        raise StateError(f"{path} is of user {about.st_uid}, who could change what is kept there")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateError(
            f"others may write to {path} (mode {stat.S_IMODE(about.st_mode):04o}): "
            "allow that to its user only, or name a directory that is not there yet"
        )
    absolute, real = path.absolute(), path.resolve()
    for above in {absolute, *absolute.parents, *real.parents}:
        about = os.lstat(above)
        if about.st_uid not in _trusted():
            raise StateError(
                f"{path}: {above} is of user {about.st_uid}, who could put another in its place"
            )
        if not stat.S_ISLNK(about.st_mode) and _may_move(about):
            raise StateError(
                f"{path}: others may write to {above} (mode {stat.S_IMODE(about.st_mode):04o}), "
                "and could put another in its place"
            )


def _may_move(about: os.stat_result) -> bool:
    """Whether others may rename what is in that directory.

    Its group may where this process is in it: so it is with volumes of containers.
    """
    if about.st_mode & stat.S_ISVTX:
        return False
    own_group = about.st_gid in (os.getegid(), *os.getgroups())
    return bool(about.st_mode & (stat.S_IWOTH | (0 if own_group else stat.S_IWGRP)))
