"""A server that refuses clients, each in another way, and clients that must hear of it."""

from http import HTTPStatus

from raw_websocket import Head, request
from socket_bench import Bench
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

REFUSALS = (
    (HTTPStatus.UNAUTHORIZED, "WWW-Authenticate", 'Bearer realm="chat"'),
    (HTTPStatus.NOT_FOUND, "X-Why", "no such room"),
    (HTTPStatus.SERVICE_UNAVAILABLE, "Retry-After", "17"),
    (HTTPStatus.FOUND, "Location", "http://127.0.0.1:1/elsewhere"),
)
WORDS = "the server's own words\n" * 5000


async def start_refusing(bench: Bench) -> None:
    """Start the bench's server: it refuses once in each of these ways."""
    answers = list(REFUSALS)

    def refuse(connection: ServerConnection, _: Request) -> Response:
        status, name, value = answers.pop(0)
        response = connection.respond(status, WORDS)
        response.headers[name] = value
        return response

    bench.upstream.process_request = refuse
    await bench.upstream.start()


async def heads_of_refusals(bench: Bench) -> list[Head]:
    """As many clients come, and get the server's very answers: their heads."""
    heads = []
    for status, name, value in REFUSALS:
        client = await bench.raw()
        client.send(request())
        head = await client.read_head()
        assert head.status == status
        assert head.value(name) == value
        assert head.value("content-type") == "text/plain; charset=utf-8"
        assert await client.read_body() == WORDS.encode()
        heads.append(head)
    return heads
