"""What a session is bound to, and the tokens that its client must show."""

import inspect
import json
from base64 import b64decode
from dataclasses import fields
from hashlib import blake2s
from itertools import permutations

import pytest
from compiled_form import REPLACES_A_FUNCTION
from handshake_bytes import request
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.policy.policy import Policy
from reknit_core.terms import binding
from reknit_core.terms.binding import KEY_BYTES, Binding
from reknit_core.terms.claim import Claim
from reknit_core.wire.handshake import ClientHandshake, UpgradeRequest

NAMES = ("authorization", "origin", "cookie:sid")
KEY = bytes(range(KEY_BYTES))
MINE = (b"Authorization: Bearer mine", b"Origin: https://a.example", b"Cookie: x=1; sid=mine")


def shows(*headers: bytes, target: bytes = b"/") -> Claim:
    outcome = ClientHandshake().receive_data(
        request(*headers, line=b"GET " + target + b" HTTP/1.1")
    )
    assert isinstance(outcome, UpgradeRequest)
    claim = Claim.read(Policy(), outcome)
    assert isinstance(claim, Claim)
    return claim


def bound(*headers: bytes, names: tuple[str, ...] = NAMES, key: bytes = KEY) -> Binding:
    return Binding.from_request(frozenset(names), shows(*headers).request, key)


# -- What is bound -----------------------------------------------------------------------------


def test_who_shows_the_same_is_admitted() -> None:
    session = bound(*MINE)
    for headers in permutations(MINE):
        assert session.admits(shows(*headers, b"X-Other: 1"))
    assert session.admits(shows(*MINE[:2], b"cookie: y=3; z", b'COOKIE: sid="mine"'))


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("change", [b"", b"\xe9", b"x", b";"])
def test_anything_else_is_not(place: int, change: bytes) -> None:
    session = bound(*MINE)
    headers = list(MINE)
    removed = headers.pop(place)
    assert not session.admits(shows(*headers))
    name, _, value = removed.partition(b": ")
    for other in (value[:-1], value[:-1] + change, value[:-2] + b"xx", value + b"x", value.upper()):
        assert not session.admits(shows(name + b": " + other, *headers))


@pytest.mark.parametrize("place", range(3))
def test_what_is_missing_is_bound_too(place: int) -> None:
    headers = list(MINE)
    extra = headers.pop(place)
    session = bound(*headers)
    assert session.admits(shows(*headers))
    assert not session.admits(shows(*MINE))
    empty = extra.partition(b": ")[0] + b": " + (b"sid=" if place == 2 else b"")
    assert not session.admits(shows(*headers, empty))


def test_only_what_is_named_is_bound() -> None:
    assert bound(*MINE, names=()).admits(shows())
    session = bound(*MINE, names=("origin",))
    assert session.admits(shows(MINE[1], b"Authorization: Bearer refreshed"))
    assert not session.admits(shows(*MINE[::2]))


def test_a_value_does_not_count_under_another_name() -> None:
    assert not bound(b"Authorization: same").admits(shows(b"Origin: same"))


def test_the_same_values_look_different_in_each_session() -> None:
    mine, other = bound(*MINE), bound(*MINE, key=KEY[::-1])
    assert mine.digest != other.digest
    assert mine.fresh_token() != other.fresh_token()


@given(st.lists(st.sampled_from(MINE), unique=True), st.lists(st.sampled_from(MINE), unique=True))
def test_exactly_those_who_show_the_same(first: list[bytes], second: list[bytes]) -> None:
    assert bound(*first).admits(shows(*second)) is (set(first) == set(second))


def test_nothing_is_kept_in_the_clear() -> None:
    session = bound(b"Authorization: secret", b"Origin: secret", b"Cookie: sid=secret")
    token = session.fresh_token().decode()
    held = [getattr(session, field.name) for field in fields(session)]
    for secret in ("secret", token, bytes.fromhex(token)):
        assert all(secret != value and repr(secret)[2:-1] not in repr(value) for value in held)


# -- Tokens ------------------------------------------------------------------------------------


def shows_token(token: bytes) -> Claim:
    return shows(b"X-Reconnect-Token: " + token)


def test_a_token_is_demanded_once_one_was_received() -> None:
    session = bound()
    assert session.admits(shows())  # no token was handed out
    token = session.fresh_token()
    assert len(token) == 2 * KEY_BYTES
    assert session.admits(shows())  # it may be lost on its way
    session.received()
    for wrong in (b"", b"x", token[:-1], token + b"0", token.upper(), token.swapcase(), b"\xe9"):
        assert not session.admits(shows_token(wrong)) or wrong == token
    assert not session.admits(shows())
    assert session.admits(shows_token(token))
    assert session.admits(shows(target=b"/?reconnect_token=" + token))
    assert not session.admits(shows(b"X-Reconnect-Token: 0", target=b"/?reconnect_token=" + token))


def test_the_token_before_is_good_until_the_fresh_one_is_received() -> None:
    session = bound()
    first = session.fresh_token()
    session.received()
    lost = [session.fresh_token() for _ in range(3)]
    assert session.admits(shows_token(first))
    last = session.fresh_token()
    assert len({first, *lost, last}) == 5
    assert not any(session.admits(shows_token(token)) for token in lost)
    assert session.admits(shows_token(first))
    session.received()
    assert not session.admits(shows_token(first))
    assert session.admits(shows_token(last))


def test_who_shows_the_fresh_token_has_received_it() -> None:
    session = bound()
    first, second = session.fresh_token(), session.fresh_token()
    assert session.admits(shows_token(second))
    assert not session.admits(shows_token(first))
    assert not session.admits(shows())


def test_who_is_not_bound_proves_nothing() -> None:
    session = bound(*MINE)
    token = session.fresh_token()
    assert not session.admits(shows_token(token))
    assert session.proven == 0


@REPLACES_A_FUNCTION
def test_all_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check makes the same comparisons, by hmac.compare_digest, whatever the outcome."""
    compared: list[tuple[int, int]] = []
    real = binding.compare_digest

    def note(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(binding, "compare_digest", note)
    session = bound(*MINE)
    right, wrong = (
        b"X-Reconnect-Token: " + session.fresh_token(),
        b"X-Reconnect-Token: " + b"0" * 32,
    )
    session.received()
    runs = []
    for headers in ((*MINE, right), (*MINE, wrong), (MINE[0], right), (wrong,)):
        compared.clear()
        session.admits(shows(*headers))
        runs.append(list(compared))
    assert runs == [[(KEY_BYTES, KEY_BYTES), (32, 32), (32, 32)]] * 4
    assert "==" not in inspect.getsource(Binding.admits).replace("self.proven == 0", "")


# -- The key of a handshake with the server ----------------------------------------------------


def test_each_connection_to_a_server_has_another_key() -> None:
    sessions = (bound(), bound(key=bytes(KEY_BYTES)))
    keys = [session.handshake_key(number) for session in sessions for number in range(1, 50)]
    assert len(set(keys)) == len(keys)
    assert all(len(b64decode(key, validate=True)) == 16 for key in keys)
    assert sessions[0].handshake_key(7) == bound().handshake_key(7)  # as in another process


def test_each_connection_to_a_server_has_another_mask() -> None:
    sessions = (bound(), bound(key=bytes(KEY_BYTES)))
    masks = [session.close_mask(number) for session in sessions for number in range(1, 50)]
    assert len(set(masks)) == len(masks)
    assert {len(mask) for mask in masks} == {4}


def test_a_key_of_a_handshake_tells_no_token() -> None:
    session = bound()
    tokens = {session.fresh_token() for _ in range(5)}
    keys = {b64decode(session.handshake_key(number)).hex().encode() for number in range(6)}
    assert not tokens & keys


@given(st.lists(st.none() | st.text(st.characters(max_codepoint=255)), min_size=1, max_size=4))
def test_a_digest_is_of_what_is_shown_as_json(shown: list[str | None]) -> None:
    """Those that earlier versions have kept must stay as good."""
    names = tuple(f"x-{number}" for number in range(len(shown)))
    headers = tuple(
        (name.encode(), value.encode("latin-1"))
        for name, value in zip(names, shown, strict=True)
        if value is not None
    )
    as_json = json.dumps(shown).encode()
    expected = blake2s(as_json, key=KEY, person=b"bind", digest_size=16).digest()
    assert binding._digest(KEY, names, headers) == expected
