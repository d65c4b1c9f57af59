"""A request of the operator's to one side's peer, and its reply: what that does to a leg."""

from reknit_core.leg.leg import Leg
from reknit_core.leg.phase import Phase
from reknit_core.side import Side
from reknit_core.wire.inband import Expected, InbandScanner, request_frame


def ask(leg: Leg, text: str, expected: Expected) -> str:
    """Put the request into the leg's stream; why that can't be, else an empty text."""
    scanner = leg.scanner
    if scanner is None or leg.phase is not Phase.OPEN:
        return f"the {leg.side.value} is not connected"
    if isinstance(scanner, InbandScanner) and scanner.is_open:
        return "another request is open"
    leg.asked = True
    leg.scanner = InbandScanner(scanner, expected)
    leg.queue.alarm = 0  # so that each read is attended to
    leg.say(request_frame(text, masked=leg.side is Side.SERVER), leg.source.next_end()[0])
    return ""


def is_asked(leg: Leg) -> bool:
    """Whether a request waits for its reply."""
    return isinstance(leg.scanner, InbandScanner) and leg.scanner.is_open


def has_replied(leg: Leg) -> bool:
    """Whether the reply has come; if not, the next read is attended to as well."""
    scanner = leg.scanner
    if not isinstance(scanner, InbandScanner) or not scanner.is_open:
        return False
    if scanner.reply is None:
        leg.queue.alarm = 0
    return scanner.reply is not None


def stop_asking(leg: Leg) -> bytes | None:
    """Look no more for the reply; the reply, if it has come."""
    assert isinstance(leg.scanner, InbandScanner)
    leg.scanner.close()
    return leg.scanner.reply
