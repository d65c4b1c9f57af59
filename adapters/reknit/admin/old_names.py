"""What calls and metrics were called before sessions were: it answers for one release.

With the release after it this module goes.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

from reknit.admin.http_messages import Handler, Request, Response, Stream
from reknit.admin.router import Route

SESSIONS = "reknit_sessions"
SESSIONS_BEFORE = "reknit_contexts"

_PATH, _PATH_BEFORE = "/sessions", "/contexts"


def with_paths_before(routes: Iterable[Route]) -> tuple[Route, ...]:
    """These routes, and again those of sessions at the paths that they had before."""
    routes = tuple(routes)
    return (
        *routes,
        *(
            replace(each, path=_before(each.path), handler=_answers_as_before(each.handler))
            for each in routes
            if each.path.startswith(_PATH)
        ),
    )


def _before(path: str) -> str:
    return path.replace(_PATH, _PATH_BEFORE, 1)


def _answers_as_before(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response | Stream:
        path = request.path.replace(_PATH_BEFORE, _PATH, 1)
        response = await handler(replace(request, path=path))
        if path != _PATH or not isinstance(response, Response):
            return response
        document = json.loads(response.body)
        body = {"contexts": document["sessions"], **document}
        return replace(response, body=json.dumps(body).encode() + b"\n")

    return answer
