"""A request of the operator's to one side's peer, and its reply: what that does to a leg."""

from reknit_core.commands import Answered
from reknit_core.leg.leg import Leg
from reknit_core.leg.phase import Phase
from reknit_core.side import Side
from reknit_core.wire.inband import Expected, InbandScanner, request_frame


def ask(leg: Leg, text: str, expected: Expected) -> Answered | None:
    """Put the request into the leg's stream; that it can't be, and why, else None."""
    scanner = leg.scanner
    if scanner is None or leg.phase is not Phase.OPEN:
        return Answered(leg.side, None, f"the {leg.side.value} is not connected")
    if isinstance(scanner, InbandScanner) and scanner.is_open:
        return Answered(leg.side, None, "another request is open")
    leg.asked = True
    leg.scanner = InbandScanner(scanner, expected)
    leg.queue.alarm = 0  # so that each read is attended to
    leg.say(request_frame(text, masked=leg.side is Side.SERVER), leg.source.next_end()[0])
    return None


def has_replied(leg: Leg) -> bool:
    """Whether the reply has come; if not, the next read is attended to as well."""
    scanner = leg.scanner
    if not isinstance(scanner, InbandScanner) or not scanner.is_open:
        return False
    if scanner.reply is None:
        leg.queue.alarm = 0
    return scanner.reply is not None


def stop_asking(leg: Leg, reason: str) -> Answered | None:
    """Nothing more can come in reply, for that reason: the reply, if a request waited for it."""
    scanner = leg.scanner
    if not isinstance(scanner, InbandScanner) or not scanner.is_open:
        return None
    scanner.close()
    return Answered(leg.side, scanner.reply, reason if scanner.reply is None else "")
