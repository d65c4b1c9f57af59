"""A client of a proxy's admin listener."""

import asyncio
import json
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from proxy_process import ProxyLog

ADMIN = ("--admin", "127.0.0.1:0")


class Admin:
    """A client of the proxy's admin listener."""

    def __init__(self, base: str, http: aiohttp.ClientSession) -> None:
        self.base = base
        self._http = http

    @classmethod
    async def of(cls, proxy: ProxyLog, http: aiohttp.ClientSession) -> "Admin":
        line = await proxy.logged("admin listening on ")
        return cls(f"http://{line.rpartition(' ')[2]}", http)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """The status, and the answer's JSON."""
        async with self._http.request(method, self.base + path, **options) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> Any:
        status, document = await self.ask("GET", path)
        assert status == 200, document
        return document

    async def post(self, path: str, **document: object) -> Any:
        status, answer = await self.ask("POST", path, data=json.dumps(document))
        assert status == 200, answer
        return answer

    async def only(self) -> str:
        """The name of the only session."""
        (context,) = (await self.get("/sessions"))["sessions"]
        return str(context["session"])

    async def metrics(self) -> dict[str, float]:
        """Every sample, as `name{label=value,...}`, labels in the order of the alphabet."""
        async with self._http.get(self.base + "/metrics") as answer:
            assert answer.status == 200
            text = await answer.text()
        samples = {}
        for family in text_string_to_metric_families(text):
            assert family.documentation
            for sample in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return samples

    async def counts(self, sample: str, number: float) -> None:
        """Wait until the metrics say so."""
        while (await self.metrics()).get(sample) != number:
            await asyncio.sleep(0.05)
