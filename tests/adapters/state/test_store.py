"""The directory in which sessions are kept, and what becomes of them when it fails."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from time import time

import pytest
import trio
from frame_bytes import FIN, TEXT, frame
from reknit.settings.config import ConfigError, from_command_line
from reknit.settings.options import ALWAYS, NEVER
from reknit.state import reviving
from reknit.state.directory import StateDir, StateError
from reknit.state.directory_store import RETRY, DirectoryStore
from reknit_core.policy.policy import GraceFor, Policy
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, lose_client, session


@contextmanager
def full_disk() -> Iterator[None]:
    """Files can't grow any more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def kept(folder: Path) -> dict[str, int]:
    """The files, and their sizes."""
    return {path.name: path.stat().st_size for path in sorted(folder.glob("sessions-*"))}


def open_files() -> int:
    """How many this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


async def fill_disk(folder: Path) -> None:
    sessions = contexts()
    store = DirectoryStore(StateDir(folder, ALWAYS), sessions)
    assert store.restore() == []
    first = session(sessions)
    accept(first)
    store.commit([first], 0.0)
    before = kept(folder)
    with full_disk():
        first.receive_data(Side.CLIENT, frame(FIN | TEXT, b"lost?", masked=True), 1.0)
        store.commit([first], 1.0)
        assert store.trouble == "File too large"
        second = session(sessions)
        accept(second)
        store.commit([second], 1.0 + RETRY)
        assert store.trouble
    store.commit([second], 1.5 + RETRY)  # not yet
    assert store.trouble
    assert before.items() <= kept(folder).items()
    store.commit([second], 2.0 + 2 * RETRY)
    assert not store.trouble
    assert set(kept(folder)).isdisjoint(before)
    store.close()
    again = DirectoryStore(StateDir(folder, NEVER), contexts())
    revived = again.restore()
    assert len(revived) == 2  # with what came while nothing could be written
    assert sum(context.client.queue.count for context in revived) == 1
    again.close(remove=True)
    assert not kept(folder)


def test_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    trio.run(fill_disk, tmp_path)


async def keep_trying(folder: Path) -> None:
    sessions = contexts()
    store = DirectoryStore(StateDir(folder, 0.01), sessions)
    store.restore()
    context = session(sessions)
    accept(context)
    store.commit([context], 0.0)
    before, descriptors = kept(folder), open_files()
    with full_disk():
        for attempt in range(1, 4):
            data = frame(FIN | TEXT, b"more", masked=True)
            context.receive_data(Side.CLIENT, data, attempt * RETRY)
            store.commit([context], attempt * RETRY)
            assert store.trouble
            assert kept(folder) == before
            assert open_files() <= descriptors
    store.commit([context], 4 * RETRY)
    assert not store.trouble
    assert list(kept(folder)) == ["sessions-00000002"]
    store.close(remove=True)


def test_attempts_on_a_full_disk_leave_nothing(tmp_path: Path) -> None:
    trio.run(keep_trying, tmp_path)


async def start_on_a_full_disk(folder: Path) -> None:
    sessions = contexts()
    store = DirectoryStore(StateDir(folder, NEVER), sessions)
    store.restore()
    context = session(sessions)
    accept(context)
    store.commit([context], 0.0)
    store.close()
    before = kept(folder)
    state = StateDir(folder, NEVER)
    with full_disk(), pytest.raises(StateError):
        DirectoryStore(state, contexts()).restore()
    state.close()
    assert kept(folder) == before


def test_a_start_on_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    trio.run(start_on_a_full_disk, tmp_path)


async def end_without_directory(folder: Path) -> None:
    store = DirectoryStore(StateDir(folder, NEVER), contexts())
    store.restore()
    rmtree(folder)
    store.close(remove=True)


def test_a_directory_that_is_gone_is_no_error_at_the_end(tmp_path: Path) -> None:
    trio.run(end_without_directory, tmp_path / "state")


async def end_with_what_can_not_go(folder: Path) -> None:
    store = DirectoryStore(StateDir(folder, NEVER), contexts())
    store.restore()
    (folder / "sessions-00000007").mkdir()
    store.close(remove=True)


def test_what_can_not_be_removed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trio.run(end_with_what_can_not_go, tmp_path / "state")
    assert f"what is in {tmp_path}/state can't be removed: " in caplog.text


async def flushed(folder: Path) -> None:
    sessions = contexts()
    store = DirectoryStore(StateDir(folder, 0.01), sessions)
    store.restore()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        for _ in range(3):
            context = session(sessions)
            accept(context)
            store.commit([context], 0.0)
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert not store.trouble
    store.close(remove=True)


def test_what_is_written_is_forced_to_the_disk_now_and_then(tmp_path: Path) -> None:
    trio.run(flushed, tmp_path)


def test_a_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StateError, match=rf"can't use {file}: it is not a directory"):
        StateDir(file, NEVER)
    with pytest.raises(StateError, match=rf"can't use {file}/below: it is not a directory"):
        StateDir(file / "below", NEVER)


# -- Who else may be there ---------------------------------------------------------------------


def make(folder: Path, mode: int) -> Path:
    folder.mkdir()
    folder.chmod(mode)
    return folder


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o2775])
def test_a_directory_to_which_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = make(tmp_path / "state", mode)
    descriptors = open_files()
    with pytest.raises(StateError, match=rf"others may write to {folder} \(mode 0?{mode:04o}\)"):
        StateDir(folder, NEVER)
    assert open_files() == descriptors
    folder.chmod(0o755)  # to read its names is harmless
    StateDir(folder, NEVER).close()


def test_a_directory_that_others_could_put_another_for_is_refused(tmp_path: Path) -> None:
    open_to_all = make(tmp_path / "open", 0o777)
    with pytest.raises(StateError, match=rf"others may write to {open_to_all} \(mode 0777\)"):
        StateDir(open_to_all / "state", NEVER)
    (tmp_path / "link").symlink_to(open_to_all / "state")
    with pytest.raises(StateError, match=rf"others may write to {open_to_all}"):
        StateDir(tmp_path / "link", NEVER)
    open_to_all.chmod(0o1777)  # as /tmp is: there they can't
    StateDir(open_to_all / "state", NEVER).close()
    open_to_all.chmod(0o775)  # of a group that is this process's own, as a container's volume
    StateDir(open_to_all / "state", NEVER).close()
    StateDir(tmp_path / "link", NEVER).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_others_own_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "state", 0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(StateError, match=rf"{folder} is of user 12345"):
        StateDir(folder, NEVER)
    os.chown(folder, 0, 0)
    (folder / "lock").touch()
    os.chown(folder / "lock", 12345, 12345)
    with pytest.raises(StateError, match=rf"{folder}/lock is no file, or not this user's"):
        StateDir(folder, NEVER)
    above = make(tmp_path / "above", 0o775)
    os.chown(above, 0, 12345)  # a group in which others are
    with pytest.raises(StateError, match=rf"others may write to {above}"):
        StateDir(above / "state", NEVER)
    above.chmod(0o755)
    os.chown(above, 12345, 0)
    with pytest.raises(StateError, match=rf"{above} is of user 12345"):
        StateDir(above / "state", NEVER)


def put_link(path: Path) -> None:
    other = path.parent.parent / "other"
    other.touch()
    path.symlink_to(other)


POLICY = Policy(client_grace=60.0, grace_for=GraceFor.ALL)
ODD = {
    "link": put_link,
    "dangling link": lambda path: path.symlink_to("/nowhere/at/all"),
    "pipe": os.mkfifo,
    "directory": lambda path: path.mkdir(),
}


async def restored(folder: Path) -> None:
    DirectoryStore(StateDir(folder, NEVER), contexts()).restore()


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["lock", "sessions-00000003"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, name: str, kind: str) -> None:
    """It neither leads elsewhere nor waits for somebody at its other end."""
    folder = make(tmp_path / "state", 0o700)
    ODD[kind](folder / name)
    with pytest.raises(StateError, match=f"{folder}"):
        trio.run(restored, folder)
    assert not (tmp_path / "other").exists() or (tmp_path / "other").read_bytes() == b""


async def restored_late(folder: Path) -> None:
    sessions = contexts(POLICY)
    store = DirectoryStore(StateDir(folder, NEVER), sessions)
    store.restore()
    context = session(sessions)
    accept(context)
    lose_client(context)
    context.receive_data(Side.SERVER, frame(FIN | TEXT, b"late", masked=False), 0.0)
    store.commit([context], 0.0)
    store.close()
    begun = time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reviving, "time", lambda: begun + 61.0)
        for _ in range(2):
            again = DirectoryStore(StateDir(folder, NEVER), contexts(POLICY))
            assert again.restore() == []
            again.close()


def test_a_grace_that_has_ended_meanwhile_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "reknit")
    trio.run(restored_late, tmp_path / "state")
    assert caplog.text.count("1 session has ended meanwhile, 1 message lost") == 1


# -- The disk ----------------------------------------------------------------------------------


NO_FDATASYNC = """
import os, sys
del os.fdatasync
from reknit.state import directory_store as store_module
from reknit.state.directory import StateDir
state = StateDir(__import__("pathlib").Path(sys.argv[1]), 0.0)
state.append(1, bytearray(b"x"))
"""


def test_a_system_may_have_no_fdatasync(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", NO_FDATASYNC, str(tmp_path / "state")], check=True)
    assert kept(tmp_path / "state") == {"sessions-00000001": 1}


def test_how_soon_things_are_on_the_disk() -> None:
    for text, seconds in (("always", ALWAYS), ("OFF", NEVER), ("0.5", 0.5)):
        assert from_command_line({"state_sync": text})["state_sync"].value == seconds
    for wrong in ("0", "-1", "inf", "nan", "never", "4000"):
        with pytest.raises(ConfigError, match=r"always, off, or 10ms to 1h "):
            from_command_line({"state_sync": wrong})
