"""Which handler answers a request: a table of methods and paths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from reknit.admin.guard import Guard
from reknit.admin.http_messages import Handler, ProblemError, Request, Response, Stream


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is made of fixed parts and of `{names}`, whose values go into the request's params.

    `is_open`: whoever can connect may ask, also without the token. `any_host`: and by any Host,
    as health checks have their own, or none at all (HTTP/1.0).
    """

    method: str
    path: str
    handler: Handler
    is_open: bool = False
    any_host: bool = False

    def match(self, path: str) -> Mapping[str, str] | None:
        """The values of the path's names; None for another path."""
        mine, given = self.path.split("/"), path.split("/")
        if len(mine) != len(given):
            return None
        params = {}
        for part, value in zip(mine, given, strict=True):
            if part.startswith("{"):
                params[part.strip("{}")] = value
            elif part != value:
                return None
        return params


class Router:
    """Answers a request by the first route that fits, once the guard has let it pass."""

    def __init__(self, routes: Iterable[Route], guard: Guard) -> None:
        self._routes = tuple(routes)
        self._guard = guard

    async def __call__(self, request: Request) -> Response | Stream:
        """The answer. Raises ProblemError."""
        method = "GET" if request.method == "HEAD" else request.method
        found = [
            (route, params)
            for route in self._routes
            if (params := route.match(request.path)) is not None
        ]
        fitting = [(route, params) for route, params in found if route.method == method]
        if not (fitting and fitting[0][0].any_host):
            self._guard.check_site(request)
        if not (fitting and fitting[0][0].is_open):
            self._guard.check_token(request)
        if not found:
            raise ProblemError(404, "not_found", f"there is nothing at {request.path}")
        if not fitting:
            allowed = ", ".join(sorted({route.method for route, _ in found}))
            headers = (("allow", allowed),)
            raise ProblemError(405, "bad_method", f"allowed here: {allowed}", headers)
        route, params = fitting[0]
        return await route.handler(replace(request, params=params))
