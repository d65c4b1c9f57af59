"""Reads a server's answer that is no 101: its head, and as much of its body as is passed on."""

import h11

from reknit_core.wire.headers import HeaderList


class AnswerReader:
    """The answer to a GET, read through h11.

    `limit`: bytes of the body that are kept. `status` is 0 until the head is complete.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._connection = h11.Connection(h11.CLIENT)
        self._connection.send(h11.Request(method="GET", target="/", headers=[("host", "")]))
        self._connection.send(h11.EndOfMessage())
        self._body = bytearray()
        self.status = 0
        self.reason = b""
        self.headers: HeaderList = ()
        """As they were written, in their order."""

    @property
    def body(self) -> bytes:
        """The body so far."""
        return bytes(self._body)

    def receive_data(self, data: bytes) -> bool:
        """Read on; empty: the stream has ended. Whether the answer is complete, or no more fits.

        Raises h11.RemoteProtocolError where it breaks HTTP, or off; what came before that counts.
        """
        self._connection.receive_data(data)
        while True:
            match self._connection.next_event():
                case h11.Response() as head:
                    self.status, self.reason = head.status_code, bytes(head.reason)
                    self.headers = as_written(head)
                case h11.Data(data=piece):
                    room = self._limit - len(self._body)
                    self._body += piece[:room]
                    if len(piece) > room:
                        return True
                case h11.EndOfMessage():
                    return True
                case h11.InformationalResponse():
                    pass
                case _:
                    return False


def as_written(
    event: h11.InformationalResponse | h11.Response | h11.EndOfMessage,
) -> HeaderList:
    """Headers that h11 has read, with their names' own capitals."""
    return tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())
