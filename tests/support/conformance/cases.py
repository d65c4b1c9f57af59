"""What a strict WebSocket peer puts another to: RFC 6455 and RFC 7692, case by case.

A case is what one end sends. It is played by a client to a server, or by a server to a client:
the other end is an ordinary one that sends each message back.
"""

import zlib
from dataclasses import dataclass, replace

from raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

FLUSHED = b"\x00\x00\xff\xff"  # RFC 7692, section 7.2.1


@dataclass(frozen=True)
class Sent:
    """A frame to send. `form`: bits of its length's field; 0: the shortest that holds it."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    mask_is_wrong: bool = False
    form: int = 0
    claims: int = 0  # a length beyond the payload's

    def encode(self, *, masked: bool) -> bytes:
        """The frame, of an end that masks or not."""
        masked ^= self.mask_is_wrong
        if not self.form:
            return frame(self.opcode, self.payload, masked=masked, fin=self.fin, rsv=self.rsv)
        size = (self.claims or len(self.payload)).to_bytes(self.form // 8, "big")
        first = self.fin << 7 | self.rsv << 4 | self.opcode
        key = bytes(4) if masked else b""
        return (
            bytes((first, masked << 7 | (126 if self.form == 16 else 127)))
            + size
            + key
            + (self.payload)
        )


@dataclass(frozen=True)
class Send:
    """Frames to send together, or in pieces of so many bytes."""

    frames: tuple[Sent, ...]
    piece: int = 0


@dataclass(frozen=True)
class Await:
    """Go on once so many messages, Pongs and Closes have come in all, or the other end ends."""

    count: int


class HalfClose:
    """End the own direction of the TCP connection; the other one stays open."""


Step = Send | Await | HalfClose


@dataclass(frozen=True)
class Case:
    """One connection. `extensions`: what the client offers, or the server answers."""

    name: str
    steps: tuple[Step, ...]
    extensions: str = ""


HELLO = Sent(TEXT, b"hello")
LAST = Sent(TEXT, b"last")


def closing(code: int | None = 1000, reason: bytes = b"") -> Sent:
    return Sent(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def fine(name: str, *frames: Sent, answers: int = 1, piece: int = 0, extensions: str = "") -> Case:
    """Frames that bring that many answers; then the connection is closed."""
    return Case(name, (Send(frames, piece), Await(answers), Send((closing(),))), extensions)


def wrong(name: str, *frames: Sent, piece: int = 0, extensions: str = "") -> Case:
    """Frames that a peer must not take, behind a message that it has answered."""
    return Case(name, (Send((HELLO,)), Await(1), Send(frames, piece)), extensions)


def cut(name: str, *frames: Sent) -> Case:
    """Frames behind a message that was answered, and then nothing more."""
    return Case(name, (Send((HELLO,)), Await(1), Send(frames), HalfClose()))


def parts(opcode: int, *payloads: bytes, rsv: int = 0) -> tuple[Sent, ...]:
    """A message in fragments."""
    first, *rest = payloads
    later = [Sent(CONTINUATION, payload, fin=False) for payload in rest]
    later[-1] = replace(later[-1], fin=True)
    return (Sent(opcode, first, fin=False, rsv=rsv), *later)


# -- Framing -----------------------------------------------------------------------------------


def framing() -> list[Case]:
    cases = []
    for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 65537):
        cases.append(fine(f"text of {size}", Sent(TEXT, b"*" * size)))
        cases.append(fine(f"binary of {size}", Sent(BINARY, b"\xfe" * size)))
        piece = 1 if size < 1000 else 997
        cases.append(fine(f"text of {size} in pieces", Sent(TEXT, b"*" * size), piece=piece))
        cases.append(fine(f"binary of {size} in pieces", Sent(BINARY, bytes(size)), piece=piece))
    million = bytes(range(256)) * 4096
    return [
        *cases,
        fine("binary of 1 MiB", Sent(BINARY, million)),
        fine("binary of 1 MiB in pieces", Sent(BINARY, million), piece=30011),
        fine("1 MiB in 64 KiB fragments", *parts(BINARY, *[million[:65536]] * 16)),
        fine("ten messages at once", *[Sent(TEXT, b"%d" % n) for n in range(10)], answers=10),
        wrong("the wrong mask bit", Sent(TEXT, b"x", mask_is_wrong=True), closing()),
        wrong("the wrong mask bit, empty", Sent(BINARY, mask_is_wrong=True), closing()),
        wrong("the wrong mask bit on a Ping", Sent(PING, b"x", mask_is_wrong=True), closing()),
        wrong("the wrong mask bit on a Close", replace(closing(), mask_is_wrong=True)),
        wrong("length of 5 in 16 bits", Sent(TEXT, b"short", form=16), closing()),
        wrong("length of 5 in 64 bits", Sent(TEXT, b"short", form=64), closing()),
        wrong("length of 300 in 64 bits", Sent(TEXT, b"s" * 300, form=64), closing()),
        cut("length of 2^63", Sent(BINARY, b"", form=64, claims=1 << 63)),
        cut("length of 2^62", Sent(BINARY, b"", form=64, claims=1 << 62)),
    ]


def pings() -> list[Case]:
    ten = [Sent(PING, b"ping %d" % n) for n in range(10)]
    return [
        fine("Ping, empty", Sent(PING)),
        fine("Ping, text", Sent(PING, b"Hello")),
        fine("Ping, binary", Sent(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")),
        fine("Ping of 125", Sent(PING, b"\xfe" * 125)),
        fine("Ping of 125 in pieces", Sent(PING, b"\xfe" * 125), piece=1),
        wrong("Ping of 126", Sent(PING, b"\xfe" * 126)),
        wrong("Ping of 65536", Sent(PING, b"\xfe" * 65536)),
        fine("Pong that nobody asked for", Sent(PONG), HELLO),
        fine("Pong that nobody asked for, with text", Sent(PONG, b"unasked"), HELLO),
        fine("Pong that nobody asked for, then a Ping", Sent(PONG, b"un"), Sent(PING, b"asked")),
        wrong("Pong of 126", Sent(PONG, bytes(126))),
        fine("ten Pings", *ten, answers=10),
        fine("ten Pings in pieces", *ten, answers=10, piece=1),
        fine("Pings between messages", HELLO, ten[0], LAST, ten[1], answers=4),
    ]


def reserved() -> list[Case]:
    cases = []
    for rsv in range(1, 8):
        for opcode, what in ((TEXT, "text"), (BINARY, "binary"), (PING, "Ping"), (CLOSE, "Close")):
            cases.append(wrong(f"{what} with RSV {rsv:03b}", Sent(opcode, b"\x03\xe8", rsv=rsv)))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        cases.append(wrong(f"opcode {opcode}", Sent(opcode)))
        cases.append(wrong(f"opcode {opcode} with a payload", Sent(opcode, b"data")))
        cases.append(wrong(f"opcode {opcode} in pieces", Sent(opcode, b"data"), LAST, piece=1))
    return cases


def fragments() -> list[Case]:
    ping, pong = Sent(PING, b"between"), Sent(PONG, b"between")
    first, middle, last = parts(TEXT, b"fragment1", b"fragment2", b"fragment3")
    rest = Sent(CONTINUATION, b"alone")
    cut = Sent(CONTINUATION, b"alone", fin=False)
    many = parts(BINARY, *[bytes((n % 256,)) for n in range(1000)])
    return [
        fine("two fragments", *parts(TEXT, b"fragment1", b"fragment2")),
        fine("two fragments in pieces", *parts(TEXT, b"fragment1", b"fragment2"), piece=1),
        fine("three binary fragments", *parts(BINARY, b"a", b"b", b"c")),
        fine("empty fragments", *parts(TEXT, b"", b"", b"")),
        fine("empty first and last fragment", *parts(TEXT, b"", b"middle", b"")),
        fine("a thousand fragments", *many),
        fine("a thousand fragments in pieces", *many, piece=97),
        fine("a Ping between fragments", first, ping, last, answers=2),
        fine("a Ping between fragments in pieces", first, ping, last, answers=2, piece=1),
        fine("a Pong between fragments", first, pong, middle, pong, last),
        fine("Pings between all fragments", first, ping, middle, ping, last, answers=3),
        fine("a Ping between UTF-8's bytes", *parts(TEXT, b"\xce", b"\xba"), ping, answers=2),
        Case(
            "a Ping that is answered before its message ends",
            (
                Send((first, ping)),
                Await(1),
                Send((middle, ping)),
                Await(2),
                Send((last,)),
                Await(3),
                Send((closing(),)),
            ),
        ),
        Case("a Close between fragments", (Send((HELLO,)), Await(1), Send((first, closing())))),
        wrong("a fragmented Ping", Sent(PING, b"x", fin=False), Sent(CONTINUATION, b"y")),
        wrong("a fragmented Pong", Sent(PONG, b"x", fin=False), Sent(CONTINUATION, b"y")),
        wrong("a fragmented Close", replace(closing(), fin=False), Sent(CONTINUATION, b"y")),
        wrong("a continuation first", rest, LAST),
        wrong("a continuation first in pieces", rest, LAST, piece=1),
        wrong("a continuation first, not final", cut, LAST),
        wrong("a continuation behind a whole message", LAST, rest),
        wrong("two continuations behind nothing", cut, rest),
        wrong("text within text", first, LAST),
        wrong("binary within text", first, Sent(BINARY, b"x")),
        wrong("text within text, in pieces", first, LAST, piece=1),
        wrong("an opcode 3 within text", first, Sent(3, b"x")),
        wrong("RSV1 on a continuation", first, replace(last, rsv=4)),
    ]


# -- UTF-8 -------------------------------------------------------------------------------------

VALID = {
    "Greek": "κόσμε",
    "all planes": "\x00\x7f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff",
    "around the surrogates": "\ud7ff\ue000\ufffd",
    "non-characters": "\ufffe\uffff\U0001fffe\U0010ffff",
}
INVALID = {
    "a cut character": b"\xce\xba\xe1\xbd",
    "a lone continuation byte": b"\x80",
    "a surrogate": b"\xed\xa0\x80",
    "a surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
    "an overlong slash": b"\xc0\xaf",
    "an overlong NUL": b"\xf0\x80\x80\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "FE and FF": b"\xfe\xff",
    "bad in the middle": b"good \xf4\x90\x80\x80 good",
}


def utf8() -> list[Case]:
    cases = []
    for what, text in VALID.items():
        data = text.encode()
        whole, single = Sent(TEXT, data), [bytes((byte,)) for byte in data]
        cases.append(fine(f"UTF-8: {what}", whole))
        cases.append(fine(f"UTF-8: {what}, in pieces", whole, piece=1))
        cases.append(fine(f"UTF-8: {what}, a fragment a byte", *parts(TEXT, *single)))
    for what, data in INVALID.items():
        cases.append(wrong(f"UTF-8: {what}", Sent(TEXT, data)))
        cases.append(wrong(f"UTF-8: {what}, fragmented", *parts(TEXT, data[:1], data[1:], b"")))
        cases.append(fine(f"UTF-8: {what}, but binary", Sent(BINARY, data)))
    return cases


# -- Closing -----------------------------------------------------------------------------------

CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def closes() -> list[Case]:
    first, _, last = parts(TEXT, b"a", b"b", b"c")
    done = closing(1000, b"done")
    cases = [wrong(f"Close {code}", closing(code)) for code in (*CODES, 4999)]
    cases += [wrong(f"Close {code} with a reason", closing(code, b"why")) for code in CODES]
    cases += [wrong(f"Close {code}, not allowed", closing(code)) for code in BAD_CODES]
    cases += [wrong(f"Close {code}, not allowed, why", closing(code, b"?")) for code in BAD_CODES]
    return [
        *cases,
        wrong("Close without a code", closing(None)),
        wrong("Close without a code, in pieces", closing(None), piece=1),
        wrong("Close with half a code", Sent(CLOSE, b"\x03")),
        wrong("Close with a reason of 123", closing(1000, b"*" * 123)),
        wrong("Close with a reason of 123 in pieces", closing(1000, b"*" * 123), piece=1),
        wrong("Close with a reason of 124", closing(1000, b"*" * 124)),
        wrong("Close with a reason in UTF-8", closing(1000, "κόσμε".encode())),
        wrong("Close with a reason that is no UTF-8", closing(1000, b"\xce\xba\xe1\xbd")),
        Case("Close at once", (Send((done,)),)),
        Case("Close behind a message", (Send((HELLO, done)),)),
        wrong("two Closes", done, done),
        wrong("Close, then a message", done, LAST),
        wrong("Close, then a Ping", done, Sent(PING, b"late")),
        wrong("Close, then a broken frame", done, Sent(3, b"x", rsv=7)),
        wrong("Close, then 256 KiB", done, Sent(BINARY, bytes(262144))),
        wrong("Close within a message, then the rest", first, done, last),
        Case("Close, then half-closed", (Send((HELLO,)), Await(1), Send((done,)), HalfClose())),
        Case("Close at once, then half-closed", (Send((HELLO, done)), HalfClose())),
        cut("half-closed"),
        cut("half-closed in a message", first),
        cut("half-closed in a frame", Sent(BINARY, b"", form=16, claims=1000)),
    ]


# -- Compression -------------------------------------------------------------------------------

DEFLATE = "permessage-deflate"


def far_repeats() -> bytes:
    """Text whose second half repeats the first, further away than any window but the largest."""
    state, block = 1, bytearray()
    while len(block) < 20000:
        state = state * 48271 % 0x7FFFFFFF
        block.append(97 + state % 26)
    return bytes(block) * 2


def deflated(payload: bytes, bits: int = 15) -> bytes:
    """A message's payload compressed alone, in that window."""
    compressor = zlib.compressobj(wbits=-max(bits, 9))  # zlib has no window of 8
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(FLUSHED) or b"\x00"


def squeezed(payload: bytes, bits: int = 15, opcode: int = TEXT) -> Sent:
    return Sent(opcode, deflated(payload, bits), rsv=4)


FAR = far_repeats()
OFFERS = (
    "permessage-deflate",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
    'permessage-deflate; server_max_window_bits="10"',
    "Permessage-Deflate",
    "x-unknown, permessage-deflate",
    "permessage-deflate; client_max_window_bits=9, permessage-deflate",
    "permessage-deflate; server_max_window_bits=9, permessage-deflate; client_max_window_bits",
    "permessage-deflate; unknown=1, permessage-deflate",
    "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=11",
    "x-unknown",
    "x-unknown; with=parameters, other",
    "permessage-deflate; unknown",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=09",
    "permessage-deflate; client_max_window_bits=0",
    "permessage-deflate; client_max_window_bits=x",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9; server_max_window_bits=10",
)
BITS = range(8, 16)


def offers() -> list[Case]:
    """Offers of a client, with messages in plain."""
    twice = (Sent(TEXT, FAR[:3000]), Sent(TEXT, FAR[:3000]))
    return [
        fine(f"offer {offer}", *twice, answers=2, extensions=offer)
        for offer in (
            *OFFERS,
            *(f"{DEFLATE}; server_max_window_bits={bits}" for bits in BITS),
            *(f"{DEFLATE}; client_max_window_bits={bits}" for bits in BITS),
            *(f"{DEFLATE}; server_max_window_bits={b}; client_max_window_bits={b}" for b in BITS),
        )
    ]


def answers() -> list[Case]:
    """Answers of a server, with messages in plain."""
    return [
        fine(f"answer {answer}", HELLO, HELLO, answers=2, extensions=answer)
        for answer in (
            *(f"{DEFLATE}; client_max_window_bits={bits}" for bits in BITS),
            f"{DEFLATE}; client_no_context_takeover",
            f"{DEFLATE}; server_max_window_bits=7",
            f"{DEFLATE}; server_max_window_bits=16",
            f"{DEFLATE}; client_max_window_bits",
            f"{DEFLATE}; unknown=1",
            f"{DEFLATE}, {DEFLATE}",
            "x-unknown",
        )
    ]


def compression() -> list[Case]:
    """Compressed messages. Each stands alone, which is allowed whatever was agreed on."""
    plain, small = DEFLATE, squeezed(b"hello " * 9)
    data = deflated(FAR)
    thirds = [data[: len(data) // 3], data[len(data) // 3 : -5], data[-5:]]
    cases = [
        fine(
            f"compressed in a window of {bits}",
            squeezed(FAR if bits > 8 else FAR[:250], bits),
            squeezed(b"again", bits),
            answers=2,
            extensions=f"{DEFLATE}; client_max_window_bits={bits}",
        )
        for bits in BITS
    ]
    for size in (0, 1, 16, 125, 126, 1000, 65535, 131072):
        body = (FAR * 4)[:size]
        cases.append(fine(f"compressed text of {size}", squeezed(body), extensions=plain))
        binary = squeezed(bytes(size), opcode=BINARY)
        cases.append(fine(f"compressed binary of {size}", binary, extensions=plain))
        in_pieces = fine(f"compressed {size} in pieces", squeezed(body), piece=97, extensions=plain)
        cases.append(in_pieces)
    ping = Sent(PING, b"between")
    return [
        *cases,
        fine("compressed in fragments", *parts(TEXT, *thirds, rsv=4), extensions=plain),
        fine(
            "compressed in single bytes",
            *parts(BINARY, *single(deflated(b"single bytes")), rsv=4),
            extensions=plain,
        ),
        fine(
            "compressed, an empty last fragment", *parts(TEXT, data, b"", rsv=4), extensions=plain
        ),
        fine(
            "compressed, an empty first fragment", *parts(TEXT, b"", data, rsv=4), extensions=plain
        ),
        fine(
            "compressed, with a Ping between",
            *parts(TEXT, data, b"", rsv=4)[:1],
            ping,
            Sent(CONTINUATION),
            answers=2,
            extensions=plain,
        ),
        fine("compressed and plain by turns", small, HELLO, small, answers=3, extensions=plain),
        fine("plain fragments", *parts(TEXT, b"a", b"b"), extensions=plain),
        fine("a hundred compressed messages", *[small] * 100, answers=100, extensions=plain),
        fine("compressed in two blocks", two_blocks(), extensions=plain),
        fine("compressed with a final block", final_block(), extensions=plain),
        fine("compressed, stored only", stored(), extensions=plain),
        wrong("RSV1 without an agreement", small),
        wrong("RSV1 on a continuation, agreed", *_rsv_behind(thirds), extensions=plain),
        wrong("RSV1 on a Ping, agreed", Sent(PING, b"x", rsv=4), closing(), extensions=plain),
        wrong("RSV1 on a Close, agreed", replace(closing(), rsv=4), extensions=plain),
        wrong("RSV2, agreed", Sent(TEXT, b"x", rsv=2), extensions=plain),
        wrong("RSV3 with RSV1, agreed", replace(small, rsv=5), extensions=plain),
        wrong("RSV1 on bytes that are not compressed", replace(HELLO, rsv=4), extensions=plain),
        wrong("compressed text that is no UTF-8", squeezed(b"\xff\xfe"), extensions=plain),
    ]


def single(data: bytes) -> list[bytes]:
    return [bytes((byte,)) for byte in data]


def _rsv_behind(payloads: list[bytes]) -> tuple[Sent, ...]:
    first, *rest = parts(TEXT, *payloads, rsv=4)
    return (first, *(replace(one, rsv=4) for one in rest))


def two_blocks() -> Sent:
    """RFC 7692, section 7.2.3.5."""
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(b"first ") + compressor.flush(zlib.Z_SYNC_FLUSH)
    data += compressor.compress(b"second") + compressor.flush(zlib.Z_SYNC_FLUSH)
    return Sent(TEXT, data.removesuffix(FLUSHED), rsv=4)


def final_block() -> Sent:
    """RFC 7692, section 7.2.3.4: a block with BFINAL, and an empty one behind it."""
    compressor = zlib.compressobj(wbits=-15)
    return Sent(TEXT, compressor.compress(b"final") + compressor.flush() + b"\x00", rsv=4)


def stored() -> Sent:
    """RFC 7692, section 7.2.3.3: a block that is not compressed."""
    return Sent(TEXT, b"\x00\x05\x00\xfa\xffHello\x00", rsv=4)


def cases_for_a_server() -> list[Case]:
    """What a client may do."""
    return [*_both_ways(), *offers(), *compression()]


def cases_for_a_client() -> list[Case]:
    """What a server may do."""
    return [*_both_ways(), *answers(), *compression()]


def _both_ways() -> list[Case]:
    return [*framing(), *pings(), *reserved(), *fragments(), *utf8(), *closes()]
