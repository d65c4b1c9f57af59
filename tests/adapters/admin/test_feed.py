"""The live page's feed: what it costs, and how many may follow it."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
import trio
import trio.testing
from reknit.admin import feed as module
from reknit.admin.feed import VIEWERS, Feed
from reknit.admin.guard import Guard
from reknit.admin.http_messages import ProblemError, Request, Stream
from reknit.admin.router import Router
from reknit.admin.server import Server
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.telemetry.survey import Survey, survey

CLOCK = trio.testing.MockClock


def make_feed() -> Feed:
    contexts = Contexts(Policy(), Upstream("h", 1), lambda size: b"\0" * size)
    return Feed(Sessions(contexts, Reactor(*[lambda *_: None] * 5)))


async def follow(feed: Feed) -> AsyncGenerator[bytes, None]:
    answer = await feed.routes()[0].handler(Request("GET", "/feed", {}, {}))
    assert isinstance(answer, Stream)
    return answer.parts


def test_a_snapshot_is_made_once_a_second_for_all_and_only_while_somebody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []

    def counted(contexts: Contexts) -> Survey:
        looks.append(trio.current_time())
        return survey(contexts)

    async def view(feed: Feed, times: int) -> None:
        async with aclosing(await follow(feed)) as parts:
            for _ in range(times + 1):  # the first tells of outages
                assert (await anext(parts)).endswith(b"\n\n")

    async def main() -> None:
        feed = make_feed()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.run)
            await trio.sleep(10.5)
            assert looks == []
            async with trio.open_nursery() as viewers:
                for _ in range(5):
                    viewers.start_soon(view, feed, 4)
            assert len(looks) == 4
            await trio.sleep(10)
            assert len(looks) == 4
            nursery.cancel_scope.cancel()

    monkeypatch.setattr(module, "survey", counted)
    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_viewers_have_a_limit_and_give_their_places_back() -> None:
    async def main() -> None:
        feed = make_feed()
        viewers = [await follow(feed) for _ in range(VIEWERS)]  # none is told anything yet
        with pytest.raises(ProblemError, match="16 look"):
            await follow(feed)
        await viewers.pop().aclose()
        parts = await follow(feed)
        for one in (parts, *viewers):
            await one.aclose()

    trio.run(main)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_goes_out_in_parts_until_the_client_leaves(method: str) -> None:
    async def main() -> None:
        feed = make_feed()
        guard = Guard(None, loopback=True)
        server = Server(Router(feed.routes(), guard), guard.knows)
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.run)
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as serving:
                serving.start_soon(server.serve, theirs)
                request = f"{method} /feed HTTP/1.1\r\nhost: localhost\r\n\r\n"
                await ours.send_all(request.encode())
                answer = b""
                while answer.count(b"event: snapshot") < 3 and method == "GET":
                    answer += bytes(await ours.receive_some())
                await ours.send_stream.aclose()
                if method == "GET":
                    await ours.receive_stream.aclose()
            nursery.cancel_scope.cancel()
        if method == "GET":
            assert b"content-type: text/event-stream" in answer.lower()
            data = answer.split(b"data: ")[2].split(b"\n")[0]
            assert json.loads(data)["held_bytes"] == 0

    trio.run(main, clock=CLOCK(autojump_threshold=0))
