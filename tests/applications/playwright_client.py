"""Playwright, which has a browser evaluate one expression after the other."""

import asyncio
import sys

from playwright.async_api import Browser, Error, async_playwright

url, every = sys.argv[1].replace("ws:", "http:"), int(sys.argv[2]) / 1000
AGAIN = 0.1  # seconds


def say(text: str) -> None:
    print(text, flush=True)


async def talk(browser: Browser, ended: asyncio.Task[str]) -> None:
    page = await browser.new_page()
    say("open")
    while not ended.done():
        numbers.append(len(numbers) + 1)
        say(f"sent {numbers[-1]}")
        say(f"got {await page.evaluate('number => number', numbers[-1])}")
        await asyncio.sleep(every)
    await asyncio.Event().wait()


async def main() -> None:
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with async_playwright() as play:
        while True:
            try:
                await talk(await play.chromium.connect_over_cdp(url), ended)
            except Error:
                await asyncio.sleep(AGAIN)


numbers: list[int] = []
asyncio.run(main())
