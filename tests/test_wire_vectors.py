"""The test vectors of core/README.md are what the proxy says."""

import json
import re
from pathlib import Path

from raw_websocket import CLOSE, TEXT, Head, RawConnection, frame, parse_head
from socket_bench import Bench, socket_test

PAGE = (Path(__file__).parents[1] / "core" / "README.md").read_text()
SECTION = PAGE[PAGE.index("### Test vectors") : PAGE.index("### What differs")]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL)


def encode(head: str) -> bytes:
    return head.replace("\n", "\r\n").encode() + b"\r\n"


def assert_same(found: Head, documented: str) -> None:
    expected = parse_head(encode(documented))
    assert found.start.rstrip() == expected.start
    assert [(name, value) for name, value in found.headers if name != "date"] == expected.headers


@socket_test
async def test_the_vectors(bench: Bench) -> None:
    new, new_answer, back, back_answer, hello, hello_answer, wrong, wrong_answer = blocks("http")
    hello_message, refusal = blocks("json")

    async def say(request: str) -> RawConnection:
        client = await bench.raw()
        client.send(encode(request))
        return client

    await bench.raw_upstream.start()
    proxy = await bench.proxy()
    client = await say(new)
    server = await bench.raw_upstream.accept()
    assert_same(await client.read_head(), new_answer)
    for text in (b"one", b"two", b"three"):
        server.send(frame(TEXT, text, masked=False))
    assert [(await client.read_message()).payload for _ in range(2)] == [b"one", b"two"]
    client.send(frame(TEXT, b"hi"))
    assert (await server.read_message()).payload == b"hi"
    client.abort()
    await proxy.logged("client_down")

    client = await say(back)
    assert_same(await client.read_head(), back_answer)
    assert (await client.read_message()).payload == b"three"

    client = await say(hello)
    assert_same(await client.read_head(), hello_answer)
    assert json.loads((await client.read_message()).payload) == json.loads(hello_message)

    stranger = await say(wrong)
    assert_same(await stranger.read_head(), wrong_answer)
    assert (await stranger.read_body()).decode() == refusal
    browser = await say(hello.replace("received=3", "received=9"))
    assert (await browser.read_head()).status == 101
    close = await browser.read_message()
    assert (close.opcode, close.close[0]) == (CLOSE, 4410)

    server.send(frame(TEXT, b"four", masked=False))
    assert (await client.read_message()).payload == b"four"
