"""Chromium with the page of a development server: a number is written, and then the page says it.

What a page has not said after a while is written once more, and the page loaded again, as people
do: webpack's stands still when it has missed a part of an update, also where nothing is in between.
"""

import asyncio
import contextlib
import itertools
import shutil
import sys
from pathlib import Path

from playwright.async_api import ConsoleMessage, Error, Page, async_playwright

url, state = sys.argv[1], Path(sys.argv[2])
AGAIN = 5.0  # seconds
PAUSE = 0.1  # seconds: of two changes within half of that Vite's watcher sees one


def say(text: str) -> None:
    print(text, flush=True)


class Shown:
    """What a page says."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._number = 0

    async def hear(self, message: ConsoleMessage) -> None:
        kind, _, number = message.text.partition(" ")
        if kind != "shows":
            return
        if int(number):
            say(f"got {number}")
        async with self._changed:
            self._number = int(number)
            self._changed.notify_all()

    async def show(self, page: Page, number: int) -> None:
        while True:
            (state / "number.js").write_text(f"export default {number};\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN), self._changed:
                    await self._changed.wait_for(lambda: self._number >= number)
                    return
            with contextlib.suppress(Error):  # the server is away
                await page.reload()


async def main() -> None:
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    shown = Shown()
    async with async_playwright() as play:
        browser = await play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = await browser.new_page()
        page.on("console", shown.hear)
        page.on("load", lambda _: say("open"))
        await page.goto(url.replace("ws:", "http:"))
        for number in itertools.count(1):
            if ended.done():
                break
            say(f"sent {number}")
            await shown.show(page, number)
            await asyncio.sleep(PAUSE)
        await asyncio.Event().wait()


asyncio.run(main())
