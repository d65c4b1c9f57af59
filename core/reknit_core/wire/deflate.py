"""permessage-deflate passes through (RFC 7692); the proxy only makes each message stand alone.

A message compressed without context takeover can wait in a queue, go out twice or go to
another connection. So the offer towards the server always asks for server_no_context_takeover,
and the answer towards the client always asks for client_no_context_takeover.
"""

import re

NAME = "permessage-deflate"
_SERVER_ALONE = "server_no_context_takeover"
_CLIENT_ALONE = "client_no_context_takeover"
_SERVER_BITS = "server_max_window_bits"
_CLIENT_BITS = "client_max_window_bits"
_MOST = 15  # bits of a window, where nothing is said

Parameters = tuple[str, ...]
"""The parameters of one offer or answer, sorted, as `name` or `name=value`."""

_BITS = "([89]|1[0-5])"
_IN_ANSWER = re.compile(f"(server|client)_(no_context_takeover|max_window_bits={_BITS})")
_IN_OFFER = re.compile(f"{_IN_ANSWER.pattern}|client_max_window_bits")


def parse(extension: str) -> tuple[str, Parameters]:
    """An extension's name and parameters (RFC 6455, section 9.1)."""
    name, *parameters = (part.strip() for part in extension.split(";"))
    normal = (
        "=".join(side.strip().strip('"') for side in part.split("=", 1)).lower()
        for part in parameters
        if part
    )
    return name.lower(), tuple(sorted(normal))


def format_header(parameters: Parameters) -> str:
    """The extension as a header value."""
    return "; ".join((NAME, *parameters))


def offer(client_offers: tuple[str, ...]) -> str | None:
    """What to offer the server: the client's permessage-deflate offers, each standing alone."""
    offers = []
    for parameters in _valid_offers(client_offers):
        alone = () if _SERVER_ALONE in parameters else (_SERVER_ALONE,)
        offers.append(format_header((*parameters, *alone)))
    return ", ".join(offers) or None


def is_changed(client_offers: tuple[str, ...]) -> bool:
    """Whether offer() asks for more than the client does: a server may take that amiss."""
    return any(_SERVER_ALONE not in parameters for parameters in _valid_offers(client_offers))


def accepted(answer: tuple[str, ...]) -> Parameters | None:
    """The parameters that the server chose; None where it chose no compression.

    Raises ValueError, with a reason for people, where that is no valid answer or its messages
    would not stand alone.
    """
    if not answer:
        return None
    name, parameters = parse(answer[0])
    if len(answer) > 1 or name != NAME or not _valid(parameters, _IN_ANSWER):
        raise ValueError(f"the server takes an extension that was not offered: {', '.join(answer)}")
    if _SERVER_ALONE not in parameters:
        raise ValueError(f"the server takes {NAME} without {_SERVER_ALONE}, which was asked for")
    return parameters


def fits(parameters: Parameters, agreed: Parameters) -> bool:
    """Whether a later answer of a server's allows all that the first one did.

    The client's messages are made for the window that was agreed on, and it has room for the
    server's within the one that was agreed on (RFC 7692, 7.1.2).
    """
    now, before = dict(map(_pair, parameters)), dict(map(_pair, agreed))
    return int(now.get(_SERVER_BITS, _MOST)) <= int(before.get(_SERVER_BITS, _MOST)) and int(
        now.get(_CLIENT_BITS, _MOST)
    ) >= int(before.get(_CLIENT_BITS, _MOST))


def answer(parameters: Parameters) -> str:
    """What to answer the client."""
    alone = () if _CLIENT_ALONE in parameters else (_CLIENT_ALONE,)
    return format_header((*parameters, *alone))


def admits(client_offers: tuple[str, ...], parameters: Parameters) -> bool:
    """Whether a returning client's offers allow what the session has agreed on."""
    return any(_covers(offered, parameters) for offered in _valid_offers(client_offers))


def _valid_offers(client_offers: tuple[str, ...]) -> list[Parameters]:
    """The permessage-deflate offers among these that a server may take (RFC 7692, 7.1)."""
    parsed = map(parse, client_offers)
    return [offered for name, offered in parsed if name == NAME and _valid(offered, _IN_OFFER)]


def _valid(parameters: Parameters, allowed: re.Pattern[str]) -> bool:
    names = {name for name, _ in map(_pair, parameters)}
    return len(names) == len(parameters) and all(map(allowed.fullmatch, parameters))


def _covers(offered: Parameters, agreed: Parameters) -> bool:
    limits = dict(map(_pair, offered))
    chosen = dict(map(_pair, agreed))
    # The server may not limit the client's window unless that was offered (7.1.2.2), and must
    # answer a limit of its own (7.1.2.1). Neither may be larger than the offer says.
    for name, there, needed in (
        (_CLIENT_BITS, chosen, limits),
        (_SERVER_BITS, limits, chosen),
    ):
        if name in there and name not in needed:
            return False
        if int(chosen.get(name) or 0) > int(limits.get(name) or _MOST):
            return False
    return True


def _pair(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return name, value
