"""The deployment files: what they name exists, and what they run works."""

import asyncio
import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import kubernetes_validate
import pytest
import yaml
from admin_client import Admin
from patience import LIMIT
from proxy_process import ProxyProcess
from reknit.settings.config import from_environment, from_toml, merge
from reknit.settings.options import OPTIONS
from reknit_core.lifecycle import State, Trigger
from reknit_core.policy.policy import Policy
from relay import free_port
from socket_bench import Bench, socket_test
from websockets.asyncio.client import connect

DEPLOY = Path(__file__).parents[3] / "adapters/reknit/deploy"
TOKEN = "0123456789abcdef"


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def manifest(kind: str) -> dict[str, Any]:
    (found,) = (
        each for each in yaml.safe_load_all(text("kubernetes.yaml")) if each["kind"] == kind
    )
    return dict(found)


def pod() -> dict[str, Any]:
    return dict(manifest("Deployment")["spec"]["template"]["spec"])


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


def variables_of_the_image() -> dict[str, str]:
    (line,) = re.findall(r"^ENV .*", text("Dockerfile"), re.MULTILINE)
    return dict(re.findall(r"(REKNIT_\w+)=(\S+)", line))


async def run(command: list[str], proxy: ProxyProcess) -> int | None:
    """Run a command of a file's, for this proxy's admin listener; returns its status."""
    line = await proxy.logged("admin listening on ")
    program, *rest = command
    assert program == "/opt/reknit/bin/reknit"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reknit", *rest),
        env={**os.environ, "REKNIT_ADMIN": line.split()[-1], "REKNIT_ADMIN_TOKEN": TOKEN},
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_are_what_systemd_understands(tmp_path: Path) -> None:
    def complaints(more: str = "") -> str:
        for name in ("reknit.service", "reknit.socket"):
            unit = text(name).replace("/opt/reknit/bin/reknit", sys.executable)
            (tmp_path / name).write_text(unit + more)
        command = ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert complaints() == ""
    assert "Unheard" in complaints("[Service]\nUnheardOf=1\n")


def test_the_units_fit_the_proxy() -> None:
    service = configparser.ConfigParser(interpolation=None, strict=False)
    service.optionxform = str  # type: ignore[assignment, method-assign]
    service.read_string(text("reknit.service"))
    policy = Policy()
    told = policy.drain_time + policy.close_timeout
    assert float(service["Service"]["TimeoutStopSec"]) > told
    assert service["Service"]["Type"] == "notify"
    assert service["Service"]["ExecReload"] == "/bin/kill -USR2 $MAINPID"
    (settings,) = re.findall(r"reknit\.toml:\n#\n((?:#     .*\n)+)", text("reknit.service"))
    assert merge(from_toml(settings.replace("#     ", ""), "reknit.toml")).admin is not None
    assert "ListenStream=9300" in text("reknit.socket").splitlines()


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget"])
def test_the_manifest_is_what_kubernetes_allows(kind: str) -> None:
    kubernetes_validate.validate(manifest(kind), "1.33", strict=True)
    broken = manifest(kind)
    broken["spec"]["unheard-of"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.33", strict=True)


def test_the_manifest_fits_the_proxy() -> None:
    values = {each["name"]: each.get("value", TOKEN) for each in container()["env"]}
    config = merge(from_environment(values))
    told = config.policy.drain_time + config.policy.close_timeout
    assert pod()["terminationGracePeriodSeconds"] > told
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    image = variables_of_the_image()
    (listen,) = merge(from_environment({**image, **values})).listen
    assert ports["ws"] == listen.port
    assert f":{ports['admin']}" in str(config.admin)
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] == "ws"
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Service")["spec"]["selector"].items() <= labels.items()
    monitor = yaml.safe_load(text("podmonitor.yaml"))["spec"]
    for spec in (manifest("PodDisruptionBudget")["spec"], monitor):
        assert spec["selector"]["matchLabels"].items() <= labels.items()
    (scraped,) = monitor["podMetricsEndpoints"]
    assert (scraped["port"], scraped["path"]) == ("admin", "/metrics")
    (token,) = (each for each in container()["env"] if each["name"] == "REKNIT_ADMIN_TOKEN")
    assert scraped["authorization"]["credentials"] == token["valueFrom"]["secretKeyRef"]


@socket_test
async def test_what_kubernetes_calls(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "reknit.toml"
    file.write_text(f'admin = "127.0.0.1:0"\nadmin_token = "{TOKEN}"\n')
    await bench.upstream.start()
    proxy = await bench.proxy("--config", str(file), "--drain-time", "3600")
    for _ in range(2):  # the second one keeps the draining proxy alive
        await bench.connect()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)

        async def probe(name: str) -> int:
            async with http.get(admin.base + container()[name]["httpGet"]["path"]) as answer:
                return answer.status

        assert (await probe("livenessProbe"), await probe("readinessProbe")) == (200, 200)
        assert await run(container()["lifecycle"]["preStop"]["exec"]["command"], proxy) == 0
        await proxy.logged("draining: 2 sessions")
        assert (await probe("livenessProbe"), await probe("readinessProbe")) == (200, 503)
    proxy.signal(signal.SIGINT)  # it need not wait for an hour


@socket_test
async def test_what_docker_calls(bench: Bench) -> None:
    (check,) = re.findall(r"CMD (\[.*\])", text("Dockerfile"))
    proxy = await bench.proxy("--admin", "127.0.0.1:0")
    assert await run(json.loads(check), proxy) == 0
    await proxy.stop()
    assert await run(json.loads(check), proxy) != 0


def test_the_composition_fits_the_image_and_the_proxy() -> None:
    composition = yaml.safe_load(text("compose.yaml"))
    proxy = composition["services"]["reknit"]
    root = (DEPLOY / proxy["build"]["context"]).resolve()
    assert (root / proxy["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    config = merge(from_environment(proxy["environment"]))
    assert config.upstreams[0].host in composition["services"]
    told = config.policy.drain_time + config.policy.close_timeout
    assert OPTIONS["drain_time"].read(proxy["stop_grace_period"]) > told
    (volume,) = proxy["volumes"]
    name, _, folder = volume.partition(":")
    assert name in composition["volumes"]
    assert str(config.state_dir).startswith(folder)
    assert f"install -d -o 10001 -g 10001 -m 700 {folder}" in text("Dockerfile")
    image = variables_of_the_image()
    (listen,) = merge(from_environment({**image, **proxy["environment"]})).listen
    assert proxy["ports"] == [f"{listen.port}:{listen.port}"]


@socket_test
async def test_the_server_of_the_composition_echoes(bench: Bench) -> None:
    app = yaml.safe_load(text("compose.yaml"))["services"]["app"]
    port = free_port()
    program = app["environment"]["ECHO"].replace("9125", str(port))
    assert "$$ECHO" in app["command"][-1]  # compose makes one $ of it
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    try:
        async for client in connect(f"ws://127.0.0.1:{port}", proxy=None, open_timeout=LIMIT):
            await client.send("hello")
            assert await client.recv() == "hello"
            await client.close()
            break
    finally:
        process.kill()
        await process.wait()


def test_the_image_has_what_the_checkout_has() -> None:
    root = DEPLOY.parents[2]
    sources = re.findall(r"^COPY (?!--from)(.*) \S+$", text("Dockerfile"), re.MULTILINE)
    let_in = (root / ".dockerignore").read_text().splitlines()
    for name in " ".join(sources).split():
        assert (root / name).exists(), name
        assert f"!{name}" in let_in


def dashboard_queries() -> list[str]:
    dashboard = json.loads(text("grafana.json"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return queries + [each["query"]["query"] for each in dashboard["templating"]["list"][1:]]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(text("alerts.yaml"))["groups"]
    return list(group["rules"])


@pytest.mark.parametrize(("name", "least"), [("grafana.json", 15), ("alerts.yaml", 12)])
@socket_test
async def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(
    bench: Bench, tmp_path: Path, name: str, least: int
) -> None:
    queries = dashboard_queries() if name == "grafana.json" else [rule["expr"] for rule in alerts()]
    events = ("--on-event", "http://127.0.0.1:1/")
    more = (*events, "--state-dir", str(tmp_path / "state")) if name == "alerts.yaml" else ()
    proxy = await bench.proxy("--admin", "127.0.0.1:0", *more)
    async with aiohttp.ClientSession() as http:
        base = (await Admin.of(proxy, http)).base
        async with http.get(base + "/metrics") as answer:
            # Also those that have no sample yet; HELP and TYPE name a histogram without its parts.
            there = set(re.findall(r"^(?:# TYPE )?(\w+)", await answer.text(), re.MULTILINE))
    there |= {"reknit_workers_restarted_total"}  # with --workers
    named = set(re.findall(r"\b(?:reknit|process)_\w+", " ".join(queries)))
    assert len(named) >= least
    assert named <= there
    for label, kind in (("state", State), ("trigger", Trigger)):
        values = re.findall(rf'{label}=~?"([^"]*)"', " ".join(queries))
        assert values
        assert {value for group in values for value in group.split("|")} <= {
            each.value for each in kind
        }


def test_each_alert_says_where_and_what() -> None:
    for rule in alerts():
        assert rule["alert"].startswith("Reknit")
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert "$labels.instance" in rule["annotations"]["summary"]
        assert rule["expr"].count("(") == rule["expr"].count(")")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_the_alerts_are_what_prometheus_understands(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(text("alerts.yaml"))
    (settings,) = re.findall(r"metrics of reknit.*\n#\n((?:#     .*\n)+)", text("alerts.yaml"))
    config = settings.replace("#     ", "").replace("/etc/prometheus", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(config)
    (tmp_path / "reknit-admin-token").write_text(TOKEN)
    command = ["promtool", "check", "config", "prometheus.yml"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(alerts())} rules found" in checked.stdout
