"""The proxies that are compared: reknit in each delivery policy, and what is installed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from processes import HERE, free_port

NODE_MODULES = "FASTIFY_NODE_MODULES"  # names the directory that has @fastify/http-proxy in it
OWN = "reknit, "  # what names begin with that are those of this version
RUN_REKNIT = "from reknit.cli.main import main; main()"

HAPROXY = """\
global
  nbthread 1
  maxconn {connections}
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout tunnel 600s
frontend clients
  bind 127.0.0.1:{port}{tls}
  default_backend servers
backend servers
  server one 127.0.0.1:{upstream}
"""

NGINX = """\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {sockets}; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096{tls};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_read_timeout 600s;
      proxy_send_timeout 600s;
    }}
  }}
}}
"""


NGINX_TLS = " ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy: how it is called, started and reached; `resumes`: its sessions can be resumed."""

    name: str
    version: str
    port: int
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What a proxy is given: where the server is, where it may write, how many may connect.

    `certificate`: a file with its chain and its key, with which clients are to connect by TLS.
    """

    upstream: int
    directory: Path
    connections: int
    certificate: str = ""


def find(place: Place, commands: Sequence[str] = ()) -> list[Peer]:
    """All proxies that are here, and those of the command line (NAME=PORT=COMMAND).

    With a certificate only those of which is known how they are given one.
    """
    found = [maker(place) for maker in _KNOWN] + [_named(text, place) for text in commands]
    return [peer for peer in found if peer]


def at_least_once(place: Place) -> Peer:
    """reknit as it comes: at-least-once."""
    return _reknit(place, "at-least-once")


def _at_most_once(place: Place) -> Peer:
    return _reknit(place, "at-most-once")


def _reknit(place: Place, delivery: str) -> Peer:
    port = free_port()
    serve = ["serve", f"ws://127.0.0.1:{place.upstream}", "--listen", f"127.0.0.1:{port}"]
    options = ["--delivery", delivery, *_reknit_tls(place)]
    command = [sys.executable, "-c", RUN_REKNIT, *serve, *options]
    return Peer(f"{OWN}{delivery}", reknit_version(), port, command, resumes=True)


def _reknit_tls(place: Place) -> list[str]:
    return ["--tls-cert", place.certificate] if place.certificate else []


def reknit_version() -> str:
    """Its version and form, and the interpreter it runs in."""
    from importlib.metadata import version

    import reknit_core.wire.frames

    form = "pure Python" if str(reknit_core.wire.frames.__file__).endswith(".py") else "compiled"
    python = sys.version.split()[0]
    return f"{version('reknit')} ({form}, {sys.implementation.name} {python})"


def _haproxy(place: Place) -> Peer | None:
    program = _program("haproxy")
    if program is None:
        return None
    port = free_port()
    file = place.directory / f"haproxy-{port}.cfg"
    tls = f" ssl crt {place.certificate}" if place.certificate else ""
    connections = place.connections
    file.write_text(
        HAPROXY.format(port=port, tls=tls, upstream=place.upstream, connections=connections)
    )
    version = _version([program, "-v"], r"version (\S+)")
    return Peer("HAProxy", version, port, [program, "-f", str(file)])


def _nginx(place: Place) -> Peer | None:
    program = _program("nginx")
    if program is None:
        return None
    port = free_port()
    directory = place.directory / f"nginx-{port}"
    directory.mkdir()
    file = directory / "nginx.conf"
    sockets = 2 * place.connections + 64
    tls = ""
    if place.certificate:
        tls = NGINX_TLS.format(certificate=place.certificate)
    upstream = place.upstream
    file.write_text(
        NGINX.format(port=port, tls=tls, upstream=upstream, directory=directory, sockets=sockets)
    )
    command = [program, "-p", str(directory), "-e", "stderr", "-c", str(file)]
    return Peer("nginx", _version([program, "-v"], r"nginx/(\S+)"), port, command)


def _fastify(place: Place) -> Peer | None:
    modules, program = os.environ.get(NODE_MODULES), _program("node")
    if not modules or program is None or place.certificate:
        return None
    port = free_port()
    package = Path(modules, "@fastify", "http-proxy", "package.json").read_text()
    version = re.search(r'"version":\s*"([^"]+)"', package)
    node = _version([program, "--version"], r"v(\S+)")
    environment = {"MODULES": modules, "PORT": str(port), "UPSTREAM": str(place.upstream)}
    return Peer(
        "@fastify/http-proxy",
        f"{version[1] if version else '?'} (Node {node})",
        port,
        [program, str(HERE / "fastify.cjs")],
        environment,
    )


_KNOWN: tuple[Callable[[Place], Peer | None], ...] = (
    at_least_once,
    _at_most_once,
    _haproxy,
    _nginx,
    _fastify,
)


def _named(text: str, place: Place) -> Peer | None:
    """One of the command line; a reknit is known by its command. Raises ValueError."""
    name, _, rest = text.partition("=")
    port, _, command = rest.partition("=")
    if not (name and command and port.isdecimal()):
        raise ValueError(f"{text!r} is not NAME=PORT=COMMAND")
    words = [
        word.replace("{port}", port).replace("{upstream}", str(place.upstream))
        for word in shlex.split(command)
    ]
    is_reknit = any("reknit" in Path(word).name for word in words[:3])
    if place.certificate and not is_reknit:
        return None
    return Peer(name, "", int(port), [*words, *_reknit_tls(place)], resumes=is_reknit)


def _program(name: str) -> str | None:
    """Where it is; system packages put servers where a user's path may not lead."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")


def _version(command: list[str], pattern: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, ran.stdout + ran.stderr)
    return found[1] if found else "?"
