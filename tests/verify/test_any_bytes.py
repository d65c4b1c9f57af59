"""The targets of the fuzzing of bytes hold, and they can fail."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import reknit_core.proxy.plain_http
import reknit_core.terms.pinned
import reknit_core.wire.handshake
from compiled_form import REPLACES_A_FUNCTION
from hypothesis import given, settings
from hypothesis import strategies as st
from reknit.verify.fuzz.bytes import SEEDS, TARGETS, broken
from reknit.verify.fuzz.conversations import NAMES as WORDS_OF
from reknit.verify.fuzz.plain import BETWEEN
from reknit_core.dialect.byte_stream import Piece, StreamReader
from reknit_core.dialect.interpreter import Interpreter, Verdict
from reknit_core.dialect.ruled import rules_file
from reknit_core.leg.retry import Retry
from reknit_core.play import recording
from reknit_core.play.player import parse
from reknit_core.wire.headers import HeaderList
from reknit_core.wire.heads import shortcut

TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n"
FOUND = (  # that once broke something
    ("answer", b"\xff" + b"HTTP/1.1 100 Continue\r\n\r\n" * 45_000),
    ("frames", b""),
    ("plain", b"\0GET / HTTP/0.9\r\n\r\n" + BETWEEN + TRAILERS),
)
BREAKS = "from reknit_core.wire.heads import shortcut; shortcut._REQUEST = None; "


@st.composite
def changed(draw: st.DrawFn, target: str) -> bytes:
    """A seed with some bytes of it replaced, left out, added or repeated."""
    data = draw(st.sampled_from(SEEDS[target]))[:2000]
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        end = min(end, start + 40)
        data = (
            data[:start] + draw(st.binary(max_size=8) | st.just(data[start:end] * 2)) + data[end:]
        )
    return data


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=200)
@given(data=st.data())
def test_any_bytes_hold(target: str, data: st.DataObject) -> None:
    some = data.draw(st.binary(max_size=400) | changed(target))
    assert broken(target, some) is None


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_fuzzer_begins_with_holds(target: str) -> None:
    for seed in SEEDS[target]:
        assert broken(target, seed) is None


@pytest.mark.parametrize(("target", "data"), FOUND)
def test_what_was_found_holds(target: str, data: bytes) -> None:
    assert broken(target, data) is None


# -- They can fail -----------------------------------------------------------------------------


@REPLACES_A_FUNCTION
def test_an_injected_header_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def injects(headers: HeaderList, id_header: bytes) -> HeaderList:
        return ((b"content-length", b"1"),)

    monkeypatch.setattr(reknit_core.terms.pinned, "for_server", injects)
    assert "a body in a request" in (broken("request", SEEDS["request"][0]) or "")


@pytest.mark.parametrize("target", ["request", "answer"])
def test_a_shortcut_that_takes_more_is_found(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    length = SEEDS[target][0].replace(b"\r\n\r\n", b"\r\nContent-Length: 7, 7\r\n\r\n", 1)
    origins = SEEDS[target][0].replace(b"\r\n\r\n", b"\r\nOrigin: a\r\nOrigin: b\r\n\r\n", 1)
    assert broken(target, length) is None
    assert broken(target, origins) is None
    monkeypatch.setattr(shortcut, "_ONCE", shortcut._ONCE - {b"origin", b"content-length"})
    monkeypatch.setattr(shortcut, "_SPACE_AT_END", b"\n\n")
    spaces = SEEDS[target][0].replace(b"\r\n\r\n", b"\r\nX: y \r\n\r\n", 1)
    assert "the shortcut takes" in (broken(target, spaces) or "")
    if target == "request":
        assert "the shortcut takes" in (broken(target, origins) or "")


def test_a_body_that_goes_on_for_the_next_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_framing(headers: HeaderList) -> HeaderList:
        return ()

    monkeypatch.setattr(reknit_core.proxy.plain_http, "_framing", no_framing)
    assert "Error" in (broken("plain", SEEDS["plain"][1]) or "")


def test_an_answer_without_a_limit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reknit_core.wire.handshake, "MAX_ANSWER", 10**9)
    assert "of an answer kept" in (broken(*FOUND[0]) or "")


@REPLACES_A_FUNCTION
def test_a_failure_in_a_session_is_a_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up_at_once(self: Retry, *what: object) -> None:
        raise ZeroDivisionError("once too often")

    monkeypatch.setattr(Retry, "next_dial", gives_up_at_once)
    found = broken("session", b"\x00\x00\x00\x01\x01\x06")  # the server is lost
    assert found is not None
    assert found.startswith("# Broken: ZeroDivisionError: once too often\n")
    assert parse(found).lines[-1].step is not None


@REPLACES_A_FUNCTION
def test_a_stream_that_is_read_otherwise_when_it_is_cut_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = StreamReader.read

    def forgets_the_half(self: StreamReader[object], data: bytes) -> Iterator[Piece[object]]:
        self._held = b""
        return read(self, data)

    monkeypatch.setattr(StreamReader, "half", b"")
    monkeypatch.setattr(StreamReader, "read", forgets_the_half)
    assert "cut, " in (broken("streams", SEEDS["streams"][0]) or "")


@REPLACES_A_FUNCTION
def test_a_half_that_is_forgotten_in_another_process_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscribe = b"\2\0\0\3\x82\6\0", b"\2\0\0\5\1\0\1a\1"  # in two messages
    half = bytes((WORDS_OF.index("mqtt"),)) + b"".join(subscribe) + b"\0\0\2\0" + b"\1\0"
    assert broken("dialects", half) is None
    monkeypatch.setattr(StreamReader, "freeze", lambda self: [b"", 0])
    assert "a taken over session" in (broken("dialects", half) or "")


def test_a_servers_word_that_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interpreter, "from_server", lambda *given, **named: Verdict(None))
    assert any("left out" in (broken("dialects", seed) or "") for seed in SEEDS["dialects"])


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("target", "data", "place"),
    [
        ("rules", bytes(60), (rules_file, "read_path")),
        ("recordings", SEEDS["recordings"][0], (recording, "b64decode")),
    ],
)
def test_a_file_that_ends_in_an_exception_is_found(
    target: str, data: bytes, place: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object, **__: object) -> None:
        raise KeyError("oh")

    monkeypatch.setattr(*place, raises)
    assert "KeyError: 'oh'" in (broken(target, data) or "")


def test_a_failure_elsewhere_is_a_program_that_shows_it() -> None:
    look = (
        "from reknit.verify.fuzz.bytes import SEEDS, broken\n"
        "print(broken('request', SEEDS['request'][0]))"
    )
    found = python(BREAKS + look).stdout
    assert found.startswith("# AttributeError: ")
    assert "AttributeError" in python(f"{BREAKS}\n{found}").stderr
    mended = python(found)
    assert (mended.returncode, mended.stderr) == (0, "")


# -- Guided by what code they reach ------------------------------------------------------------


def test_a_guided_fuzzer_goes_on_until_it_finds_something(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    program = f"from reknit.verify.fuzz.guided import main; main('request', '1', {str(tmp_path)!r})"
    held = python(program)
    assert (held.returncode, held.stdout) == (0, ""), held.stderr
    assert len(list(tmp_path.iterdir())) > len(SEEDS["request"])
    found = python(BREAKS + program)
    assert (found.returncode, found.stdout[:16]) == (1, "# AttributeError"), found.stderr
