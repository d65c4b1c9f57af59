"""The beginning of a connection between two nodes."""

import hmac

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.cluster.preface import (
    MAX_PREFACE,
    RANDOM_BYTES,
    Answer,
    Called,
    Caller,
    ClientPreface,
    Preface,
    PrefaceError,
    ProbePreface,
    PromisePreface,
)
from reknit_core.cluster.secret import Secret
from reknit_core.proxy.arrival import Arrival

KEY = Secret("a secret that nobody else knows at all").for_links
OTHER_KEY = Secret("a secret that nobody else knows at al").for_links
CLIENT = ClientPreface(
    "a", "b", "some-id", False, Arrival("192.0.2.1", b"GET / HTTP/1.1\r\n\r\n", True)
)
PREFACES = (CLIENT, PromisePreface("a", "b", {"book": 3}), ProbePreface("a", "b"))
NONCES = (b"1" * RANDOM_BYTES, b"2" * RANDOM_BYTES)

sizes = st.lists(st.integers(1, 60), min_size=1)


def make(preface: Preface = CLIENT, *, called_key: bytes = KEY) -> tuple[Caller, Called]:
    return Caller(KEY, NONCES[0], preface), Called(called_key, NONCES[1])


def feed(side: Caller | Called, data: bytes, sizes: list[int]) -> object:
    """What comes of all of it, in pieces of these sizes."""
    outcome: object = None
    number = 0
    while data:
        assert outcome is None, "it goes on before all has come"
        size = sizes[number % len(sizes)]
        outcome = side.receive_data(data[:size])
        data = data[size:]
        number += 1
    return outcome


def exchange(preface: Preface, sizes: list[int]) -> tuple[object, Caller, Called]:
    """The preface as it arrives."""
    caller, called = make(preface)
    challenge = feed(called, caller.hello, sizes)
    assert isinstance(challenge, bytes)
    said = feed(caller, challenge, sizes)
    assert isinstance(said, bytes)
    return feed(called, said, sizes), caller, called


@given(st.sampled_from(PREFACES), st.sampled_from(Answer), sizes)
def test_preface_and_answer_arrive_however_they_are_cut(
    preface: Preface, answer: Answer, sizes: list[int]
) -> None:
    heard, caller, called = exchange(preface, sizes)

    assert heard == preface
    assert feed(caller, called.answer(answer), sizes) is answer


def test_what_follows_an_answer_is_the_connections() -> None:
    _, caller, called = exchange(CLIENT, [1000])

    assert caller.receive_data(called.answer(Answer.YES) + b"\x81\x01a") is Answer.YES
    assert caller.rest == b"\x81\x01a"


def test_another_secret_is_found_by_the_caller_before_it_has_said_anything() -> None:
    caller, called = make(called_key=OTHER_KEY)
    challenge = called.receive_data(caller.hello)
    assert isinstance(challenge, bytes)

    with pytest.raises(PrefaceError, match="has it another secret"):
        caller.receive_data(challenge)


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_a_caller_that_does_not_know_the_secret_proves_nothing(key: bytes) -> None:
    caller, called = make()
    challenge = called.receive_data(caller.hello)
    assert isinstance(challenge, bytes)
    preface = msgspec.msgpack.encode(PREFACES[2])
    said = len(preface).to_bytes(2, "big") + preface
    proof = hmac.digest(key, b"preface" + caller.hello + challenge + said, "sha256")

    if key == KEY:
        assert called.receive_data(said + proof) == PREFACES[2]
    else:
        with pytest.raises(PrefaceError, match="prove"):
            called.receive_data(said + proof)


def test_what_was_recorded_proves_nothing_later() -> None:
    caller, called = make()
    challenge = called.receive_data(caller.hello)
    assert isinstance(challenge, bytes)
    said = caller.receive_data(challenge)
    assert isinstance(said, bytes)
    assert called.receive_data(said) == CLIENT

    later = Called(KEY, b"3" * RANDOM_BYTES)
    assert later.receive_data(caller.hello) != challenge
    with pytest.raises(PrefaceError, match="prove"):
        later.receive_data(said)

    with pytest.raises(PrefaceError, match="secret"):  # a recorded challenge, to another hello
        Caller(KEY, b"4" * RANDOM_BYTES, CLIENT).receive_data(challenge)


def test_an_answer_of_another_exchange_is_none() -> None:
    _, caller, _ = exchange(CLIENT, [1000])
    _, _, other = exchange(ProbePreface("a", "b"), [1000])

    with pytest.raises(PrefaceError, match="not that of the node"):
        caller.receive_data(other.answer(Answer.YES))


@given(st.data())
def test_no_changed_byte_is_overlooked(data: st.DataObject) -> None:
    caller, called = make()
    turn = data.draw(st.integers(0, 3))
    sides: list[Caller | Called] = [called, caller, called, caller]
    said: object = caller.hello
    for number, side in enumerate(sides):
        if number == 3:
            said = called.answer(Answer.YES)
        assert isinstance(said, bytes)
        if number == turn:
            at = data.draw(st.integers(0, len(said) - 1))
            bit = 1 << data.draw(st.integers(0, 7))
            changed = said[:at] + bytes([said[at] ^ bit]) + said[at + 1 :]
            break
        said = side.receive_data(said)
    try:
        outcome = sides[turn].receive_data(changed)
    except PrefaceError:
        return
    if turn == 0:  # a hello of other random bytes; then the caller hears another one's challenge
        assert isinstance(outcome, bytes)
        with pytest.raises(PrefaceError):
            caller.receive_data(outcome)
    else:
        assert outcome is None, "a longer preface is waited for, and never comes to be one"


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"RKN2", b"\0"])
def test_garbage_is_known_by_its_first_bytes(begin: bytes) -> None:
    with pytest.raises(PrefaceError, match="begin"):
        make()[1].receive_data(begin)


def test_a_length_that_is_too_great_is_not_waited_for() -> None:
    caller, called = make()
    called.receive_data(caller.hello)

    with pytest.raises(PrefaceError, match=f"{MAX_PREFACE + 1} bytes; allowed: {MAX_PREFACE}"):
        called.receive_data((MAX_PREFACE + 1).to_bytes(2, "big"))


def test_a_preface_that_is_too_great_is_not_sent() -> None:
    with pytest.raises(PrefaceError, match="allowed"):
        make(ClientPreface("a", "b", "id", True, Arrival("", bytes(MAX_PREFACE))))


@given(st.binary(max_size=300), sizes)
def test_any_bytes_are_refused_or_waited_for(data: bytes, sizes: list[int]) -> None:
    for side in make():
        try:
            outcome = feed(side, data, sizes)
        except (PrefaceError, AssertionError):
            continue
        assert outcome is None or isinstance(outcome, bytes)


def test_ids_have_digests_that_only_those_with_the_secret_know() -> None:
    secret = Secret("a secret that nobody else knows at all")

    assert secret.digest("a") == Secret("a secret that nobody else knows at all").digest("a")
    assert len({secret.digest("a"), secret.digest("b"), Secret("another").digest("a")}) == 3
    assert secret.for_links not in (secret.digest("a"), secret.digest("b"))
