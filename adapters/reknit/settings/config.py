"""The configuration of `reknit serve`: command line over environment over file over defaults.

Pure: text and TOML values go in, a checked Config comes out.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

from reknit_core.policy.policy import Policy
from reknit_core.policy.setting import PolicyError
from reknit_core.policy.upstream import Upstream
from reknit_core.wire.reasons import printable, without_user, without_users

from reknit.settings.addresses import Address, Listen, UnixPath, is_loopback, leads_to, parse_listen
from reknit.settings.cluster import StoreUrl
from reknit.settings.option import PREFIX, Option
from reknit.settings.options import OPTIONS, LogFormat, LogLevel, Staying, TlsFiles

CONFIG = "config"  # names the file itself, so it can't stand in one
SHOWN = 60  # characters of a bad value in an error

NEEDS = {
    "tls_key": "tls_cert",
    "tls_client_ca": "tls_cert",
    "upstream_key": "upstream_cert",
    "state_sync": "state_dir",
    "cluster_name": "cluster",
    "cluster_secret": "cluster",
    "cluster_password": "cluster",
    "cluster_lease": "cluster",
    "cluster_alone": "cluster",
    "cluster_ca": "cluster",
    "node_address": "cluster",
    "node_listen": "node_address",
    "node_cert": "node_ca",
    "node_key": "node_cert",
    "node_ca": "node_cert",
}
_UPSTREAM_TLS = ("upstream_ca", "upstream_cert", "upstream_key")

# Kubernetes sets some for a service of the name "reknit"; REKNIT_COMPILE is the build's, and
# REKNIT_TAKEOVER_FD restart.py's.
_FOREIGN = re.compile(
    r"REKNIT_(COMPILE|TAKEOVER_FD|SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_[A-Z]+(_\w+)?)?)"
)

_SECRET = re.compile("token|secret|password", re.IGNORECASE)  # in a name: its value isn't shown


class ConfigError(ValueError):
    """What is wrong with the configuration: one line for people."""


@dataclass(frozen=True, slots=True)
class Given:
    """A checked value, and how the person named it: for errors."""

    label: str
    value: object


Layer = Mapping[str, Given]
"""What one source says, by option name."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that `reknit serve` needs to know."""

    upstreams: tuple[Upstream, ...]
    listen: tuple[Address, ...] = field(
        default_factory=lambda: (parse_listen(OPTIONS["listen"].default),)
    )
    log_level: LogLevel = LogLevel.INFO
    policy: Policy = field(default_factory=Policy)
    log_format: LogFormat = LogFormat.TEXT
    admin: Address | None = None
    admin_token: str | None = field(default=None, repr=False)
    admin_requests: bool = False
    on_event: str | None = field(default=None, repr=False)
    takeover: Path | None = None
    takeover_tls: Staying = Staying.KEEP
    state_dir: Path | None = None
    state_sync: float = 1.0
    cluster: tuple[StoreUrl, ...] = ()
    cluster_name: str = "reknit"
    cluster_secret: str | None = field(default=None, repr=False)
    cluster_password: str | None = field(default=None, repr=False)
    cluster_lease: float = 5.0
    cluster_alone: float = 600.0
    node_address: Listen | None = None
    node_listen: Listen | None = None
    workers: int = 1
    tls: TlsFiles = field(default_factory=TlsFiles)

    @property
    def is_secure(self) -> bool:
        """Whether a server speaks TLS."""
        return any(upstream.secure for upstream in self.upstreams)


_OWN = frozenset(item.name for item in fields(Config)) - {"upstreams", "policy", "tls"}


# -- Sources -----------------------------------------------------------------------------------


def from_command_line(values: Mapping[str, object]) -> Layer:
    """What options were given, by name; None: not given. Raises ConfigError."""
    layer = {}
    for name, value in values.items():
        if value is not None:
            option = OPTIONS[name]
            if option.is_secret:
                raise ConfigError(
                    f"{option.flag}: others on this machine can read a command line; set "
                    f"{option.variable}, or {name} in the file of --config"
                )
            label = option.metavar if name == "upstream" else option.flag
            layer[name] = _given(option, label, value, text=isinstance(value, str))
    return layer


def from_environment(environ: Mapping[str, str]) -> Layer:
    """What the REKNIT_ variables say. Raises ConfigError."""
    known = {option.variable: option for option in OPTIONS.values()}
    layer = {}
    for variable, value in sorted(environ.items()):
        if variable in known:
            option = known[variable]
            layer[option.name] = _given(option, f"environment variable {variable}", value)
        elif variable.startswith(PREFIX) and not _FOREIGN.fullmatch(variable):
            names = [*known, PREFIX + CONFIG.upper()]
            if variable not in names:
                raise _unknown("environment variable", variable, value, names)
    return layer


def from_toml(text: str, source: str) -> Layer:
    """What a TOML file says; `source` is its name, for errors. Raises ConfigError."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid TOML: {one_line(error)}") from None
    layer: dict[str, Given] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in OPTIONS:
            raise _unknown(f"{source}:", key, value, list(OPTIONS))
        if name in layer:
            raise ConfigError(f"{source}: {key} is given twice: as {name} and {key}")
        layer[name] = _given(OPTIONS[name], f"{source}: {key}", value, text=False)
    return layer


def overlay(*layers: Layer) -> Layer:
    """What the layers say together, the first one above the others."""
    given: dict[str, Given] = {}
    for layer in reversed(layers):
        given.update(layer)
    return given


def merge(*layers: Layer) -> Config:
    """The configuration that the layers make together, the first one above the others.

    Raises ConfigError where no layer names an upstream, or values don't go together.
    """
    given = overlay(*layers)
    values = {name: item.value for name, item in given.items()}
    upstreams = values.pop("upstream", None)
    if not isinstance(upstreams, tuple):
        raise ConfigError(f"UPSTREAM is missing: the server's URL, {OPTIONS['upstream'].allowed}")
    own = {name: values.pop(name) for name in _OWN & values.keys()}
    _check_needs(given, upstreams)
    names = [item.name for item in fields(TlsFiles) if item.name in values]
    tls = TlsFiles(**{name: str(values.pop(name)) for name in names})
    try:
        policy = Policy(**values)  # type: ignore[arg-type]
    except PolicyError as error:
        label = given[error.name].label if error.name in given else error.name
        raise _not_allowed(label, error.value, error.allowed, error.problem) from None
    config = Config(upstreams, policy=policy, tls=tls, **own)  # type: ignore[arg-type]
    _check_admin(config)
    _check_upstream(config)
    if config.cluster:
        _check_cluster(config)
    elif config.tls.node_cert:
        raise ConfigError("--node-cert needs --cluster too")
    return config


def _check_needs(given: Layer, upstreams: tuple[Upstream, ...]) -> None:
    """An option that would do nothing is a mistake, and may be a dangerous one."""
    for name, item in given.items():
        needs = NEEDS.get(name)
        if needs is not None and needs not in given:
            raise ConfigError(f"{item.label} needs {OPTIONS[needs].flag} too")
        if name in _UPSTREAM_TLS and not any(upstream.secure for upstream in upstreams):
            raise ConfigError(f"{item.label} needs a wss:// upstream")


def _check_admin(config: Config) -> None:
    """Whoever can reach an admin listener can end sessions."""
    match config.admin:
        case Listen(host) if not is_loopback(host) and config.admin_token is None:
            secret = OPTIONS["admin_token"]
            raise ConfigError(
                f"--admin {config.admin} is open to other machines: it needs a token, by "
                f"{secret.variable} or by {secret.name} in the file of --config"
            )
        case Listen() | UnixPath() | None:
            pass


def _check_upstream(config: Config) -> None:
    """A proxy whose server is the proxy itself would only ever talk to itself."""
    for upstream in config.upstreams:
        _check_server(config, upstream)


def _check_server(config: Config, upstream: Upstream) -> None:
    for flag, address in [("listen", each) for each in config.listen] + [("admin", config.admin)]:
        match address:
            case Listen() if not upstream.socket_path:
                is_itself = leads_to(upstream.host, upstream.port, address)
            case UnixPath(path):
                is_itself = path == upstream.socket_path
            case _:
                is_itself = False
        if is_itself:
            raise ConfigError(
                f"UPSTREAM: {upstream.url} is this proxy itself ({OPTIONS[flag].flag} {address})"
            )


def _check_cluster(config: Config) -> None:
    """What a cluster needs, and what does not go with it."""
    if config.state_dir is not None:
        raise ConfigError("--state-dir and --cluster: sessions are kept at one of the two only")
    if config.workers != 1:
        raise ConfigError("--workers and --cluster don't go together yet: start several nodes")
    if config.takeover is not None:
        raise ConfigError("--takeover and --cluster don't go together yet: restart node by node")
    if config.cluster_secret is None:
        secret = OPTIONS["cluster_secret"]
        raise ConfigError(
            f"--cluster needs a secret that its nodes share, by {secret.variable} or by "
            f"{secret.name} in the file of --config"
        )
    if config.node_address is None:
        raise ConfigError(
            "--cluster needs --node-address HOST:PORT, at which other nodes reach this one"
        )
    if config.tls.cluster_ca and not any(url.secure for url in config.cluster):
        raise ConfigError("--cluster-ca needs a rediss:// URL in --cluster")


def _given(option: Option, label: str, value: object, *, text: bool = True) -> Given:
    try:
        return Given(label, option.read(option.parse(str(value)) if text else value))
    except (ValueError, OverflowError) as error:
        problem = error.problem if isinstance(error, PolicyError) else ""
        if (option.name, value) == ("delivery", "exactly-once"):  # as `reknit demo` names it
            problem = "exactly once is what a peer that counts its messages gets, by any policy"
        shown = "..." if option.is_secret else value
        raise _not_allowed(label, shown, option.allowed, problem) from None


# -- Errors ------------------------------------------------------------------------------------


def one_line(error: object) -> str:
    """Text for people on one line: anything that would break or colour it is escaped."""
    return printable(str(error))


def _shown(value: object) -> str:
    text = repr(without_user(value)) if isinstance(value, str) else without_users(repr(value))
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _not_allowed(label: str, value: object, allowed: str, problem: str = "") -> ConfigError:
    why = f": {problem}" if problem else ""
    return ConfigError(f"{label}: {_shown(value)} is not allowed{why}; allowed: {allowed}")


def _unknown(where: str, key: str, value: object, known: list[str]) -> ConfigError:
    near = get_close_matches(key.replace("-", "_"), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    if isinstance(value, dict):
        hint = f"settings don't stand in tables; {hint}"
    shown = "..." if _SECRET.search("".join((key, *near))) else _shown(value)
    return ConfigError(f"{where} {one_line(key)}: unknown key (value {shown}); {hint}")
