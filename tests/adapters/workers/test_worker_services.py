"""What one process serves, several workers serve: dialects, plain requests, new certificates."""

import asyncio
import http.client
import json
import signal
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from socket_bench import Bench, socket_test
from staff import begin
from tls_files import certificate, client_context, write_certificate
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

HOST = "127.0.0.1"
PROTOCOL = "graphql-transport-ws"
INIT, ACK = json.dumps({"type": "connection_init"}), json.dumps({"type": "connection_ack"})


@socket_test
async def test_a_dialect_lives_on_in_every_worker(bench: Bench) -> None:
    bench.upstream.subprotocols = [PROTOCOL]
    await bench.upstream.start()
    proxy = await begin(bench)
    clients = []
    for number in range(9):
        named = {"x-connection-id": f"user-{number}"}
        client = await bench.connect(subprotocols=[PROTOCOL], headers=named)
        server = await bench.upstream.accept()
        await client.send(INIT)
        assert await server.recv() == INIT
        await server.send(ACK)
        assert await client.recv() == ACK
        clients.append(client)
    for _ in range(2):
        await bench.upstream.kill()
        await bench.upstream.start()
        for _ in clients:
            server = await bench.upstream.accept()
            assert await server.recv() == INIT
            await server.send(ACK)
            await server.send("next")
        for client in clients:
            assert await client.recv() == "next"
    served = {line.split("] ")[0][-1] for line in proxy.lines if "reopening by" in line}
    assert served == {"0", "1", "2"}


@socket_test
async def test_plain_requests_are_passed_by_whoever_gets_them(bench: Bench) -> None:
    def answer(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.OK, f"you asked for {request.path}")

    def ask(port: int, path: str) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection(HOST, port)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    bench.upstream.process_request = answer
    await bench.upstream.start()
    proxy = await begin(bench, "--http", "pass")
    for number in range(20):
        status, text = await asyncio.to_thread(ask, proxy.port, f"/{number}")
        assert (status, text) == (200, f"you asked for /{number}".encode())
    served = {line.split("] ")[0][-1] for line in proxy.lines if "passed a request" in line}
    assert len(served) > 1


@socket_test
async def test_all_of_them_read_new_certificates(bench: Bench, tmp_path: Path) -> None:
    bench.tls = client_context()
    file = tmp_path / "cert.pem"
    options = ("--tls-cert", write_certificate(file, certificate(HOST)))
    await bench.upstream.start()
    proxy = await begin(bench, *options)
    await bench.connect()
    write_certificate(file, certificate(HOST, "new.test"))
    proxy.signal(signal.SIGHUP)
    await proxy.logged("read the certificates again", 3)
    for _ in range(12):
        client = await bench.connect()
        names = client.transport.get_extra_info("peercert")["subjectAltName"]
        assert ("DNS", "new.test") in names


class Receiver:
    """An HTTP server for events; each is noted."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.events += json.loads(body)["events"]
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()


@socket_test
async def test_each_of_them_sends_its_events(bench: Bench) -> None:
    receiver = Receiver()
    await bench.upstream.start()
    proxy = await begin(bench, "--on-event", receiver.url)
    for number in range(9):
        await bench.connect(headers={"x-connection-id": f"user-{number}"})
        await bench.upstream.accept()
    assert await proxy.stop() == 0  # what is left is sent then
    bench.proxies.remove(proxy)  # type: ignore[arg-type]
    receiver.close()
    connected = [event for event in receiver.events if event.get("state") == "connected"]
    assert len(connected) == 9
    assert {event["worker"] for event in connected} == {0, 1, 2}
