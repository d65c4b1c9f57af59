"""A check of a server: what is sent, and what the answer says."""

import h11

from reknit_core.policy.policy import Policy
from reknit_core.servers import Server, Servers


class ServerCheck:
    """Bytes come in by receive_data() once `request` is sent. `problem` is for people."""

    def __init__(self, servers: Servers, server: Server, policy: Policy) -> None:
        path = servers.path_to_ask(server)
        upstream = server.upstream
        self.request = b""
        """Empty: a connection is enough."""
        self.problem: str | None = None
        self._is_strict = bool(policy.server_check_path)
        self._answer = h11.Connection(h11.CLIENT)
        if path:
            host = upstream.host_for(policy, "")
            headers = [("host", host), ("user-agent", "reknit"), ("connection", "close")]
            asked = h11.Request(method="GET", target=upstream.target(path), headers=headers)
            self.request = self._answer.send(asked) + self._answer.send(h11.EndOfMessage())

    def receive_data(self, data: bytes) -> bool:
        """Bytes have come, b"" at the end of the stream: whether the check is over."""
        try:
            self._answer.receive_data(data)
            while isinstance(event := self._answer.next_event(), h11.InformationalResponse):
                pass
        except h11.RemoteProtocolError:
            self.problem = "its answer to the check is no HTTP"
            return True
        if not isinstance(event, h11.Response):
            if event is not h11.NEED_DATA:
                self.problem = "no answer to the check"
            return event is not h11.NEED_DATA
        if self._is_strict and not 200 <= event.status_code < 400:
            self.problem = f"it answered the check with {event.status_code}"
        return True
