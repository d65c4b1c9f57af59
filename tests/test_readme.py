"""The README names every option, header and close code, with the defaults that hold."""

import re
from dataclasses import fields
from enum import Enum
from pathlib import Path

import pytest
import trio
from reknit.admin.calls import ContextCalls
from reknit.admin.feed import Feed
from reknit.admin.health import routes
from reknit.admin.metrics import Metrics
from reknit.admin.page import Page
from reknit.admin.requests import RequestCalls
from reknit.admin.router import Route
from reknit.settings.options import NEVER, OPTIONS, TlsFiles
from reknit.state.directory import StateDir
from reknit.state.store import Store
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions
from reknit_core.codes import GAP, OVERFLOW, SERVICE_RESTART, TAKEN_OVER
from reknit_core.counters import Histogram
from reknit_core.policy.policy import SETTINGS, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.admission import Admission
from reknit_core.proxy.contexts import Contexts

README = (Path(__file__).parents[1] / "README.md").read_text()


def shown(value: object) -> str:
    """A default as the README's table has it."""
    match value:
        case bool():
            return str(value).lower()
        case frozenset():
            return ",".join(str(part) for part in sorted(value)) or "none"
        case Enum():
            return str(value.value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


@pytest.mark.parametrize("name", [field.name for field in fields(Policy)])
def test_the_options_table(name: str) -> None:
    setting = SETTINGS[name]
    default = f"{shown(getattr(Policy(), name))} {setting.unit}".strip()
    row = f"| `--{name.replace('_', '-')}` | {default} | {setting.help} |"
    assert row in README


@pytest.mark.parametrize("name", [field.name for field in fields(TlsFiles)])
def test_the_options_table_has_the_files(name: str) -> None:
    option = OPTIONS[name]
    assert f"| `{option.flag}` | {option.default} | {option.help} |" in README


@pytest.mark.parametrize(
    "code", [1001, 1002, 1009, SERVICE_RESTART, 1013, GAP, OVERFLOW, TAKEN_OVER]
)
def test_the_close_codes_table(code: int) -> None:
    table = README[README.index("| close code |") : README.index("| status |")]
    assert str(code) in table


# -- The admin listener ------------------------------------------------------------------------


def admin_section() -> str:
    return README[README.index("## See what it does") : README.index("## What is said on the wire")]


def admin(folder: Path) -> tuple[Metrics, list[Route]]:
    contexts = Contexts(Policy(), Upstream("h", 1), lambda size: b"\0" * size)
    sessions = Sessions(contexts, records=True)
    reactor = Reactor(*[lambda *_: None] * 4)
    store = Store(StateDir(folder, NEVER), contexts)
    metrics = Metrics(sessions, Admission(Policy()), Histogram(), lambda: 0, store)
    calls = ContextCalls(sessions, reactor)
    requests = RequestCalls(sessions, reactor, is_allowed=True)
    parts = (Page(), Feed(sessions), metrics, calls, requests)
    health = routes(lambda: True, lambda: None, store)
    return metrics, [*health, *(route for part in parts for route in part.routes())]


def collected(metrics: Metrics) -> set[str]:
    async def collect() -> set[str]:
        suffix = {"counter": "_total", "info": "_info"}
        return {family.name + suffix.get(family.type, "") for family in metrics.collect()}

    return trio.run(collect)


def test_the_metrics_table_names_what_there_is(tmp_path: Path) -> None:
    named = set(re.findall(r"`(reknit_\w+)(?:\{[a-z,]+\})?`", admin_section()))
    assert named == collected(admin(tmp_path)[0])


def test_the_calls_table_names_what_there_is(tmp_path: Path) -> None:
    named = set(re.findall(r"`(GET|POST) (/[\w/]*)[?`]", admin_section()))
    there = {
        (route.method, route.path.replace("{session}", "SESSION").replace("{file}", "FILE"))
        for route in admin(tmp_path)[1]
    }
    assert named == there
