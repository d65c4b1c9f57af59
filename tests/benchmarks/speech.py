"""The benchmark's messages as some protocols have them: all of one length, none broken.

`name` is the dialect by which a proxy understands them. What a client asks and what the server
answers may differ, and has the same number.
"""

from collections.abc import Callable
from dataclasses import dataclass

Envelope = Callable[[int, bytes], bytes]
"""A message of a protocol with that number and content: no quote and no line end in it."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How both ends put their messages. `notes`: how those about the run itself are put."""

    name: str
    asks: Envelope
    answers: Envelope
    notes: Envelope = lambda _, content: content


def _jsonrpc_request(number: int, content: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":"%08d","method":"say","params":["%s"]}' % (number, content)


def _jsonrpc_response(number: int, content: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":"%08d","result":{"said":"%s"}}' % (number, content)


def _graphql_pong(number: int, content: bytes) -> bytes:
    return b'{"type":"pong","payload":{"number":"%08d","said":"%s"}}' % (number, content)


def _graphql_next(number: int, content: bytes) -> bytes:
    said = b'{"id":"%08d","type":"next","payload":{"data":{"said":"%s"}}}'
    return said % (number, content)


def _mqtt_publish(number: int, content: bytes) -> bytes:
    """QoS 0: MQTT 3.1.1, section 3.3."""
    body = b"\x00\x0aa/%08d%s" % (number, content)
    size, length = len(body), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return b"\x30" + bytes((*length, size)) + body


def _nats_pub(number: int, content: bytes) -> bytes:
    return b"PUB a.%08d %d\r\n%s\r\n" % (number, len(content), content)


def _nats_msg(number: int, content: bytes) -> bytes:
    return b"MSG a.%08d 1 %d\r\n%s\r\n" % (number, len(content), content)


SPEECHES = {
    speech.name: speech
    for speech in (
        Speech("jsonrpc", _jsonrpc_request, _jsonrpc_response),
        Speech("graphql-transport-ws", _graphql_pong, _graphql_next),
        Speech("mqtt", _mqtt_publish, _mqtt_publish, _mqtt_publish),
        Speech("nats", _nats_pub, _nats_msg, _nats_pub),
    )
}
PLAIN = Speech("", lambda _, content: content, lambda _, content: content)
"""No protocol: the content alone."""


def speech(name: str) -> Speech:
    """The one of that name; PLAIN, where it is empty."""
    return SPEECHES[name] if name else PLAIN
