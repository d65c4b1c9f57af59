"""What peers may have written stays on one line, and short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.wire.reasons import LONGEST, printable, reason_of, shortened


def test_what_is_printable_stays() -> None:
    assert printable("Zeit überschritten: 5 s") == "Zeit überschritten: 5 s"
    assert shortened("x" * LONGEST) == "x" * LONGEST


def test_what_is_not_is_escaped_and_what_is_long_is_cut() -> None:
    assert printable("a\nb\x1b[31m\u2028\ud800") == r"a\nb\x1b[31m\u2028\ud800"
    assert shortened("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"
    assert len(shortened("\0" * 10**6)) == LONGEST


@given(st.text())
def test_it_is_always_one_line(text: str) -> None:
    short = shortened(text)
    assert short.isprintable()
    assert len(short) <= LONGEST
    short.encode()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file", "/secret"), "No such file"),
        (OSError("the name has no address"), "the name has no address"),
        (OSError(5, ""), "[Errno 5] "),
        (ValueError("no number"), "no number"),
    ],
)
def test_what_an_error_says(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
