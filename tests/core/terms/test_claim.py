"""What a client claims: which session it wants, how far it has got, and what it shows for it."""

from dataclasses import FrozenInstanceError, replace
from itertools import product

import pytest
from handshake_bytes import request
from reknit_core.policy.policy import Policy
from reknit_core.terms.claim import Claim, received_count
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

POLICY = Policy()


def read(
    *headers: bytes, target: bytes = b"/p", policy: Policy = POLICY
) -> tuple[UpgradeRequest, Claim | Refusal]:
    line = b"GET " + target + b" HTTP/1.1"
    outcome = ClientHandshake().receive_data(request(*headers, line=line))
    assert isinstance(outcome, UpgradeRequest)
    return outcome, Claim.read(policy, outcome)


def claimed(*headers: bytes, target: bytes = b"/p", policy: Policy = POLICY) -> Claim:
    _, claim = read(*headers, target=target, policy=policy)
    assert isinstance(claim, Claim)
    return claim


def test_a_client_that_claims_nothing() -> None:
    asked, claim = read()
    nothing = Claim(
        asked,
        connection_id=None,
        must_resume=False,
        received=None,
        token="",
        hello=False,
        can_return=False,
    )
    assert claim == nothing


def test_it_is_what_the_request_said() -> None:
    claim = claimed(b"X-Connection-Id: a")
    with pytest.raises(FrozenInstanceError):
        claim.connection_id = "b"  # type: ignore[misc]
    assert not hasattr(claim, "__dict__")


def test_a_browser_claims_all_by_its_query() -> None:
    query = b"reconnect_id=a&reconnect_received=7&reconnect_token=t&reconnect_hello=1"
    asked, claim = read(target=b"/?" + query)
    assert claim == Claim(asked, "a", True, 7, "t", hello=True, can_return=True)


def test_headers_claim_the_same() -> None:
    headers = (b"X-Reconnect-Id: a", b"X-Reconnect-Received: 7", b"X-Reconnect-Token: t")
    asked, claim = read(*headers)
    assert claim == Claim(asked, "a", True, 7, "t", hello=False, can_return=True)
    spoiled = b"/?reconnect_id=b&reconnect_received=8&reconnect_token=u"
    both = claimed(*headers, target=spoiled)
    assert replace(both, request=asked) == claim


NAMES = ((b"X-Connection-Id: header", "header"), (b"Cookie: connection_id=cookie", "cookie"))


@pytest.mark.parametrize("given", [*product((False, True), repeat=3)])
def test_the_header_counts_before_the_query_and_that_before_the_cookie(
    given: tuple[bool, bool, bool],
) -> None:
    in_header, in_query, in_cookie = given
    headers = [NAMES[0][0]] * in_header + [NAMES[1][0]] * in_cookie
    claim = claimed(*headers, target=b"/?connection_id=query" if in_query else b"/")
    named = [
        name
        for name, is_there in zip(("header", "query", "cookie"), given, strict=True)
        if is_there
    ]
    assert claim.connection_id == (named[0] if named else None)
    assert claim.can_return is any(given)
    assert not claim.must_resume
    with_resume = claimed(*headers, b"X-Reconnect-Id: resume")
    assert (with_resume.connection_id, with_resume.must_resume) == ("resume", True)


def test_the_names_are_the_policys() -> None:
    policy = Policy(id_header="X-Sid", id_query="sid", id_cookie="s")
    assert claimed(b"x-sid: a", policy=policy).connection_id == "a"
    assert claimed(target=b"/?sid=a", policy=policy).connection_id == "a"
    assert claimed(b"Cookie: s=a", policy=policy).connection_id == "a"
    others = claimed(*(header for header, _ in NAMES), target=b"/?connection_id=a", policy=policy)
    assert others.connection_id is None


def test_an_id_that_must_be_minted_is_only_resumed() -> None:
    policy = Policy(require_minted_id=True)
    assert claimed(b"X-Connection-Id: a", policy=policy).must_resume
    assert not claimed(policy=policy).must_resume


@pytest.mark.parametrize(
    ("target", "extra", "can_return"),
    [
        (b"/?a=1", (), False),
        (b"/", (b"X-Reconnect: 1",), True),
        (b"/", (b"X-Reconnect-Token: 1",), True),
        (b"/?reconnect_hello=1", (), True),
        (b"/?reconnect_received=0", (), True),
        (b"/?reconnect=0", (b"X-Recon: 1",), False),
    ],
)
def test_who_speaks_of_coming_back(
    target: bytes, extra: tuple[bytes, ...], can_return: bool
) -> None:
    assert claimed(*extra, target=target).can_return is can_return


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ((b"X-Connection-Id: a b",), "bad_connection_id"),
        ((b"X-Reconnect-Id: " + b"a" * 129,), "bad_connection_id"),
        ((b"X-Reconnect-Id:",), "bad_connection_id"),
        ((b"X-Reconnect-Id:", b"X-Connection-Id: a"), "bad_connection_id"),
        ((b"X-Reconnect-Received: x",), "bad_count"),
        ((b"X-Reconnect-Received: -1", b"X-Connection-Id: a"), "bad_count"),
    ],
)
def test_what_can_not_be_understood_is_answered(headers: tuple[bytes, ...], error: str) -> None:
    _, answer = read(*headers)
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.error) == (400, error)


@pytest.mark.parametrize(
    ("text", "count"), [(None, None), ("0", 0), ("007", 7), ("9" * 19, 10**19 - 1)]
)
def test_a_count_is_read(text: str | None, count: int | None) -> None:
    assert received_count(text) == count


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_0", "\xb2", "x", "9" * 20])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of messages"):
        received_count(text)
