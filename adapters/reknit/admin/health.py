"""Whether the proxy lives, and whether it takes new sessions."""

from collections.abc import Callable

from reknit.admin.messages import Request, Response, text_response
from reknit.admin.router import Route


def routes(is_ready: Callable[[], bool]) -> tuple[Route, ...]:
    """`/livez` and `/readyz`, open to all: they give nothing away."""

    async def livez(request: Request) -> Response:
        return text_response("alive")  # the loop that serves all sessions has come round to this

    async def readyz(request: Request) -> Response:
        return text_response("ready") if is_ready() else text_response("stopping", 503)

    return (
        Route("GET", "/livez", livez, is_open=True),
        Route("GET", "/readyz", readyz, is_open=True),
    )
