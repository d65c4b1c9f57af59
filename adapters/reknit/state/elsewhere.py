"""Sessions that another number of workers has left: each has a directory in that of --state-dir.

    sessions-…                   of a proxy that is one process
    worker-2-of-4/sessions-…     of the worker with that number

Whoever starts reads what is elsewhere, takes what is its own, and writes that down in its own
directory. Only when all have done so is what is elsewhere removed, and only then is served: so a
crash on the way leaves each session as it was, here or there or at both places.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from logging import ERROR
from pathlib import Path

import trio
from reknit_core.durable.records import JournalError
from reknit_core.durable.revival import Replay
from reknit_core.proxy.share import ALONE, Share
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import tell
from reknit.settings.options import NEVER
from reknit.state.directory import StateDir, StateError

_NAME = re.compile(r"worker-(\d+)-of-(\d+)")

HANDOVER = 2.0  # seconds that a process which hands over may take to let go of a directory
POLL = 0.005  # seconds between two looks at whether it has


def part_of(path: Path, share: Share) -> Path:
    """The directory in which that worker keeps its sessions."""
    return path if share.of == 1 else path / f"worker-{share.number}-of-{share.of}"


def find(path: Path, of: int) -> list[Path]:
    """The directories that so many workers don't have, and some had before. Raises StateError."""
    try:
        found = [] if of == 1 else [path]
        for each in sorted(path.iterdir()):
            match = _NAME.fullmatch(each.name)
            if match and int(match[2]) != of:
                found.append(each)
    except OSError as error:
        raise StateError(f"can't use {path}: {reason_of(error)}") from None
    return found


@dataclass(slots=True)
class Elsewhere:
    """What there is beside the own directory, for the worker with that share.

    `damaged`: files that can't be read to their end, once read() has met them.
    """

    directories: list[StateDir] = field(default_factory=list)
    share: Share = ALONE
    damaged: dict[str, JournalError] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[Path], share: Share) -> "Elsewhere":
        """In the directories of these names. Raises StateError."""
        return cls([StateDir(path, NEVER) for path in paths], share)

    def lock(self) -> None:
        """Make it this process's own. Raises StateError if a part of it is another's."""
        for directory in self.directories:
            directory.lock()

    def read(self) -> Replay:
        """The sessions that belong to this one. Raises OSError or StateError."""
        found = Replay()
        for directory in self.directories:
            replay = Replay()
            for _, name in directory.files():
                problem = replay.read(directory.read(name))
                if problem is not None:
                    self.damaged[str(directory.path / name)] = problem
            if self.share.number == 0:  # whose they were isn't known any more: let one say it
                found.given_up |= replay.given_up
            found.kept |= {
                key: kept
                for key, kept in replay.kept.items()
                if self.share.owns(kept.form.pinned.connection_id)
            }
        return found

    def remove(self, damaged: Iterable[str] = ()) -> None:
        """Remove what is there: all has it now. Damaged files are kept for people.

        Raises OSError or StateError.
        """
        for directory in self.directories:
            for _, name in directory.files():
                if str(directory.path / name) in damaged:
                    directory.set_aside(name)
                else:
                    directory.remove(name)

    def close(self) -> None:
        """Let go of it."""
        for directory in self.directories:
            directory.close()


NOWHERE = Elsewhere()


async def clear(elsewhere: Elsewhere) -> None:
    """Remove what processes have left there whose sessions have been taken over.

    They are letting go of it now. What can't be removed is told: the next start would read it.
    """
    try:
        with trio.move_on_after(HANDOVER):
            while not _locks(elsewhere):
                await trio.sleep(POLL)
        elsewhere.lock()
        elsewhere.remove()
    except (OSError, StateError) as error:
        text = "sessions that have moved can't be removed, and may come back: %(reason)s"
        tell(ERROR, "state_left", text, reason=reason_of(error))
    finally:
        elsewhere.close()


def _locks(elsewhere: Elsewhere) -> bool:
    try:
        elsewhere.lock()
    except StateError:
        return False
    return True
