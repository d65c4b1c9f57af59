"""What the proxy asks of permessage-deflate (RFC 7692, section 7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.wire import deflate

S_ALONE = "server_no_context_takeover"
C_ALONE = "client_no_context_takeover"
S_BITS = "server_max_window_bits"
C_BITS = "client_max_window_bits"


@pytest.mark.parametrize(
    ("later", "agreed", "fits"),
    [
        ((S_ALONE,), (S_ALONE,), True),
        ((S_ALONE,), (C_ALONE, S_ALONE), True),
        ((C_ALONE, S_ALONE), (S_ALONE,), True),
        ((f"{S_BITS}=9",), (f"{S_BITS}=10",), True),
        ((f"{S_BITS}=10",), (f"{S_BITS}=9",), False),
        ((), (f"{S_BITS}=9",), False),
        ((f"{S_BITS}=9",), (), True),
        ((f"{C_BITS}=10",), (f"{C_BITS}=9",), True),
        ((f"{C_BITS}=9",), (f"{C_BITS}=10",), False),
        ((f"{C_BITS}=9",), (), False),
        ((), (f"{C_BITS}=9",), True),
        ((f"{C_BITS}=15", f"{S_BITS}=15"), (), True),
    ],
)
def test_what_a_later_answer_may_be(
    later: tuple[str, ...], agreed: tuple[str, ...], fits: bool
) -> None:
    assert deflate.fits(later, agreed) is fits


@pytest.mark.parametrize(
    ("extension", "name", "parameters"),
    [
        ("permessage-deflate", "permessage-deflate", ()),
        ("  PerMessage-Deflate ; ", "permessage-deflate", ()),
        (f"permessage-deflate;{C_BITS}", "permessage-deflate", (C_BITS,)),
        (f"permessage-deflate; {S_BITS} = 10", "permessage-deflate", (f"{S_BITS}=10",)),
        (f'permessage-deflate; {S_BITS}="10"', "permessage-deflate", (f"{S_BITS}=10",)),
        (f"permessage-deflate; {S_BITS.upper()}=10", "permessage-deflate", (f"{S_BITS}=10",)),
        (f"permessage-deflate; {S_ALONE}; {C_ALONE}", "permessage-deflate", (C_ALONE, S_ALONE)),
        ("x-other; a=b=c", "x-other", ("a=b=c",)),
        ("", "", ()),
    ],
)
def test_parse(extension: str, name: str, parameters: tuple[str, ...]) -> None:
    assert deflate.parse(extension) == (name, parameters)


VALID_OFFERS = [
    ((), f"permessage-deflate; {S_ALONE}"),
    ((S_ALONE,), f"permessage-deflate; {S_ALONE}"),
    ((C_ALONE,), f"permessage-deflate; {C_ALONE}; {S_ALONE}"),
    ((C_BITS,), f"permessage-deflate; {C_BITS}; {S_ALONE}"),
    ((f"{C_BITS}=8",), f"permessage-deflate; {C_BITS}=8; {S_ALONE}"),
    ((f"{S_BITS}=15",), f"permessage-deflate; {S_BITS}=15; {S_ALONE}"),
    ((C_ALONE, S_BITS + "=9", S_ALONE), f"permessage-deflate; {C_ALONE}; {S_BITS}=9; {S_ALONE}"),
]
BAD_PARAMETERS = [
    (f"{S_ALONE}=1",),
    (f"{S_ALONE}=",),
    (S_BITS,),
    (f"{S_BITS}=7",),
    (f"{S_BITS}=16",),
    (f"{S_BITS}=08",),
    (f"{S_BITS}=9.5",),
    (f"{S_BITS}=-9",),
    (f"{S_BITS}=abc",),
    (f"{C_BITS}=7",),
    (f"{C_BITS}=16",),
    (S_ALONE, S_ALONE),
    (f"{C_BITS}=9", f"{C_BITS}=10"),
    (C_BITS, f"{C_BITS}=10"),
    ("unknown",),
    ("a b",),
    ("x\r\ny",),
]


@pytest.mark.parametrize(("parameters", "offered"), VALID_OFFERS)
def test_an_offer_asks_the_server_to_let_each_message_stand_alone(
    parameters: tuple[str, ...], offered: str
) -> None:
    extension = "; ".join(("permessage-deflate", *parameters))
    assert deflate.offer((extension,)) == offered


@pytest.mark.parametrize("parameters", BAD_PARAMETERS)
def test_an_offer_that_a_server_must_decline_is_left_out(parameters: tuple[str, ...]) -> None:
    extension = "; ".join(("permessage-deflate", *parameters))
    assert deflate.offer((extension,)) is None
    good = ("permessage-deflate; client_max_window_bits", extension, "permessage-deflate")
    expected = f"permessage-deflate; {C_BITS}; {S_ALONE}, permessage-deflate; {S_ALONE}"
    assert deflate.offer(good) == expected
    assert not deflate.admits((extension,), (S_ALONE,))


def test_other_extensions_are_not_offered() -> None:
    assert deflate.offer(()) is None
    assert deflate.offer(("x-webkit-deflate-frame", "permessage-bzip2; a=1")) is None
    both = ("x-other", "permessage-deflate")
    assert deflate.offer(both) == f"permessage-deflate; {S_ALONE}"


def test_no_compression_is_fine() -> None:
    assert deflate.accepted(()) is None


@pytest.mark.parametrize(
    ("answer", "parameters"),
    [
        (f"permessage-deflate; {S_ALONE}", (S_ALONE,)),
        (f"permessage-deflate; {S_ALONE}; {C_ALONE}", (C_ALONE, S_ALONE)),
        (f"permessage-deflate; {C_BITS}=9; {S_ALONE}", (f"{C_BITS}=9", S_ALONE)),
        (f'permessage-deflate; {S_ALONE}; {S_BITS}="12"', (f"{S_BITS}=12", S_ALONE)),
    ],
)
def test_an_answer_is_read(answer: str, parameters: tuple[str, ...]) -> None:
    assert deflate.accepted((answer,)) == parameters


@pytest.mark.parametrize("others", [(), (C_ALONE,), (f"{S_BITS}=10",), (f"{C_BITS}=10",)])
def test_an_answer_whose_messages_hang_together_is_refused(others: tuple[str, ...]) -> None:
    answer = "; ".join(("permessage-deflate", *others))
    with pytest.raises(ValueError, match="without server_no_context_takeover"):
        deflate.accepted((answer,))


@pytest.mark.parametrize("parameters", [*BAD_PARAMETERS, (C_BITS,)])
def test_an_answer_with_bad_parameters_is_refused(parameters: tuple[str, ...]) -> None:
    answer = "; ".join(("permessage-deflate", S_ALONE, *parameters))
    with pytest.raises(ValueError, match="was not offered"):
        deflate.accepted((answer,))


@pytest.mark.parametrize(
    "answer",
    [
        ("x-other",),
        (f"x-other; {S_ALONE}",),
        (f"permessage-deflate; {S_ALONE}", f"permessage-deflate; {S_ALONE}"),
        (f"permessage-deflate; {S_ALONE}", "x-other"),
    ],
)
def test_an_answer_with_another_extension_is_refused(answer: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="was not offered"):
        deflate.accepted(answer)


def test_the_client_is_asked_to_let_each_message_stand_alone() -> None:
    assert deflate.answer((S_ALONE,)) == f"permessage-deflate; {S_ALONE}; {C_ALONE}"
    both = (C_ALONE, f"{S_BITS}=10", S_ALONE)
    assert deflate.answer(both) == f"permessage-deflate; {C_ALONE}; {S_BITS}=10; {S_ALONE}"


@pytest.mark.parametrize(
    ("offered", "agreed", "allowed"),
    [
        ("", "", True),
        (C_ALONE, "", True),
        (C_BITS, "", True),
        (f"{C_BITS}=9", "", True),
        ("", C_ALONE, True),
        # The server may limit the client's window only where that was offered.
        ("", f"{C_BITS}=10", False),
        (C_BITS, f"{C_BITS}=10", True),
        (f"{C_BITS}=10", f"{C_BITS}=10", True),
        (f"{C_BITS}=12", f"{C_BITS}=10", True),
        (f"{C_BITS}=9", f"{C_BITS}=10", False),
        # It may limit its own window, and must where it was asked to.
        ("", f"{S_BITS}=10", True),
        (f"{S_BITS}=10", f"{S_BITS}=10", True),
        (f"{S_BITS}=12", f"{S_BITS}=9", True),
        (f"{S_BITS}=9", f"{S_BITS}=12", False),
        (f"{S_BITS}=9", f"{S_BITS}=10", False),
        (f"{S_BITS}=15", "", False),
        (f"{S_BITS}=9", "", False),
    ],
)
def test_which_returning_client_is_admitted(offered: str, agreed: str, allowed: bool) -> None:
    parameters = tuple(sorted(filter(None, (S_ALONE, agreed))))
    extension = f"permessage-deflate; {offered}"
    assert deflate.admits((extension,), parameters) is allowed
    assert deflate.admits(("x-other", "permessage-deflate; bad", extension), parameters) is allowed
    assert deflate.admits((f"x-other; {offered}",), parameters) is False
    assert deflate.admits((), parameters) is False


texts = st.text(st.characters(max_codepoint=255), max_size=30)
names = st.sampled_from([S_ALONE, C_ALONE, S_BITS, C_BITS, "unknown"])
values = st.sampled_from(["", "=8", "=15", "=16", "=08", '="9"', "=abc", "="])
forms = st.tuples(names, values).map("".join) | texts
extensions = st.lists(forms, max_size=3).map(
    lambda forms: "; ".join(("permessage-deflate", *forms))
)


@given(st.lists(extensions | texts, max_size=3), extensions)
def test_no_offer_and_no_answer_is_too_strange(offers: list[str], answer: str) -> None:
    offered = deflate.offer(tuple(offers))
    assert offered is None or set(offered) <= set("abcdefghijklmnopqrstuvwxyz-_;=, 0123456789")
    try:
        agreed = deflate.accepted((answer,))
    except ValueError:
        return
    assert agreed is not None
    admitted = deflate.admits(tuple(offers), agreed)
    assert not admitted or offered
