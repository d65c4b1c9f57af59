"""The live page in a browser: what it shows is what happened."""

import asyncio
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from patience import LIMIT
from proxy_process import ProxyProcess
from socket_bench import Bench, socket_test
from upstream_server import cut

playwright = pytest.importorskip(
    "playwright.async_api", reason="needs Playwright, of the dev dependencies"
)
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the path")

TOKEN = "0123456789abcdef"
ADMIN = ("--admin", "127.0.0.1:0")


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """A headless Chromium."""
    async with playwright.async_playwright() as play:
        chromium = await play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            await chromium.close()


async def address(proxy: ProxyProcess) -> str:
    line = await proxy.logged("admin listening on ")
    return f"http://127.0.0.1:{line.rpartition(':')[2]}/"


async def opened(chromium: Any, url: str, errors: list[str] | None = None, **options: Any) -> Any:
    """The page in a tab of its own; `errors`: where to put what it complains of."""
    page = await chromium.new_page(**options)
    page.set_default_timeout(LIMIT * 1000)
    playwright.expect.set_options(timeout=LIMIT * 1000)
    if errors is not None:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    await page.goto(url)
    return page


async def shows(page: Any, selector: str, text: str | re.Pattern[str]) -> None:
    await playwright.expect(page.locator(selector)).to_have_text(text)


async def counts(page: Any, **states: int) -> None:
    for state, number in states.items():
        await shows(page, f"[data-state={state}] .count", str(number))


@socket_test
async def test_what_it_shows_is_what_happened(bench: Bench) -> None:
    await bench.upstream.start()
    quiet = ("--confirm-after", "3600", "--heartbeat-interval", "0", "--retry-interval", "1")
    proxy = await bench.proxy(*ADMIN, *quiet)
    url = await address(proxy)
    errors: list[str] = []
    async with browser() as chromium:
        page = await opened(chromium, url, errors)
        await shows(page, "#list-empty", re.compile("No sessions yet"))
        clients = [await bench.connect() for _ in range(3)]
        await counts(page, opening=0, connected=3, server_down=0)
        await shows(page, "#tile-sessions", "3")
        await shows(page, "#status", "all is well")
        await shows(page, "#servers .chip", "up")
        place = rf"version .* listens on 127\.0\.0\.1:{proxy.port} · process \d+ · up for .*"
        await shows(page, "#about", re.compile(place))
        await playwright.expect(page).to_have_title(re.compile(f"127.0.0.1:{proxy.port} · .*"))
        await playwright.expect(page.locator("#steer")).to_be_hidden()  # there is no token
        await clients[0].send("hello")  # 5 bytes, and 6 of its frame

        await bench.upstream.kill()
        await proxy.reached("server_down", times=3)
        await counts(page, connected=0, server_down=3)
        lost = '.flow[data-source="connected"][data-target="server_down"]'
        await playwright.expect(page.locator(lost)).to_have_class(re.compile("active"))
        await shows(page, "#tile-server", "3")
        cut(clients[0])
        await counts(page, server_down=2, both_down=1)
        await shows(page, "#tile-client", "1")
        await shows(page, "#tile-waiting", "11 B")
        told = page.locator("#episodes li")
        await playwright.expect(told.first).to_have_text(re.compile("up to 1 without a client .*"))
        await playwright.expect(told.last).to_have_text(re.compile("up to 3 without a server .*"))
        await shows(page, "#status", "the server is away")
        await shows(page, "#servers .chip", re.compile(r"away for \d"))
        await shows(page, "#servers .why", "Connection refused")
        await shows(page, "#waits", re.compile(r"3 sessions wait · attempt \d.* they end in .*\."))
        for end in ("server", "client"):
            area = page.locator(f".strip.{end} .solid")
            await playwright.expect(area).to_have_attribute("d", re.compile("^M"))

        await page.locator("#lifecycle [data-state=both_down]").click()
        await playwright.expect(page.get_by_label("State")).to_have_value("both_down")
        row = page.locator("#list tr")
        await playwright.expect(row).to_have_count(1)
        await playwright.expect(row).to_contain_text("both_down")
        await playwright.expect(row).to_contain_text("11 B")
        await page.get_by_label("State").select_option("connected")
        await shows(page, "#list-empty", "No session matches.")
        await page.get_by_label("State").select_option("both_down")
        await row.get_by_role("link").focus()
        await page.keyboard.press("Enter")
        states = page.locator("#sequence .state-name")
        await playwright.expect(states).to_have_text(["connected", "server_down", "both_down"])
        await shows(page, "#facts .chip", "both_down")

        await bench.upstream.start()
        await counts(page, connected=2, client_down=1, both_down=0)
        await playwright.expect(states.last).to_have_text("client_down")
        await proxy.stop()
        await shows(page, "#status", "no answer, trying again")
    bench.proxies.remove(proxy)
    assert not [error for error in errors if "net::ERR_" not in error]


@socket_test
async def test_pages_and_names_of_sessions(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    await asyncio.gather(*(bench.connect() for _ in range(23)))
    async with browser() as chromium:
        page = await opened(chromium, await address(proxy))
        links = page.locator("#list a")
        await playwright.expect(links).to_have_count(20)
        first = await links.all_text_contents()
        await page.get_by_role("button", name="Next").click()
        await playwright.expect(links).to_have_count(3)
        await shows(page, "#page-number", "Page 2 of 2")
        names = first + await links.all_text_contents()
        assert names == sorted(set(names))
        await page.get_by_label("Name").fill(names[7].upper())
        await playwright.expect(links).to_have_text([names[7]])
        await page.get_by_label("Name").fill("")
        await playwright.expect(links).to_have_text(first)
        await page.get_by_role("button", name="Age").click()
        head = page.locator("[data-sort=age_seconds]")
        await playwright.expect(head).to_have_attribute("aria-sort", "descending")
        await playwright.expect(links).not_to_have_text(first)
        oldest = await links.all_text_contents()
        await page.get_by_role("button", name="Next").click()
        await playwright.expect(links).to_have_count(3)
        assert {*oldest, *await links.all_text_contents()} == set(names)


@socket_test
async def test_who_opens_it_sees_what_was_before_and_what_is_under_the_pointer(
    bench: Bench,
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    client = await bench.connect()
    server = await bench.upstream.accept()
    for _ in range(20):
        await client.send("hello")
        await server.recv()
        await asyncio.sleep(0.1)
    async with browser() as chromium:
        page = await opened(chromium, await address(proxy))
        drawn = page.locator(".chart path.to-server").first
        await playwright.expect(drawn).to_have_attribute("d", re.compile("^M.{900}"))
        await page.locator(".chart .plot").first.hover()
        readout = page.locator(".chart .readout").first
        await playwright.expect(readout).to_have_text(
            re.compile(r"(59|60) s ago: \d+ to servers, \d+ to clients")
        )
        await page.locator("h1").hover()
        await playwright.expect(readout).to_be_hidden()
        await shows(page, "#vitals tr:last-child td", re.compile(r"\d+ of [\d,]+"))


@socket_test
async def test_an_operator_with_a_token_can_act(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "reknit.toml"
    file.write_text(f'admin = "127.0.0.1:0"\nadmin_token = "{TOKEN}"\n')
    await bench.upstream.start()
    proxy = await bench.proxy("--config", str(file), "--drain-time", "3600")
    for _ in range(3):  # the last one keeps the draining proxy alive
        await bench.connect()
    async with browser() as chromium:
        page = await opened(chromium, await address(proxy))
        page.on("dialog", lambda dialog: asyncio.create_task(dialog.accept()))
        await page.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await page.locator("#list a").first.click()
        await page.get_by_role("button", name="Cut the client").click()
        await proxy.reached("client_down")
        await shows(page, "#facts .chip", "client_down")
        await page.get_by_role("button", name="Cut the client").click()
        await shows(page, "#steered", "Not done: the proxy answered 409.")
        await page.get_by_role("button", name="Close", exact=True).click()
        await proxy.logged("closed by .* code 1001: closed by the operator")
        await page.locator("header").get_by_role("button", name="Drain").click()
        await proxy.logged("draining: 2 sessions")
        await shows(page, "#status", "draining")
    proxy.signal(signal.SIGINT)  # it need not wait for an hour


@socket_test
async def test_it_asks_for_the_token_and_keeps_it_in_its_tab(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "reknit.toml"
    file.write_text(f'admin = "0.0.0.0:0"\nadmin_token = "{TOKEN}"\n')
    proxy = await bench.proxy("--config", str(file))
    async with browser() as chromium:
        page = await opened(chromium, await address(proxy))
        field = page.get_by_label("Token")
        await playwright.expect(field).to_be_focused()
        await field.fill("wrong")
        await page.keyboard.press("Enter")
        await shows(page, "#refused", "Wrong token.")
        await field.fill(TOKEN)
        await page.keyboard.press("Enter")
        await shows(page, "#status", "all is well")
        await playwright.expect(field).to_be_hidden()
        await page.reload()
        await shows(page, "#status", "all is well")
        other = await opened(chromium, await address(proxy))
        await playwright.expect(other.get_by_label("Token")).to_be_focused()
        assert TOKEN not in page.url


LUMINANCE = """text => {
  const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(part => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}"""


@socket_test
async def test_both_themes_can_be_read_on_a_phone(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    await bench.connect()
    grounds = {}
    async with browser() as chromium:
        for theme in ("light", "dark"):
            page = await opened(
                chromium,
                await address(proxy),
                color_scheme=theme,
                reduced_motion="reduce",
                viewport={"width": 360, "height": 740},
            )
            await page.locator("#list a").click()
            await playwright.expect(
                page.get_by_role("img", name="Events between client, proxy and server")
            ).to_be_visible()
            root = "document.documentElement"
            assert await page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
            flow = page.locator(".flow path").first
            await flow.evaluate("path => path.parentNode.classList.add('active')")
            assert await flow.evaluate("path => getComputedStyle(path).animationName") == "none"
            for selector in ("h2", ".card > .soft", ".chip", "#list a", "#status", "dt"):
                first = page.locator(selector).filter(visible=True).first
                ink, ground = await first.evaluate(
                    """element => {
                      let under = element;
                      const ground = () => getComputedStyle(under).backgroundColor;
                      while (ground() === "rgba(0, 0, 0, 0)") under = under.parentNode;
                      return [getComputedStyle(element).color, ground()];
                    }"""
                )
                bright, dark = sorted(
                    [await page.evaluate(LUMINANCE, colour) for colour in (ink, ground)],
                    reverse=True,
                )
                assert (bright + 0.05) / (dark + 0.05) >= 4.5, (theme, selector)  # WCAG 2.2, AA
            grounds[theme] = await page.evaluate(LUMINANCE, ground)
    assert grounds["light"] > 0.8 > 0.1 > grounds["dark"]


@socket_test
async def test_nothing_from_elsewhere_can_be_in_it(bench: Bench) -> None:
    proxy = await bench.proxy(*ADMIN)
    url = await address(proxy)
    async with aiohttp.ClientSession() as http:
        async with http.get(url) as answer:
            policy = answer.headers["content-security-policy"].split("; ")
            text = await answer.text()
        sources = [rule.split(" ")[1] for rule in policy if "-src" in rule]
        assert set(sources) <= {"'none'", "'self'"}
        assert "default-src 'none'" in policy
        parts = re.findall(r'(?:src|href)="([^#"]+)"', text)
        assert len(parts) >= 5
        for part in parts:
            assert (await http.get(url + part)).status == 200, part
        assert (await http.get(url + "page/..%2Fpage.py")).status == 404
        assert (await http.get(url + "page/nothing.js")).status == 404
