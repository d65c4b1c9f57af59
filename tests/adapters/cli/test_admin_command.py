"""`reknit admin`: a running proxy is asked and steered, over TCP and a Unix socket."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from reknit.cli.main import main
from socket_bench import Bench, socket_test

TOKEN = "0123456789abcdef"


def run(*arguments: str, env: dict[str, str] | None = None, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["admin", *arguments], env=env, input=stdin)


async def ask(*arguments: str, stdin: str = "", **env: str) -> tuple[int | None, str, str]:
    """Run the command in a process of its own, as people and probes do."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("REKNIT_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reknit", "admin", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**clean, **env},
    )
    out, err = await process.communicate(stdin.encode())
    return process.returncode, out.decode(), err.decode()


@socket_test
async def test_sessions_are_listed_shown_found_cut_and_ended(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--admin", "127.0.0.1:0")
    address = (await proxy.logged("admin listening on ")).split()[-1]
    client = await bench.connect("/?connection_id=customer-1")
    status, out, err = await ask(address, "sessions")
    assert (status, err) == (0, "")
    head, row = out.splitlines()
    assert head.split()[:2] == ["SESSION", "STATE"]
    name, state, *_ = row.split()
    assert state == "connected"
    assert (await ask(address, "sessions", "--state", "server_down"))[1].split() == head.split()
    status, out, _ = await ask(address, "sessions", "--json")
    assert json.loads(out)["session"] == name
    status, out, _ = await ask(address, "session", name)
    assert (status, json.loads(out)["state"]) == (0, "connected")
    status, found, _ = await ask(address, "session", "--find", stdin="customer-1\n")
    assert json.loads(found)["session"] == name

    assert (await ask(address, "cut", name, "server"))[0] == 0
    await proxy.reached("server_down")
    await proxy.reached("connected", 2)
    assert (await ask(address, "close", name, "--code", "4000", "--reason", "enough"))[0] == 0
    await client.wait_closed()
    assert (client.close_code, client.close_reason) == (4000, "enough")
    status, out, err = await ask(address, "session", name)
    assert (status, out) == (1, "")
    assert err == f"reknit: {address}: there is no such session, or it has ended\n"


@socket_test
async def test_containers_ask_by_environment_and_need_the_token_only_to_steer(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    file = tmp_path / "proxy.toml"
    file.write_text(f'admin = "0.0.0.0:0"\nadmin_token = "{TOKEN}"\n')
    proxy = await bench.proxy("--config", str(file), "--drain-time", "3600")
    for _ in range(2):  # the second one keeps the draining proxy alive
        await bench.connect()
    address = (await proxy.logged("admin listening on ")).split()[-1]
    here = {"REKNIT_ADMIN": address}
    assert (await ask("health", **here))[:2] == (0, "alive\n")
    assert (await ask("health", "--ready", **here))[:2] == (0, "ready\n")
    status, _, err = await ask("drain", **here)
    assert status == 1
    assert err == (
        f"reknit: {address}: the token is missing or wrong: set REKNIT_ADMIN_TOKEN, or name the "
        "proxy's own --config\n"
    )
    assert (await ask("drain", **here, REKNIT_ADMIN_TOKEN=TOKEN))[:2] == (0, "draining\n")
    await proxy.logged("draining: 2 sessions")
    assert (await ask("health", "--ready", **here))[::2] == (1, f"reknit: {address}: draining\n")
    assert (await ask(address, "--config", str(file), "sessions"))[0] == 0
    proxy.signal(signal.SIGINT)  # it need not wait for an hour


@socket_test
async def test_a_unix_socket_is_asked(bench: Bench, tmp_path: Path) -> None:
    path = f"unix:{tmp_path / 'admin'}"
    proxy = await bench.proxy("--admin", path)
    assert (await ask(path, "health"))[:2] == (0, "alive\n")
    await proxy.stop()
    status, _, err = await ask(path, "health")
    assert status == 1
    assert err.startswith(f"reknit: can't reach {path}: ")


def test_what_is_no_address() -> None:
    result = run("sesions", "--json")
    assert result.exit_code == 2
    assert "'sesions' is not allowed" in result.stderr
    assert "without an address one of sessions, session, " in result.stderr
    assert run("9301", "sesions").exit_code == 2
    assert run("9301", "cut", "0123", "both").exit_code == 2
    assert "SESSION or --find" in run("9301", "session").stderr
    wrong = run("health", env={"REKNIT_ADMIN": "nowhere"})
    assert wrong.stderr.startswith("reknit: environment variable REKNIT_ADMIN: 'nowhere'")


def test_settings_that_are_not_its_business_do_not_matter() -> None:
    env = {"REKNIT_ADMIN": "unix:/nowhere/admin", "REKNIT_RETRY_LIMIT": "many", "REKNIT_OLD": "1"}
    result = run("health", env=env)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("reknit: can't reach unix:/nowhere/admin: ")


@pytest.mark.parametrize("answer", [b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b""])
def test_what_is_no_admin_listener(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def reply() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        result = run(f"http://{address}/", "drain")
        thread.join()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert address in result.stderr
