"""Requests and responses of the admin listener, as data."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case, `params` comes from the route's path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    params: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> Mapping[str, object]:
        """The body as a JSON object; no body is an empty one. Raises ProblemError."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise ProblemError(400, "bad_body", "the body is not valid JSON") from None
        if not isinstance(value, dict):
            raise ProblemError(400, "bad_body", "the body is not a JSON object")
        return value


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer without an end: each part goes out as it comes."""

    parts: AsyncGenerator[bytes, None]
    content_type: str


Handler = Callable[[Request], Awaitable[Response | Stream]]


class ProblemError(Exception):
    """A request that can't be done: the status, a word for programs, a sentence for people."""

    def __init__(self, status: int, error: str, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.headers = headers

    def response(self) -> Response:
        """The same as an answer."""
        document = {"error": self.error, "message": str(self)}
        return json_response(document, self.status, headers=self.headers)


def json_response(document: object, status: int = 200, headers: Headers = ()) -> Response:
    """An answer with that JSON."""
    return Response(status, json.dumps(document).encode() + b"\n", headers=headers)


def text_response(text: str, status: int = 200) -> Response:
    """An answer with one line of text."""
    return Response(status, text.encode() + b"\n", "text/plain; charset=utf-8")
