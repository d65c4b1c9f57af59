"""The pages name every option, metric, call and close code, with the defaults that hold."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import trio
from reknit.admin.calls import SessionCalls
from reknit.admin.feed import Feed
from reknit.admin.health import routes
from reknit.admin.metrics.collector import Metrics
from reknit.admin.page import Page
from reknit.admin.requests import RequestCalls
from reknit.admin.router import Route
from reknit.cli.main import main
from reknit.cluster.book_store import BookStore
from reknit.cluster.connecting import Access
from reknit.settings.config import from_command_line, merge
from reknit.settings.options import NEVER, OPTIONS
from reknit.state.directory import StateDir
from reknit.state.directory_store import DirectoryStore
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions
from reknit.trio.transport.certificates import Certificates
from reknit_core.cluster.secret import Secret
from reknit_core.cluster.times import Times
from reknit_core.codes import GAP, OVERFLOW, SERVICE_RESTART, TAKEN_OVER
from reknit_core.counters import Histogram
from reknit_core.policy.policy import SETTINGS, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.admission import Admission
from reknit_core.proxy.contexts import Contexts

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "core/README.md", "adapters/README.md")),
    *sorted((ROOT / "adapters" / "guide").glob("*.md")),
    *sorted((ROOT / ".github").glob("*.md")),
]
OPTIONS_PAGE = (ROOT / "adapters" / "guide" / "options.md").read_text()
OBSERVE_PAGE = (ROOT / "adapters" / "guide" / "observe.md").read_text()
WIRE_PAGE = (ROOT / "core" / "README.md").read_text()


@pytest.mark.parametrize("name", [field.name for field in fields(Policy)])
def test_the_options_table(name: str) -> None:
    setting, option = SETTINGS[name], OPTIONS[name]
    default = option.shown(getattr(Policy(), name)) or "none"
    unit = "" if option.quantity else setting.unit
    row = f"| `{option.flag}` | {f'{default} {unit}'.strip()} | {setting.help} |"
    assert row in OPTIONS_PAGE


@pytest.mark.parametrize("name", sorted({*OPTIONS} - {*SETTINGS} - {"upstream"}))
def test_the_options_table_has_the_adapters_own(name: str) -> None:
    option = OPTIONS[name]
    unlinked = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", OPTIONS_PAGE)
    assert f"| `{option.flag}` | {option.default or 'none'} | {option.help} |" in unlinked


def test_the_options_table_has_no_others() -> None:
    rows = re.findall(r"^\| `(--[\w-]+)` \|", OPTIONS_PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(
        ["--config", *(option.flag for option in OPTIONS.values() if option.name != "upstream")]
    )


@pytest.mark.parametrize(
    "code", [1001, 1002, 1009, SERVICE_RESTART, 1013, GAP, OVERFLOW, TAKEN_OVER]
)
def test_the_close_codes_table(code: int) -> None:
    table = WIRE_PAGE[WIRE_PAGE.index("| close code |") : WIRE_PAGE.index("| status |")]
    assert str(code) in table


# -- The admin listener ------------------------------------------------------------------------


def admin(folder: Path) -> tuple[Metrics, list[Route]]:
    contexts = Contexts(Policy(), Upstream("h", 1), lambda size: b"\0" * size)
    reactor = Reactor(*[lambda *_: None] * 5)
    sessions = Sessions(contexts, reactor, records=True)
    store = DirectoryStore(StateDir(folder, NEVER), contexts)
    metrics = Metrics(sessions, Admission(Policy()), Histogram(), lambda: 0, store, Certificates())
    calls = SessionCalls(sessions, reactor)
    requests = RequestCalls(sessions, reactor, is_allowed=True)
    parts = (Page(), Feed(sessions), metrics, calls, requests)
    health = routes(lambda: True, lambda: False, lambda: None, store)
    return metrics, [*health, *(route for part in parts for route in part.routes())]


class Nowhere:
    """A home that nobody comes to."""

    adopt = drop = touch = staticmethod(lambda contexts: None)


def collected(metrics: Metrics) -> set[str]:
    async def collect() -> set[str]:
        suffix = {"counter": "_total", "info": "_info"}
        return {family.name + suffix.get(family.type, "") for family in metrics.collect()}

    return trio.run(collect)


def test_the_metrics_table_names_what_there_is(tmp_path: Path) -> None:
    named = set(re.findall(r"`(reknit_\w+)(?:\{[a-z,]+\})?`", OBSERVE_PAGE))
    contexts = Contexts(Policy(), Upstream("h", 1), lambda size: b"\0" * size)
    in_cluster = BookStore(Access(()), "reknit", Secret("s" * 32), Times(), contexts, Nowhere())
    measures = {measure.name for measure in in_cluster.measures()}
    assert named == collected(admin(tmp_path)[0]) | measures


def test_the_calls_table_names_what_there_is(tmp_path: Path) -> None:
    named = set(re.findall(r"`(GET|POST) (/[\w/]*)[?`]", OBSERVE_PAGE))
    there = {
        (route.method, route.path.replace("{session}", "SESSION").replace("{file}", "FILE"))
        for route in admin(tmp_path)[1]
    }
    assert named == there


# -- Links -------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """All that a page links to or shows, but for other sites."""
    text = page.read_text()
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"src(?:set)?=\"([^\"]+)\"", text)
    return [link for link in found if not re.match(r"https?://|mailto:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_of_the_guide_is_in_both_indexes() -> None:
    guide = {page.name for page in PAGES if page.parent.name == "guide"}
    for index in (ROOT / "README.md", ROOT / "adapters" / "README.md"):
        assert {Path(link).name for link in links(index) if "guide/" in link} >= guide


def test_the_readme_has_one_command_that_runs_the_tests() -> None:
    """It is one line, which works from a checkout with nothing but Python."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (command,) = (block for block in blocks if "pytest" in block)
    assert len(command.splitlines()) == 1
    assert "pip install" in command
    assert "--group dev" in command


# -- Commands ----------------------------------------------------------------------------------


def commands(page: Path) -> list[list[str]]:
    """The commands in a page's shell blocks, as words."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    text = "".join(blocks).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if re.match(r"(reknit|python) ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_one_that_there_is(page: Path) -> None:
    for program, name, *arguments in commands(page):
        if program == "python":
            assert (ROOT / name).is_file()
        elif arguments != ["--help"]:
            parent = main.make_context("reknit", [name, "--help"], resilient_parsing=True)
            context = main.commands[name].make_context(name, arguments, parent)
            if name == "serve":
                options = {**context.params}
                named = [options.pop(each) for each in ("config_file", "check", "print_config")]
                assert named[0] or merge(from_command_line(options), {}, {})


# -- Programs ----------------------------------------------------------------------------------

EMBED = (ROOT / "adapters" / "guide" / "embed.md").read_text()


@pytest.mark.parametrize("program", re.findall(r"```py\n(.*?)```", EMBED, re.DOTALL))
def test_a_program_with_the_proxy_inside_runs(program: str, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program)
    run = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert "clients connect to 127.0.0.1:" in run.stdout


# -- Layout ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "page"),
    [("core/reknit_core", "core/README.md"), ("adapters/reknit", "adapters/README.md")],
)
def test_every_package_is_in_the_layout(package: str, page: str) -> None:
    text = (ROOT / page).read_text()
    table = text[text.index("| package of") :].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)/`", table))
    there = {init.parent.name for init in (ROOT / package).glob("*/__init__.py")}
    assert named - {"deploy", "door", "transport"} == there
