"""Who asks for nothing costs nobody a place, on each adapter that lets strangers in."""

from collections.abc import Iterator

import pytest
from contract_worlds import WORLDS, World, policy
from reknit_core.proxy import admission

LIMIT = 3  # connections


@pytest.fixture(params=["trio", "asyncio", "uvloop"])
def crowded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world with few places, in which strangers give way at once."""
    monkeypatch.setattr(admission, "GIVES_WAY", 0.0)
    made = WORLDS[request.param](policy(connection_limit=LIMIT))
    yield made
    made.close()


def test_the_idlest_gives_way(crowded: World) -> None:
    client, server = crowded.pair()
    strangers = [crowded.connect() for _ in range(LIMIT - 1)]
    refused = crowded.connect()  # in the place of the first
    refused.send(b"GET / HTTP/1.0\r\n\r\n")
    strangers[0].ended()
    assert refused.read_head().status == 426
    late = crowded.client()  # in that of the second
    strangers[1].ended()
    crowded.server()
    assert late.read_head().status == 101
    last = crowded.client()  # in that of who was refused, and waits for its end
    refused.ended()
    crowded.server()
    assert last.read_head().status == 101
    turned_away = crowded.connect()  # who have a session keep their places
    assert turned_away.read_head().status == 503
    client.say(1, "still here")
    assert server.hear() == b"still here"


def test_who_has_gone_gives_its_place_back(crowded: World) -> None:
    crowded.listen()
    for _ in range(3 * LIMIT):
        client = crowded.client()
        server = crowded.server()
        assert client.read_head().status == 101
        client.close(1000)
        assert server.read_frame().opcode == 8
        server.close(1000)
        for end in (client, server):
            end.end()
            end.ended()
