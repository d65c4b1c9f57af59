"""Asks a running proxy's admin listener: over TCP or a Unix socket, by its JSON calls."""

import json
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from reknit_core.wire.reasons import reason_of

from reknit.settings.addresses import Address, Listen, UnixPath

TIMEOUT = 5.0  # seconds for each step of a call
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens everywhere does so here


class AdminError(Exception):
    """A call has failed: one line for people."""


class AdminClient:
    """The admin listener at that address. All calls raise AdminError."""

    def __init__(self, address: Address, token: str | None) -> None:
        self._address = address
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def health(self, path: str) -> str:
        """What a health check says, if all is well."""
        status, body = self._exchange("GET", path, None)
        text = body.decode(errors="replace").strip()
        if status != 200:
            raise AdminError(f"{self._address}: {text}")
        return text

    def sessions(self, state: str | None) -> Iterator[Mapping[str, Any]]:
        """All sessions, in that state if it is given."""
        query = {} if state is None else {"state": state}
        while True:
            page = self.call("GET", "/sessions", query=query)
            yield from page["sessions"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def session(self, name: str, call: str = "", **document: object) -> Mapping[str, Any]:
        """Show a session, or have that done to it."""
        path = f"/sessions/{quote(name, safe='')}"
        if not call:
            return self.call("GET", path)
        return self.call("POST", f"{path}/{call}", document)

    def call(
        self,
        method: str,
        path: str,
        document: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """What a call answers."""
        target = f"{path}?{urlencode(query)}" if query else path
        body = None if document is None else json.dumps(document).encode()
        status, answer = self._exchange(method, target, body)
        try:
            found = json.loads(answer)
            problem = "" if 200 <= status < 300 else str(found["message"])
        except (ValueError, TypeError, LookupError):
            found, problem = {}, f"it answers {status}, not as an admin listener does"
        if status == 401:
            problem += ": set REKNIT_ADMIN_TOKEN, or name the proxy's own --config"
        if problem or not isinstance(found, dict):
            raise AdminError(f"{self._address}: {problem}")
        return found

    def _exchange(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        connection = _connection(self._address)
        try:
            connection.request(method, target, body, self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            raise AdminError(f"{self._address} does not answer in {TIMEOUT:g} seconds") from None
        except OSError as error:
            raise AdminError(f"can't reach {self._address}: {reason_of(error)}") from None
        except HTTPException as error:
            what = type(error).__name__
            raise AdminError(f"{self._address} is no admin listener: {what}") from None
        finally:
            connection.close()


def _connection(address: Address) -> HTTPConnection:
    match address:
        case UnixPath(path):
            return _UnixConnection(path)
        case Listen(host, port):
            return HTTPConnection(_HERE.get(host, host), port, timeout=TIMEOUT)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)
