"""Who is let in, with a clock that is passed in."""

import json
from fractions import Fraction

import pytest
from handshake_bytes import request
from reknit_core.policy.policy import Http, Policy
from reknit_core.proxy.admission import GIVES_WAY, TRACKED, Admission, Guest, Pace, key_of
from reknit_core.proxy.plain_request import PlainRequest, read_request
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

ALICE, BOB, PROXY = "192.0.2.7", "192.0.2.8", "10.0.0.1"


def let_in(admission: Admission, address: str = ALICE, now: float = 0.0) -> Guest:
    guest = admission.arrive(address, now)
    assert isinstance(guest, Guest)
    return guest


def asks(admission: Admission, guest: Guest, *headers: bytes, now: float = 0.0) -> Refusal | None:
    outcome = ClientHandshake().receive_data(request(*headers))
    assert isinstance(outcome, UpgradeRequest)
    return admission.ask(guest, outcome, now)


def refused(answer: Guest | Refusal | None) -> tuple[int, str, bytes | None]:
    """A refusal's status, error and Retry-After."""
    assert isinstance(answer, Refusal)
    return answer.status, json.loads(answer.body)["error"], dict(answer.headers).get(b"retry-after")


def asks_plainly(
    admission: Admission, guest: Guest, *headers: bytes, now: float = 0.0
) -> Refusal | None:
    head = b"\r\n".join((b"GET / HTTP/1.1", b"Host: h", *headers, b"", b""))
    outcome = read_request(ClientHandshake(), head, Http.PASS)
    assert isinstance(outcome, PlainRequest)
    return admission.ask(guest, outcome, now)


TOO_MANY = (429, "address_connections", b"5")
FULL = (503, "connection_limit", b"5")


def test_by_default_an_address_has_no_limit() -> None:
    admission = Admission(Policy())
    for _ in range(1000):
        assert asks(admission, let_in(admission), b"Origin: https://any.example") is None
    assert (admission.connections, admission.refused, admission.tracked) == (1000, {}, 0)


def test_connections_are_limited_overall() -> None:
    admission = Admission(Policy(connection_limit=2, trust_forwarded=frozenset((PROXY,))))
    first = let_in(admission, ALICE)
    let_in(admission, PROXY)  # in its handshake: it counts already
    assert refused(admission.arrive(BOB, 0.0)) == FULL
    assert refused(admission.arrive(PROXY, 0.0)) == FULL
    assert (admission.connections, admission.refused) == (2, {"connection_limit": 2})
    admission.leave(first)
    admission.leave(first)  # does no harm
    assert admission.connections == 1
    let_in(admission, BOB)
    assert refused(admission.arrive(ALICE, 0.0)) == FULL


def test_where_all_places_are_taken_who_asks_for_nothing_gives_way() -> None:
    admission = Admission(Policy(connection_limit=4))
    asking, silent, slow, refusing = (let_in(admission, now=float(when)) for when in range(4))
    assert asks(admission, asking, now=9.0) is None
    assert asks(admission, refusing, now=9.0) is None
    admission.linger(refusing, 9.0)  # it is refused: it stays for the answer only
    assert [admission.give_way(10.0) for _ in range(2)] == [silent, None]  # one is enough
    admission.leave(silent)  # does no harm
    assert admission.connections == 3
    late = let_in(admission, now=10.0)
    assert admission.give_way(10.0) is slow
    let_in(admission, now=10.0)
    assert admission.give_way(10.0) is refusing
    let_in(admission, now=10.0)
    assert admission.give_way(10.0 + GIVES_WAY / 2) is None  # they may be about to ask
    assert admission.give_way(10.0 + GIVES_WAY) is late
    assert admission.refused == {"gave_way": 4}
    admission.linger(late, 12.0)  # it is gone already


def test_between_its_requests_a_client_gives_way_too() -> None:
    admission = Admission(Policy(connection_limit=1))
    guest = let_in(admission)
    assert asks_plainly(admission, guest) is None
    assert admission.give_way(100.0) is None
    admission.stay(guest, 100.0)
    assert admission.give_way(100.0) is None
    assert admission.give_way(100.0 + GIVES_WAY) is guest


def test_connections_are_limited_by_address() -> None:
    admission = Admission(Policy(address_connections=2))
    first = let_in(admission)
    second = let_in(admission)
    assert asks(admission, second) is None
    for _ in range(3):
        assert refused(admission.arrive(ALICE, 0.0)) == TOO_MANY
    let_in(admission, BOB)
    assert (admission.connections, admission.refused) == (3, {"address_connections": 3})
    admission.leave(second)
    let_in(admission)
    assert refused(admission.arrive(ALICE, 0.0)) == TOO_MANY
    admission.leave(first)
    admission.leave(first)
    let_in(admission)
    assert refused(admission.arrive(ALICE, 0.0)) == TOO_MANY


def test_who_was_let_in_by_another_process_stays_and_counts() -> None:
    admission = Admission(Policy(connection_limit=2, address_connections=1, address_rate=1))
    guests = [admission.readmit(ALICE) for _ in range(3)]
    assert admission.connections == 3
    for guest in guests[:2]:
        admission.leave(guest)
    assert refused(admission.arrive(ALICE, 0.0))[1] == "address_connections"
    admission.leave(guests[2])
    let_in(admission)


def test_handshakes_are_limited_by_address() -> None:
    admission = Admission(Policy(address_rate=2))
    for _ in range(2):
        admission.leave(let_in(admission))
    assert refused(admission.arrive(ALICE, 0.0)) == (429, "address_rate", b"1")
    let_in(admission, BOB)
    assert refused(admission.arrive(ALICE, 0.499))[0] == 429
    let_in(admission, ALICE, 0.5)
    assert refused(admission.arrive(ALICE, 0.5))[0] == 429
    let_in(admission, ALICE, 60.0)
    let_in(admission, ALICE, 60.0)
    assert refused(admission.arrive(ALICE, 60.0))[0] == 429


def test_retry_after_says_when_there_is_a_token() -> None:
    admission = Admission(Policy(address_rate=0.1))
    let_in(admission)
    assert refused(admission.arrive(ALICE, 2.5)) == (429, "address_rate", b"8")
    let_in(admission, ALICE, 10.0)


# -- Behind a proxy that is trusted ------------------------------------------------------------


def behind(client: str) -> bytes:
    return b"X-Forwarded-For: " + client.encode()


def test_the_limits_are_for_the_client_that_a_trusted_proxy_names() -> None:
    policy = Policy(address_connections=1, trust_forwarded=frozenset(("10.0.0.0/8",)))
    admission = Admission(policy)
    guests = [let_in(admission, PROXY) for _ in range(4)]
    assert asks(admission, guests[0], behind(ALICE)) is None
    assert guests[0].address == ALICE
    assert asks(admission, guests[1], behind(BOB)) is None
    assert refused(asks(admission, guests[2], behind(ALICE))) == TOO_MANY
    admission.leave(guests[2])
    assert refused(asks(admission, guests[3], behind(ALICE))) == TOO_MANY
    assert refused(admission.arrive(ALICE, 0.0)) == TOO_MANY  # on a way around the proxy
    admission.leave(guests[0])
    let_in(admission, ALICE)
    assert admission.connections == 3


def test_a_trusted_proxy_itself_is_not_limited() -> None:
    policy = Policy(address_connections=1, address_rate=1, trust_forwarded=frozenset((PROXY,)))
    admission = Admission(policy)
    for _ in range(3):
        assert asks(admission, let_in(admission, PROXY)) is None


def test_who_is_not_trusted_cannot_name_another_address() -> None:
    admission = Admission(Policy(address_connections=1, trust_forwarded=frozenset((PROXY,))))
    guest = let_in(admission, ALICE)
    assert asks(admission, guest, behind(BOB)) is None
    assert guest.address == ALICE
    assert refused(admission.arrive(ALICE, 0.0)) == TOO_MANY
    let_in(admission, BOB)


# -- Origins -----------------------------------------------------------------------------------


def test_a_page_of_another_origin_is_refused() -> None:
    admission = Admission(Policy(allow_origin=frozenset(("https://a.example",))))
    guest = let_in(admission)
    assert asks(admission, guest, b"Origin: https://a.example") is None
    assert asks(admission, guest) is None
    for origin in (b"https://b.example", b"null", b""):
        answer = asks(admission, guest, b"Origin: " + origin)
        assert refused(answer) == (403, "origin_not_allowed", None)
    assert admission.refused == {"origin_not_allowed": 3}


# -- Addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("0.0.0.0", "::", False),
        ("", "0.0.0.0", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (key_of(one) == key_of(other)) is same
    admission = Admission(Policy(address_connections=1))
    let_in(admission, one)
    assert isinstance(admission.arrive(other, 0.0), Refusal) is same


# -- The pace ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.3, 1, 3, 7, 10, 100, 1000])
def test_a_bucket_holds_one_seconds_tokens_and_refills_at_its_rate(rate: float) -> None:
    pace = Pace(rate)
    now = 1e6
    burst = max(1, int(rate))
    assert [pace.wait(b"a", now) for _ in range(burst)] == [0.0] * burst
    assert 0 < pace.wait(b"a", now) <= 1 / rate + 1e-6
    taken = sum(pace.wait(b"a", now + step / rate / 4) == 0.0 for step in range(1, 401))
    assert abs(taken - 100) <= 1


def test_without_a_rate_nothing_is_counted() -> None:
    pace = Pace(0)
    assert [pace.wait(b"a", 0.0) for _ in range(1000)] == [0.0] * 1000
    assert len(pace) == 0


def test_a_flood_of_addresses_leaves_nothing_behind() -> None:
    pace = Pace(5)
    for index in range(20_000):
        now = float(Fraction(index, 1000))  # 1,000 addresses a second
        assert pace.wait(index.to_bytes(8, "big"), now) == 0.0
        assert len(pace) <= 202  # those of the last fifth of a second
    pace.wait(b"last", 100.0)
    pace.wait(b"last", 100.0)
    for index in range(110):
        pace.wait(b"last", 101.0 + index)
    assert len(pace) == 1


def test_an_address_that_keeps_coming_holds_up_no_forgetting() -> None:
    pace = Pace(5)
    for index in range(5000):
        now = float(Fraction(index, 1000))
        pace.wait(b"steady", now)
        pace.wait(index.to_bytes(8, "big"), now)
    assert len(pace) <= 202


def test_a_faster_flood_is_bounded_too() -> None:
    pace = Pace(0.001)
    for index in range(TRACKED + 500):
        assert pace.wait(index.to_bytes(8, "big"), 0.0) == 0.0
    assert len(pace) == TRACKED
    assert pace.wait((TRACKED + 499).to_bytes(8, "big"), 1.0) > 0  # the latest are remembered
    assert pace.wait((0).to_bytes(8, "big"), 1.0) == 0.0  # the first are forgotten


def test_addresses_that_left_cost_nothing() -> None:
    admission = Admission(Policy(address_connections=3, address_rate=1000))
    for index in range(5000):
        admission.leave(let_in(admission, f"10.0.{index // 256}.{index % 256}", index / 100))
    assert admission.connections == 0
    assert admission.tracked <= 2


# -- Several requests on one connection --------------------------------------------------------

TOO_OFTEN = (429, "address_rate", b"1")


def test_each_request_on_a_connection_counts_as_a_handshake() -> None:
    admission = Admission(Policy(address_rate=2))
    guest = let_in(admission)
    assert asks_plainly(admission, guest) is None  # it was counted with the connection
    admission.stay(guest, 0.0)
    assert asks_plainly(admission, guest) is None
    admission.stay(guest, 0.0)
    assert refused(asks_plainly(admission, guest)) == TOO_OFTEN
    assert refused(admission.arrive(ALICE, 0.0)) == TOO_OFTEN
    assert refused(asks(admission, guest)) == TOO_OFTEN
    assert asks(admission, guest, now=0.5) is None
    assert admission.connections == 1


def test_a_proxy_in_front_sends_requests_of_several_clients() -> None:
    policy = Policy(address_connections=1, trust_forwarded=frozenset((PROXY,)))
    admission = Admission(policy)
    guest, other = let_in(admission, PROXY), let_in(admission, PROXY)
    for client in (ALICE, BOB, ALICE):
        assert asks_plainly(admission, guest, b"X-Forwarded-For: " + client.encode()) is None
        assert guest.address == client
        forwarded = b"X-Forwarded-For: " + client.encode()
        assert refused(asks_plainly(admission, other, forwarded)) == TOO_MANY
        admission.stay(guest, 0.0)
        admission.stay(other, 0.0)
        assert (guest.address, admission.tracked) == (PROXY, 0)
    assert asks(admission, guest, b"X-Forwarded-For: " + BOB.encode()) is None
    admission.leave(guest)
    assert (admission.connections, admission.tracked) == (1, 0)


def test_a_client_stays_counted_between_its_requests() -> None:
    admission = Admission(Policy(address_connections=1))
    guest = let_in(admission)
    assert asks_plainly(admission, guest) is None
    admission.stay(guest, 0.0)
    assert refused(admission.arrive(ALICE, 0.0)) == TOO_MANY


def test_origins_are_for_sessions() -> None:
    admission = Admission(Policy(allow_origin=frozenset(("https://good.example",))))
    guest = let_in(admission)
    evil = b"Origin: https://evil.example"
    assert asks_plainly(admission, guest, evil) is None
    assert refused(asks(admission, guest, evil))[:2] == (403, "origin_not_allowed")
