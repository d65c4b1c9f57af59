"""Several workers that are one proxy: whose a session is, how limits divide, who starts again."""

from random import Random

from handshake_bytes import request
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.contexts import Contexts
from reknit_core.proxy.respawns import QUICK, WAITS, Respawns
from reknit_core.proxy.share import ALONE, DIVIDED, Share
from reknit_core.session.context import ContextStateMachine
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

UPSTREAM = Upstream("server.test", 80)
IDS = st.from_regex(r"[A-Za-z0-9._~+/=:@-]{1,128}", fullmatch=True)
SHARES = st.integers(1, 64).flatmap(
    lambda of: st.integers(0, of - 1).map(lambda number: Share(number, of))
)


def _asked(*headers: bytes) -> tuple[ClientHandshake, UpgradeRequest]:
    handshake = ClientHandshake("192.0.2.1")
    asked = handshake.receive_data(request(*headers))
    assert isinstance(asked, UpgradeRequest)
    return handshake, asked


@given(IDS, st.integers(1, 64))
def test_a_session_belongs_to_one_worker_whoever_is_asked(connection_id: str, of: int) -> None:
    workers = [Share(number, of) for number in range(of)]
    assert len({worker.owner(connection_id) for worker in workers}) == 1
    assert [worker for worker in workers if worker.owns(connection_id)] == [
        workers[workers[0].owner(connection_id)]
    ]


def test_an_id_has_the_owner_that_it_has_in_every_release() -> None:
    """Else two releases would not find each other's sessions."""
    assert [Share(0, 4).owner(name) for name in ("a", "b", "c", "7f3a")] == [1, 0, 0, 0]


def test_sessions_spread_evenly() -> None:
    owners = [Share(0, 4).owner(f"user-{number}") for number in range(4000)]
    assert all(900 < owners.count(worker) < 1100 for worker in range(4))


@given(SHARES, st.sampled_from(DIVIDED), st.integers(1, 10**9))
def test_limits_divide_so_that_the_whole_is_reached_and_hardly_exceeded(
    share: Share, name: str, limit: int
) -> None:
    part = getattr(share.divide(Policy(**{name: limit})), name)  # type: ignore[arg-type]
    assert limit <= part * share.of < limit + share.of


def test_what_is_not_for_all_together_is_not_divided() -> None:
    policy = Policy(address_connections=10, address_rate=5, queue_bytes=1000)
    divided = Share(1, 4).divide(policy)
    assert (divided.address_connections, divided.address_rate) == (10, 5)
    assert divided.queue_bytes == 1000
    assert ALONE.divide(policy) == policy


@given(SHARES, st.randoms(use_true_random=False))
def test_an_id_that_a_worker_makes_is_its_own(share: Share, random: Random) -> None:
    contexts = Contexts(Policy(), UPSTREAM, random.randbytes, share=share)
    handshake, asked = _asked()
    assert contexts.elsewhere(asked) is None
    context = contexts.connect(handshake, asked, 0.0)
    assert isinstance(context, ContextStateMachine)
    assert share.owns(context.connection_id)


@given(SHARES, IDS)
def test_a_client_is_sent_to_the_worker_of_the_id_that_it_names(
    share: Share, connection_id: str
) -> None:
    contexts = Contexts(Policy(), UPSTREAM, Random(1).randbytes, share=share)
    owner = share.owner(connection_id)
    expected = None if owner == share.number else owner
    for header in (b"x-connection-id: ", b"x-reconnect-id: "):
        _, asked = _asked(header + connection_id.encode())
        assert contexts.elsewhere(asked) == expected


def test_a_bad_id_is_refused_where_it_comes_in() -> None:
    contexts = Contexts(Policy(), UPSTREAM, Random(1).randbytes, share=Share(0, 64))
    _, asked = _asked(b"x-connection-id: not an id")
    assert contexts.elsewhere(asked) is None


def test_who_is_brought_by_another_worker_counts_among_the_connections() -> None:
    admission = Admission(Policy(connection_limit=1, address_rate=0.001))
    guest = admission.bring("192.0.2.1")
    assert isinstance(guest, Guest)
    answer = admission.bring("192.0.2.2")
    assert isinstance(answer, Refusal)
    assert answer.status == 503
    admission.leave(guest)
    assert isinstance(admission.bring("192.0.2.1"), Guest)


def test_a_worker_that_dies_at_once_again_and_again_is_given_up() -> None:
    respawns = Respawns()
    assert [respawns.wait(0.1) for _ in WAITS] == list(WAITS)
    assert respawns.wait(QUICK) is None


def test_a_worker_that_has_lived_is_started_again_at_once() -> None:
    respawns = Respawns()
    for _ in range(3 * len(WAITS)):
        assert respawns.wait(QUICK + 1) == 0.0
    assert respawns.wait(0.0) == WAITS[1]
