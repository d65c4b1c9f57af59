"""The keys of a TLS connection can't leave their process, so its session stays there too."""

from pathlib import Path

from socket_bench import Bench, closed, socket_test
from succession import Succession
from tls_files import (
    certificate,
    client_context,
    server_context,
    write_authority,
    write_certificate,
)

HOST = "127.0.0.1"


@socket_test
async def test_a_session_with_tls_stays_where_it_is_and_new_ones_go_on(
    bench: Bench, tmp_path: Path
) -> None:
    bench.upstream.tls = server_context(certificate(HOST))
    bench.tls = client_context()
    await bench.upstream.start()
    proxy = Succession(
        f"wss://{HOST}:{bench.upstream.port}",
        "--upstream-ca", write_authority(tmp_path),
        "--tls-cert", write_certificate(tmp_path / "cert.pem", certificate(HOST)),
    )  # fmt: skip
    await proxy.begin()
    bench.proxies.append(proxy)
    old_client, old_server = await bench.connect(), await bench.upstream.accept()
    half_way = await bench.raw()
    half_way.send(b"GET / HTTP/1.1\r\n")

    await proxy.restart()
    await half_way.ended()
    new_client, new_server = await bench.connect(), await bench.upstream.accept()
    for client, server in ((old_client, old_server), (new_client, new_server)):
        await client.send("there")
        assert await server.recv() == "there"
        await server.send("back")
        assert await client.recv() == "back"
    await old_client.close()
    assert (await closed(old_server))[0] == 1000


@socket_test
async def test_plain_connections_go_on_where_the_new_process_speaks_tls(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    door = str(tmp_path / "door")
    proxy = Succession(f"ws://{HOST}:{bench.upstream.port}", "--takeover", door)
    await proxy.begin()
    bench.proxies.append(proxy)
    client, server = await bench.connect(), await bench.upstream.accept()
    file = write_certificate(tmp_path / "cert.pem", certificate(HOST))
    await proxy.start("--tls-cert", file)
    await proxy.taken_over()
    await client.send("as before")
    assert await server.recv() == "as before"
    bench.tls = client_context()
    await bench.connect()
