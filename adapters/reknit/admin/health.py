"""Whether the proxy lives, and whether it takes new sessions; and how to make it take none."""

from collections.abc import Callable
from logging import INFO

from reknit_core.servers import NONE_UP

from reknit.admin.http_messages import Request, Response, json_response, text_response
from reknit.admin.router import Route
from reknit.observe.logs import tell
from reknit.state.store import Store


def routes(
    is_ready: Callable[[], bool],
    lacks_server: Callable[[], bool],
    drain: Callable[[], None],
    store: Store | None,
) -> tuple[Route, ...]:
    """`/livez` and `/readyz`, open to all, as they give nothing away; and `/drain`."""

    async def livez(request: Request) -> Response:
        return text_response("alive")  # the loop that serves all sessions has come round to this

    async def readyz(request: Request) -> Response:
        if not is_ready():
            return text_response("draining", 503)
        if lacks_server():
            return text_response(NONE_UP, 503)
        if store is not None and store.trouble:  # still better than no proxy at all
            return text_response("ready, but sessions are not kept: see the log")
        return text_response("ready")

    async def start_drain(request: Request) -> Response:
        tell(INFO, "operator", "%(call)s by the operator", call="drain")
        drain()
        return json_response({"draining": True}, 202)

    return (
        Route("GET", "/livez", livez, is_open=True, any_host=True),
        Route("GET", "/readyz", readyz, is_open=True, any_host=True),
        Route("POST", "/drain", start_drain),
    )
