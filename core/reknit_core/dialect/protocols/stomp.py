"""STOMP 1.0 to 1.2: connected and subscribed again, open transactions and SENDs begun anew.

A SEND with a receipt stands until its RECEIPT. The frames of a transaction stand until a server
has heard its end, or until the RECEIPT of a COMMIT that asks for one. Messages that a client
acknowledges one by one are another thing: a new server does not know what the lost one had
delivered, and takes such an ACK for an error. A server's loss then ends the session, and the
client connects anew.
"""

from collections.abc import Mapping
from typing import Any

from reknit_core.dialect.conversation import PASSES, StreamConversation
from reknit_core.dialect.protocols.stomp_frames import Frame, FrameReader
from reknit_core.dialect.speech import Beat, Heard, Key, Message, Offer, State, Statement, taken_up
from reknit_core.dialect.statements import MAX_NAME
from reknit_core.side import Side

SUBPROTOCOLS = frozenset(("v10.stomp", "v11.stomp", "v12.stomp"))

_CONNECT: Key = ("connect",)
_NAMES = ("id", "destination", "transaction", "receipt")  # headers: what is kept is found by them
_MAX_RECEIPTS = 1024  # that are asked for and have not come
_MAX_HEARTBEAT = 24 * 3600 * 1000.0  # milliseconds


class Stomp:
    """The dialect."""

    name = "stomp"
    summary = "Connected and subscribed again; SENDs without their receipt are sent again."
    chosen_by = "subprotocol v10.stomp, v11.stomp or v12.stomp"
    ends = False

    def speaks(self, offer: Offer) -> bool:
        """Whether the agreed subprotocol is one of STOMP's."""
        return offer.subprotocol in SUBPROTOCOLS

    def converse(self, state: State | None = None) -> "StompConversation":
        """A session's conversation."""
        return taken_up(StompConversation(), state)


class StompConversation(StreamConversation[Frame]):
    """Reads both directions' frames.

    Nothing tells a client that a SEND is not sent again: an ERROR would end the connection.
    """

    __slots__ = ("_agreed", "_asked", "_is_text", "_receipts", "_serial", "_waited")

    def __init__(self) -> None:
        super().__init__(FrameReader)
        self._is_text = True  # as the client's last message was
        self._asked = (0.0, 0.0)  # the client's heart-beat: what it sends, what it wants; ms
        self._agreed: tuple[str, float, float] | None = None  # the server's version and heart-beat
        self._receipts: dict[str, Key] = {}  # what a receipt is of; but for a SEND
        self._waited: set[str] = set()  # those of them that have not come yet
        self._serial = 0  # of a frame in a transaction

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What the frames in a message mean."""
        if side is Side.CLIENT:
            self._is_text = message.is_text
        return super().hear(side, message, away=away)

    def beat(self, side: Side) -> Beat | None:
        """An end of line, as often as was agreed (1.1, "Heart-beating")."""
        if self._agreed is None:
            return None
        _, sends, wants = self._agreed
        if side is Side.CLIENT:
            agreed = max(self._asked[0], wants) if self._asked[0] and wants else 0.0
        else:
            agreed = max(sends, self._asked[1]) if sends and self._asked[1] else 0.0
        return Beat(Message(b"\n", self._is_text), agreed / 1000) if agreed else None

    def freeze(self) -> State:
        """What is half read, what is asked, and what was agreed."""
        return {
            **super().freeze(),
            "is_text": self._is_text,
            "asked": [*self._asked],
            "agreed": None if self._agreed is None else [*self._agreed],
            "receipts": [[receipt, [*key]] for receipt, key in self._receipts.items()],
            "waited": sorted(self._waited),
            "serial": self._serial,
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        super().thaw(state)
        each: dict[str, Any] = dict(state)
        self._is_text = each["is_text"]
        self._asked = tuple(each["asked"])
        self._agreed = None if each["agreed"] is None else tuple(each["agreed"])
        self._receipts = {receipt: tuple(key) for receipt, key in each["receipts"]}
        self._waited = set(each["waited"])
        self._serial = each["serial"]

    def _idle(self, side: Side, data: bytes) -> Message | None:
        """Nothing in STOMP is answered at once."""
        return None

    # -- What frames mean --------------------------------------------------------------------------

    def _from_client(self, each: Frame) -> Heard:
        if any(len(each.headers.get(name, "")) > MAX_NAME for name in _NAMES):
            return Heard(lost=True)
        heard = self._meaning(each)
        if any(not statement.said.data for statement in heard.states):
            return Heard(lost=True)  # it is too large to be kept
        return heard

    def _meaning(self, each: Frame) -> Heard:
        headers = each.headers
        match each.command:
            case "":
                return Heard(is_beat=True)
            case "CONNECT" | "STOMP":
                self._asked = _heartbeat(headers)
                self._agreed = None
                self._receipts.clear()
                self._waited.clear()
                return Heard(states=(self._said(_CONNECT, each, awaits=True),), begins=True)
            case "SUBSCRIBE":
                key = _subscription(headers)
                self._ask(each, key)
                # Of what a lost server has delivered a new one takes no ACK.
                is_lost = headers.get("ack", "auto") != "auto"
                return Heard(states=(self._said(key, each),), lost=is_lost)
            case "UNSUBSCRIBE":
                return self._ends(each, _subscription(headers))
            case "COMMIT" | "ABORT" if "transaction" in headers:
                return self._ends(each, ("transaction", headers["transaction"]))
            case "BEGIN" | "SEND" if "transaction" in headers:
                self._serial += 1
                key = ("transaction", headers["transaction"], self._serial)
                self._ask(each, key)
                return Heard(states=(self._said(key, each),))
            case "ACK" | "NACK":
                return Heard(lost=True)
        if "receipt" in headers:
            key = ("receipt", headers["receipt"])
            return Heard(states=(self._said(key, each, is_request=each.command == "SEND"),))
        return PASSES

    def _ends(self, each: Frame, key: Key) -> Heard:
        """What is ended stands until a server has heard so; or has said so, if it is to say it.

        A transaction that ends without a receipt while receipts of its parts are to come is
        neither: nobody says whether it was heard, and to forget it would forget those.
        """
        receipt = each.headers.get("receipt")
        if receipt is None:
            is_lost = key[0] == "transaction" and any(
                self._receipts[waited][: len(key)] == key for waited in self._waited
            )
            return Heard(takes_back=(key,), lost=is_lost)
        self._ask(each, ("end", *key))
        said = self._said(("end", receipt), each, is_request=each.command == "COMMIT")
        return Heard(states=(said,), takes_back=(key,), until_answered=True)

    def _ask(self, each: Frame, key: Key) -> None:
        """Keep of what a receipt is; without that it is passed on as often as it comes."""
        if "receipt" in each.headers:
            self._receipts[each.headers["receipt"]] = key
            self._waited.add(each.headers["receipt"])
            if len(self._receipts) > _MAX_RECEIPTS:
                oldest = next(iter(self._receipts))
                del self._receipts[oldest]
                self._waited.discard(oldest)

    def _said(
        self, key: Key, each: Frame, *, awaits: bool = False, is_request: bool = False
    ) -> Statement:
        return Statement(key, Message(each.whole, self._is_text), awaits, is_request)

    def _from_server(self, each: Frame) -> Heard:
        match each.command:
            case "":
                return Heard(is_beat=True)
            case "CONNECTED":
                agreed = (each.headers.get("version", "1.0"), *_heartbeat(each.headers))
                is_other = self._agreed is not None and self._agreed != agreed
                self._agreed = self._agreed or agreed
                return Heard(answers=(_CONNECT,), refuses=(_CONNECT,) if is_other else ())
            case "RECEIPT":
                return self._receipt(each.headers.get("receipt-id", ""))
            case "ERROR":  # the server closes the connection behind it
                return Heard(refuses=(_CONNECT,))
        return PASSES

    def _receipt(self, receipt: str) -> Heard:
        key = self._receipts.get(receipt)
        self._waited.discard(receipt)
        if key is None:
            return Heard(settles=(("receipt", receipt),))
        if key[0] != "end":
            return Heard(answers=(key,))
        del self._receipts[receipt]
        return Heard(settles=(("end", receipt),), takes_back=(key[1:],))


def _subscription(headers: Mapping[str, str]) -> Key:
    """By its id; in 1.0 by its destination where it has none."""
    return ("subscribe", headers.get("id", headers.get("destination", "")))


def _heartbeat(headers: Mapping[str, str]) -> tuple[float, float]:
    """What it sends and what it wants, in milliseconds; 0: nothing (1.1, "Heart-beating")."""
    sends, _, wants = headers.get("heart-beat", "0,0").partition(",")
    return _milliseconds(sends), _milliseconds(wants)


def _milliseconds(text: str) -> float:
    text = text.strip()
    known = text.isascii() and text.isdigit() and len(text) < 10
    return min(float(text), _MAX_HEARTBEAT) if known else 0.0
