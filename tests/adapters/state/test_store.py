"""The directory in which sessions are kept, and what becomes of them when it fails."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import pytest
import trio
from frame_bytes import FIN, TEXT, frame
from reknit.settings.config import ConfigError, from_command_line
from reknit.settings.options import ALWAYS, NEVER
from reknit.state.directory import StateDir, StateError
from reknit.state.store import RETRY, Store
from reknit_core.events import Side
from sessions_by_hand import accept, contexts, session


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
    store = Store(StateDir(folder, ALWAYS), sessions)
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
    store.close(remove=False)
    again = Store(StateDir(folder, NEVER), contexts())
    revived = again.restore()
    assert len(revived) == 2  # with what came while nothing could be written
    assert sum(context.client.queue.count for context in revived) == 1
    again.close(remove=True)
    assert not kept(folder)


def test_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    trio.run(fill_disk, tmp_path)


async def keep_trying(folder: Path) -> None:
    sessions = contexts()
    store = Store(StateDir(folder, 0.01), sessions)
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
    store = Store(StateDir(folder, NEVER), sessions)
    store.restore()
    context = session(sessions)
    accept(context)
    store.commit([context], 0.0)
    store.close(remove=False)
    before = kept(folder)
    state = StateDir(folder, NEVER)
    with full_disk(), pytest.raises(StateError):
        Store(state, contexts()).restore()
    state.close()
    assert kept(folder) == before


def test_a_start_on_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    trio.run(start_on_a_full_disk, tmp_path)


async def end_without_directory(folder: Path) -> None:
    store = Store(StateDir(folder, NEVER), contexts())
    store.restore()
    rmtree(folder)
    store.close(remove=True)


def test_a_directory_that_is_gone_is_no_error_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trio.run(end_without_directory, tmp_path / "state")
    assert f"what is in {tmp_path}/state can't be removed: No such file" in caplog.text


async def flushed(folder: Path) -> None:
    sessions = contexts()
    store = Store(StateDir(folder, 0.01), sessions)
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
    with pytest.raises(StateError, match=rf"can't use {file}: File exists"):
        StateDir(file, NEVER)
    with pytest.raises(StateError, match=rf"can't use {file}/below: Not a directory"):
        StateDir(file / "below", NEVER)


def test_how_soon_things_are_on_the_disk() -> None:
    for text, seconds in (("always", ALWAYS), ("OFF", NEVER), ("0.5", 0.5)):
        assert from_command_line({"state_sync": text})["state_sync"].value == seconds
    for wrong in ("0", "-1", "inf", "nan", "never", "4000"):
        with pytest.raises(ConfigError, match=r"always, 0.01 to 3600 seconds, or off"):
            from_command_line({"state_sync": wrong})
