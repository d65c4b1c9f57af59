"""TLS on both legs, on real sockets with real certificates."""

import asyncio
import signal
import socket
import ssl
import warnings
from pathlib import Path

import pytest
from message_flood import Flood, receive_flood
from patience import patience
from proxy_process import ProxyProcess
from raw_websocket import TEXT, close_frame, frame, raw_connect, request
from socket_bench import Bench, closed, socket_test
from tls_files import (
    certificate,
    client_context,
    server_context,
    write_authority,
    write_certificate,
)
from upstream_server import cut
from websockets.asyncio.connection import Connection
from websockets.exceptions import InvalidMessage, InvalidStatus

HOST = "127.0.0.1"
SIZES = (0, 1, 125, 126, 16383, 16384, 16385, 65536, 3 * 2**20)


async def secure(bench: Bench, directory: Path, *options: str) -> ProxyProcess:
    """TLS on both legs."""
    bench.scheme = "wss"
    bench.upstream.tls = bench.raw_upstream.tls = server_context(certificate(HOST))
    bench.tls = client_context()
    return await bench.proxy(
        "--upstream-ca",
        write_authority(directory),
        "--tls-cert",
        write_certificate(directory / "cert.pem", certificate(HOST)),
        *options,
    )


def peer_certificate(connection: Connection) -> bytes:
    """What the other end has shown."""
    tls = connection.transport.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True)
    assert isinstance(shown, bytes)
    return shown


@socket_test
async def test_messages_of_every_size_pass_in_both_directions(bench: Bench, tmp_path: Path) -> None:
    await secure(bench, tmp_path)
    await bench.upstream.start()
    client = await bench.connect()
    server = await bench.upstream.accept()
    for sender, receiver in ((client, server), (server, client)):
        for size in SIZES:
            message = bytes(range(256)) * (size // 256) + bytes(size % 256)
            await sender.send(message)
            assert await receiver.recv() == message
    await client.close(4000, "done")
    assert await closed(server) == (4000, "done")


@socket_test
async def test_many_small_messages_keep_their_order(bench: Bench, tmp_path: Path) -> None:
    await secure(bench, tmp_path)
    await bench.upstream.start()
    client = await bench.connect()
    server = await bench.upstream.accept()
    expected = [str(number) for number in range(3000)]
    for sender, receiver in ((client, server), (server, client)):
        sending = bench.spawn(send_each(sender, expected))
        assert [await receiver.recv() for _ in expected] == expected
        await sending


async def send_each(sender: Connection, messages: list[str]) -> None:
    for message in messages:
        await sender.send(message)


@pytest.mark.parametrize("sender", ["server", "client"])
@socket_test
async def test_a_slow_reader_gets_all_in_the_end(bench: Bench, sender: str, tmp_path: Path) -> None:
    await secure(bench, tmp_path, "--queue-bytes", "262144", "--heartbeat-interval", "0")
    await bench.upstream.start()
    client = await bench.connect()
    server = await bench.upstream.accept()
    end, reader = (server, client) if sender == "server" else (client, server)
    flood = Flood(bench, end)
    await flood.held_back()
    await receive_flood(reader)
    await flood.task


@socket_test
async def test_the_server_hears_that_the_client_came_by_tls(bench: Bench, tmp_path: Path) -> None:
    await secure(bench, tmp_path)
    await bench.upstream.start()
    client = await bench.connect()
    server = await bench.upstream.accept()
    (seen,) = bench.upstream.requests
    assert seen.headers["x-forwarded-proto"] == "https"
    assert seen.headers["host"] == f"{HOST}:{bench.proxies[-1].port}"
    await server.send("answer")
    assert await client.recv() == "answer"


@socket_test
async def test_a_killed_server_comes_back(bench: Bench, tmp_path: Path) -> None:
    proxy = await secure(bench, tmp_path)
    await bench.upstream.start()
    client = await bench.connect()
    server = await bench.upstream.accept()
    await client.send("before")
    assert await server.recv() == "before"
    await (await client.ping())
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await client.send("meanwhile")
    await bench.upstream.start()
    server = await bench.upstream.accept()
    received = [await server.recv()]
    if received == ["before"]:  # it was not confirmed
        received = [await server.recv()]
    assert received == ["meanwhile"]


@socket_test
async def test_a_client_resumes(bench: Bench, tmp_path: Path) -> None:
    proxy = await secure(bench, tmp_path)
    await bench.upstream.start()
    client = await bench.connect("/?connection_id=me")
    server = await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    await server.send("meanwhile")
    client = await bench.connect("/?connection_id=me")
    assert await client.recv() == "meanwhile"


@socket_test
async def test_a_stream_that_is_cut_off_is_lost_not_ended(bench: Bench, tmp_path: Path) -> None:
    """An attacker on the way can end TCP, but can't say close_notify."""
    proxy = await secure(bench, tmp_path, "--heartbeat-interval", "0")
    await bench.raw_upstream.start()
    client, server = await bench.raw_pair()
    server.send(frame(TEXT, b"last", masked=False))
    assert (await client.read_message()).payload == b"last"
    server.abort(reset=False)
    line = await proxy.logged(" server_down by server_lost")
    assert line.endswith("TLS: the stream ended without close_notify")
    server = await bench.raw_upstream.accept()
    client.abort(reset=False)
    line = await proxy.logged(" client_down by client_lost")
    assert line.endswith("TLS: the stream ended without close_notify")


@socket_test
async def test_close_notify_right_behind_a_message_is_noticed(bench: Bench, tmp_path: Path) -> None:
    """The peer waits for ours before it ends TCP: nothing else would tell of its end."""
    proxy = await secure(bench, tmp_path, "--heartbeat-interval", "0")
    await bench.raw_upstream.start()
    client, server = await bench.raw_pair()
    server.send(frame(TEXT, b"last", masked=False))
    server.close()
    assert (await client.read_message()).payload == b"last"
    line = await proxy.logged(" server_down by server_lost")
    assert line.endswith("end of stream without a Close frame")


@socket_test
async def test_hangup_changes_the_certificate_under_living_sessions(
    bench: Bench, tmp_path: Path
) -> None:
    proxy = await secure(bench, tmp_path)
    await bench.upstream.start()
    old = await bench.connect()
    server = await bench.upstream.accept()
    file = tmp_path / "cert.pem"

    write_certificate(file, certificate(HOST, "localhost"))
    proxy.signal(signal.SIGHUP)
    await proxy.logged("read the certificates again")
    new = await bench.connect()
    assert peer_certificate(new) == der(certificate(HOST, "localhost"))
    assert peer_certificate(old) == der(certificate(HOST))

    file.write_text("nothing")
    proxy.signal(signal.SIGHUP)
    line = await proxy.logged("ERROR the certificates stay as they were")
    assert line.endswith(f"--tls-cert: there is no certificate in {file} (in PEM form)")
    assert peer_certificate(await bench.connect()) == peer_certificate(new)

    await old.send("still here")
    assert await server.recv() == "still here"


def der(cert: object) -> bytes:
    pems = cert.cert_chain_pems  # type: ignore[attr-defined]
    return ssl.PEM_cert_to_DER_cert(pems[0].bytes().decode())


@pytest.mark.parametrize(
    ("names", "ca", "expired", "reason"),
    [
        ((HOST,), "other", False, "unable to get local issuer certificate"),
        (("server.test",), "", False, "the certificate is for another name"),
        ((HOST,), "", True, "certificate has expired"),
    ],
    ids=["authority", "name", "expired"],
)
@socket_test
async def test_a_server_that_is_not_who_it_should_be(
    bench: Bench, names: tuple[str, ...], ca: str, expired: bool, reason: str, tmp_path: Path
) -> None:
    proxy = await secure(bench, tmp_path, "--retry-limit", "1")
    bench.upstream.tls = server_context(certificate(*names, ca=ca, expired=expired))
    await bench.upstream.start()
    answer = await bench.refused()
    assert answer.status_code == 502
    assert reason in answer.body.decode()
    await proxy.logged(rf"attempt 0 failed: TLS: .*{reason}")


@socket_test
async def test_a_host_name_is_verified_and_said(bench: Bench, tmp_path: Path) -> None:
    """The name in the URL counts, not the address that it stands for, nor the client's Host."""
    said: list[str | None] = []
    await secure(bench, tmp_path)
    context = server_context(certificate("localhost"))
    context.sni_callback = lambda tls, name, context: said.append(name)
    bench.upstream.tls = context
    await bench.upstream.start()
    await bench.proxy(
        "--upstream-ca", write_authority(tmp_path),
        "--tls-cert", str(tmp_path / "cert.pem"),
        host="localhost",
    )  # fmt: skip
    await bench.connect()
    assert said == ["localhost"]
    (seen,) = bench.upstream.requests
    assert seen.headers["host"] == f"127.0.0.1:{bench.proxies[-1].port}"


@socket_test
async def test_the_proxy_shows_its_certificate(bench: Bench, tmp_path: Path) -> None:
    mine = certificate("proxy.test", ca="servers")
    proxy = await secure(bench, tmp_path, "--retry-limit", "0")
    bench.upstream.tls = server_context(certificate(HOST), client_ca="servers")
    await bench.upstream.start()
    answer = await bench.refused()
    assert answer.status_code == 502
    await proxy.logged("the server can't be reached: TLS: ")
    await bench.proxy(
        "--upstream-ca", write_authority(tmp_path),
        "--upstream-cert", write_certificate(tmp_path / "mine.pem", mine),
        "--tls-cert", str(tmp_path / "cert.pem"),
    )  # fmt: skip
    await bench.connect()
    assert peer_certificate(await bench.upstream.accept()) == der(mine)


@socket_test
async def test_clients_must_show_a_certificate(bench: Bench, tmp_path: Path) -> None:
    proxy = await secure(bench, tmp_path, "--tls-client-ca", write_authority(tmp_path, "clients"))
    await bench.upstream.start()
    for stranger in (None, certificate("client.test")):
        bench.tls = client_context(cert=stranger)
        with pytest.raises((OSError, InvalidMessage)):
            await bench.connect()
    await proxy.logged("refused: TLS: peer did not return a certificate")
    await proxy.logged("refused: TLS: .*certificate", times=2)
    bench.tls = client_context(cert=certificate("client.test", ca="clients"))
    await bench.connect()
    assert len(bench.upstream.requests) == 1


@socket_test
async def test_a_proxy_without_the_certificate_that_another_demands(
    bench: Bench, tmp_path: Path
) -> None:
    """Its refusal comes behind the handshake, and would be no other at the next attempt."""
    far = await secure(bench, tmp_path, "--tls-client-ca", write_authority(tmp_path, "clients"))
    authority = write_authority(tmp_path)
    near = await ProxyProcess.start(f"wss://{HOST}:{far.port}", "--upstream-ca", authority)
    bench.proxies.append(near)
    bench.tls = None
    answer = await bench.refused()
    assert answer.status_code == 502
    assert "certificate required" in answer.body.decode()
    await near.logged("the server does not accept: TLS: .*certificate required")


@socket_test
async def test_who_speaks_without_tls_is_told_so(bench: Bench, tmp_path: Path) -> None:
    far = await secure(bench, tmp_path)
    near = await ProxyProcess.start(f"ws://127.0.0.1:{far.port}")
    bench.proxies.append(near)
    bench.tls = None
    answer = await bench.refused()
    assert answer.status_code == 400
    assert "this port takes TLS only" in answer.body.decode()
    await far.logged("refused: TLS: http request")


@socket_test
async def test_old_versions_are_refused(bench: Bench, tmp_path: Path) -> None:
    proxy = await secure(bench, tmp_path, "--retry-limit", "0")
    bench.upstream.tls = old(server_context(certificate(HOST)))
    await bench.upstream.start()
    answer = await bench.refused()
    assert answer.status_code == 502
    assert "TLS: " in answer.body.decode()
    bench.tls = old(client_context())
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        await bench.connect()
    await proxy.logged("refused: TLS: unsupported protocol")


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    """Speaks nothing newer than TLS 1.1."""
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@socket_test
async def test_a_client_that_speaks_no_tls_is_let_go(bench: Bench, tmp_path: Path) -> None:
    proxy = await secure(bench, tmp_path, "--request-timeout", str(patience(1)))
    client = await raw_connect(proxy.port)
    client.send(request())
    await client.ended()
    await proxy.logged("refused: TLS: http request")
    silent = await raw_connect(proxy.port)
    await silent.ended()
    await proxy.logged("refused: TLS: no handshake in time")
    client.close()
    silent.close()


@socket_test
async def test_a_request_that_comes_with_the_end_of_the_handshake(
    bench: Bench, tmp_path: Path
) -> None:
    """It is decrypted already when the socket has nothing more to read."""
    proxy = await secure(bench, tmp_path)
    await bench.upstream.start()
    assert bench.tls is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = bench.tls.wrap_bio(incoming, outgoing, server_hostname=HOST)
    loop = asyncio.get_running_loop()
    with socket.create_connection((HOST, proxy.port)) as sock:
        sock.setblocking(False)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, outgoing.read())
                incoming.write(await loop.sock_recv(sock, 65536))
        tls.write(request())
        await loop.sock_sendall(sock, outgoing.read())  # Finished and the request in one
        answer = b""
        while b"\r\n\r\n" not in answer:
            incoming.write(await loop.sock_recv(sock, 65536))
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                continue
    assert answer.startswith(b"HTTP/1.1 101 ")


@socket_test
async def test_http_1_1_is_agreed_on(bench: Bench, tmp_path: Path) -> None:
    await secure(bench, tmp_path)
    assert bench.upstream.tls is not None
    assert bench.tls is not None
    bench.upstream.tls.set_alpn_protocols(["h2", "http/1.1"])
    bench.tls.set_alpn_protocols(["h2", "http/1.1"])
    await bench.upstream.start()
    for end in (await bench.connect(), await bench.upstream.accept()):
        tls = end.transport.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"


@socket_test
async def test_a_refusal_arrives_whole(bench: Bench, tmp_path: Path) -> None:
    await secure(bench, tmp_path)
    with pytest.raises(InvalidStatus) as caught:
        await bench.connect("/", {"x-reconnect-id": "unknown"})
    assert caught.value.response.status_code == 404
    assert b"unknown_session" in caught.value.response.body


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("who", ["server", "client"])
@pytest.mark.parametrize("begins", [True, False], ids=["it closes", "it is told to close"])
@socket_test
async def test_an_end_without_close_notify_behind_a_close_is_an_end(
    bench: Bench, tmp_path: Path, who: str, *, begins: bool, reset: bool
) -> None:
    """As many servers do: the Close handshake has said that nothing more comes."""
    proxy = await secure(bench, tmp_path, "--heartbeat-interval", "0")
    await bench.raw_upstream.start()
    client, server = await bench.raw_pair()
    ends, other = (client, server) if who == "client" else (server, client)
    if begins:
        ends.send(close_frame(1000, "done", masked=ends is client))
    else:
        other.send(close_frame(1000, "done", masked=other is client))
        assert (await ends.read_message()).close == (1000, "done")
        ends.send(close_frame(1000, "done", masked=ends is client))
    if begins:
        assert (await other.read_message()).close == (1000, "done")
    ends.abort(reset=reset)
    if begins:
        other.send(close_frame(1000, "done", masked=other is client))
    else:
        assert (await other.read_message()).close == (1000, "done")
    await proxy.logged(" closed by ")
    assert not any(state.endswith("down") for state, _ in proxy.transitions)
    assert not any("lost" in line for line in proxy.lines)


@pytest.mark.parametrize("who", ["server", "client"])
@socket_test
async def test_a_close_and_an_end_without_close_notify_in_one_go_are_an_end(
    bench: Bench, tmp_path: Path, who: str
) -> None:
    proxy = await secure(bench, tmp_path, "--heartbeat-interval", "0")
    await bench.raw_upstream.start()
    client, server = await bench.raw_pair()
    ends, other = (client, server) if who == "client" else (server, client)
    ends.send(
        frame(TEXT, b"last", masked=ends is client)
        + close_frame(1000, "done", masked=ends is client)
    )
    ends.abort(reset=False)
    assert (await other.read_message()).payload == b"last"
    assert (await other.read_message()).close == (1000, "done")
    other.send(close_frame(1000, "done", masked=other is client))
    await proxy.logged(" closed by ")
    assert not any(state.endswith("down") for state, _ in proxy.transitions)
