"""The live page: files of this package, and nothing from elsewhere."""

from importlib.resources import files

from reknit_core.diagrams.live import live_svg

from reknit.admin.http_messages import ProblemError, Request, Response
from reknit.admin.router import Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
_LIFECYCLE = b"<!-- the lifecycle -->"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = (("content-security-policy", _POLICY), ("referrer-policy", "no-referrer"))


class Page:
    """Serves the page at `/` and its parts under `/page/`.

    They are open to all: what is to be seen on it, the page asks for with the token.
    """

    def __init__(self) -> None:
        self._files = {
            file.name: file.read_bytes() for file in (files("reknit.admin") / "page").iterdir()
        }
        index = self._files[_INDEX]
        self._files[_INDEX] = index.replace(_LIFECYCLE, live_svg().encode())

    def routes(self) -> tuple[Route, ...]:
        """Its paths."""
        return (
            Route("GET", "/", self._index, is_open=True),
            Route("GET", "/page/{file}", self._file, is_open=True),
        )

    async def _index(self, request: Request) -> Response:
        return self._response(_INDEX)

    async def _file(self, request: Request) -> Response:
        name = request.params["file"]
        if name not in self._files:
            raise ProblemError(404, "not_found", "the page has no such file")
        return self._response(name)

    def _response(self, name: str) -> Response:
        kind = _TYPES[name[name.rindex(".") :]]
        return Response(200, self._files[name], kind, _HEADERS)
