"""Keeps the sessions in a directory, and brings those back that a dead process has left there.

If the directory can't be written to any more, the sessions go on without it: a full disk must not
end what would live without a disk. The log, the metrics and /readyz say so, and it is tried again.
"""

from collections.abc import Callable, Iterable, Sequence
from logging import ERROR, INFO, WARNING
from pathlib import Path
from time import time

import trio
from reknit_core import ContextStateMachine
from reknit_core.durable.journal import Journal
from reknit_core.durable.records import JournalError
from reknit_core.durable.revival import Replay
from reknit_core.proxy.contexts import Contexts
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import LOG, tell
from reknit.settings.addresses import Address
from reknit.settings.options import ALWAYS, NEVER
from reknit.state.directory import StateDir, StateError
from reknit.state.elsewhere import HANDOVER, NOWHERE, POLL, Elsewhere
from reknit.state.reviving import Reviving
from reknit.state.store import Home, Measure

RETRY = 10.0  # seconds after which a directory that couldn't be written to is tried again


def keep_in(directory: StateDir) -> Callable[[Contexts, Home], "DirectoryStore"]:
    """Makes a store that keeps sessions there."""
    return lambda contexts, home: DirectoryStore(directory, contexts)


class DirectoryStore:
    """Keeps `contexts` in a directory, once restore() or take_over() has begun it.

    `trouble`: why they are not kept, for people; empty: they are.
    """

    def __init__(self, directory: StateDir, contexts: Contexts) -> None:
        self._directory = directory
        self._contexts = contexts
        self._journal = Journal()
        self._retry_at = 0.0
        self._is_open = True
        self.trouble = ""

    @property
    def remote(self) -> None:
        """All is written once commit() returns."""
        return None

    @property
    def path(self) -> Path:
        """The directory."""
        return self._directory.path

    @property
    def name(self) -> str:
        """Its name, the same in every process."""
        return str(self.path.resolve())

    def measures(self) -> Iterable[Measure]:
        """How it does."""
        yield Measure("reknit_state_bytes", "Bytes in --state-dir.", self._journal.size)
        text = "1 while sessions are not kept in --state-dir, as it can't be written to."
        yield Measure("reknit_state_trouble", text, bool(self.trouble))

    def commit(self, contexts: Iterable[ContextStateMachine], now: float) -> None:
        """Write down what is new of these contexts."""
        if not self._is_open or (self.trouble and now < self._retry_at):
            return
        try:
            if self.trouble:
                self._begin(now)
            else:
                self._write(contexts, now)
                self._directory.keep_from(self._journal.needed_from)
        except (OSError, StateError) as error:
            self._go_without(error, now)
        except Exception:  # a bug of ours must not end the sessions
            LOG.exception("sessions can't be kept")
            self._go_without(StateError("an error of the proxy"), now)

    def forget(self, context: ContextStateMachine) -> None:
        """The session is over."""
        self._journal.forget(context)

    async def begin(self, addresses: Sequence[Address]) -> None:
        """It is this process's own since restore()."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See to it that what is written gets onto the disk in time, until cancelled."""
        task_status.started()
        if self._directory.sync in (ALWAYS, NEVER):
            return
        while True:
            await trio.sleep(self._directory.sync)
            try:
                await self._directory.flush()
            except OSError as error:
                self._go_without(error, trio.current_time())

    # -- The beginning and the end -------------------------------------------------------------

    def restore(self, elsewhere: Elsewhere = NOWHERE) -> list[ContextStateMachine]:
        """The sessions that a process has left which died. Raises StateError.

        Its own, and those `elsewhere` that are to be its own from now on.
        """
        try:
            self._directory.lock()
            return self._restore(trio.current_time(), elsewhere)
        except OSError as error:
            raise StateError(f"can't use {self.path}: {reason_of(error)}") from None

    async def take_over(self) -> None:
        """Keep the sessions of a process that lives, and is letting go of the directory now."""
        with trio.move_on_after(HANDOVER):
            while not self._is_mine():
                await trio.sleep(POLL)
        now = trio.current_time()
        try:
            self._begin(now)
        except (OSError, StateError) as error:
            self._go_without(error, now)

    async def end(self) -> None:
        """Keep nothing any more, and leave nothing, as no session goes on."""
        self.close(remove=True)

    def close(self, *, remove: bool = False) -> None:
        """Keep nothing any more; `remove`: and leave nothing."""
        if not self._is_open:
            return
        self._is_open = False
        if remove and self._is_mine():
            self._clear()
        self._directory.close()

    def _clear(self) -> None:
        try:
            for _, name in self._directory.files():
                self._directory.remove(name)
        except OSError as error:
            text = "what is in %(path)s can't be removed: %(reason)s"
            reason = reason_of(error)
            tell(ERROR, "state_left", text, path=str(self.path), reason=reason)

    def _is_mine(self) -> bool:
        try:
            self._directory.lock()
        except StateError:
            return False
        return True

    def _restore(self, now: float, elsewhere: Elsewhere) -> list[ContextStateMachine]:
        replay = Replay()
        problems = [
            (name, problem)
            for _, name in self._directory.files()
            if (problem := replay.read(self._directory.read(name))) is not None
        ]
        found = elsewhere.read()
        reviving = Reviving(self._contexts, str(self.path))
        contexts = reviving.revive({**found.kept, **replay.kept}.values(), now)
        self._write_anew(contexts, now)
        for name, problem in problems:
            self._tell_problem(name, problem)
        for name, problem in elsewhere.damaged.items():
            self._tell_elsewhere(name, problem)
        reviving.tell(len(replay.given_up) + len(found.given_up - replay.kept.keys()))
        self._directory.keep_from(self._journal.needed_from)
        seconds = trio.current_time() - now
        text = "restored %(sessions)d sessions from %(path)s in %(seconds).3f seconds"
        number = len(contexts)
        tell(INFO, "restored", text, sessions=number, path=str(self.path), seconds=seconds)
        return contexts

    def _tell_problem(self, name: str, problem: JournalError) -> None:
        position, reason = problem.position, str(problem)
        if problem.is_torn:
            text = "%(file)s is cut off at byte %(position)d: %(reason)s"
            tell(WARNING, "state_torn", text, file=name, position=position, reason=reason)
            return
        text = (
            "%(file)s can't be read from byte %(position)d on: %(reason)s. "
            "What sessions did after that is lost; the file is kept as %(aside)s"
        )
        aside = self._directory.set_aside(name)
        fields = {"file": name, "reason": reason, "aside": aside}
        tell(ERROR, "state_damaged", text, position=position, **fields)

    def _tell_elsewhere(self, name: str, problem: JournalError) -> None:
        text = "%(file)s can't be read from byte %(position)d on: %(reason)s"
        level = WARNING if problem.is_torn else ERROR
        fields = {"file": name, "reason": str(problem)}
        tell(level, "state_damaged", text, position=problem.position, **fields)

    # -- Writing -------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        """Write all sessions down, whatever was before."""
        self._directory.lock()
        self._write_anew(list(self._contexts), now)
        self._directory.keep_from(self._journal.needed_from)
        if self.trouble:
            self.trouble = ""
            tell(WARNING, "state_again", "sessions are kept in %(path)s again", path=str(self.path))

    def _write_anew(self, contexts: list[ContextStateMachine], now: float) -> None:
        """Write these sessions down in a file behind those that are there."""
        files = list(self._directory.files())
        last = files[-1][0] if files else 0
        past = sum(self._directory.size(name) for _, name in files)
        self._journal = Journal(last + 1, past)
        for context in contexts:
            self._journal.adopt(context)
        try:
            self._write(contexts, now)
        except OSError:
            self._directory.take_back(last + 1)  # leave the room to others
            raise

    def _write(self, contexts: Iterable[ContextStateMachine], now: float) -> None:
        for file, data in self._journal.commit(contexts, now, time()):
            self._directory.append(file, data)

    def _go_without(self, error: Exception, now: float) -> None:
        reason = reason_of(error)
        if not self.trouble:
            text = "sessions are not kept in %(path)s, and go on without: %(reason)s"
            tell(ERROR, "state_trouble", text, path=str(self.path), reason=reason)
        self.trouble = reason
        self._retry_at = now + RETRY
