"""permessage-deflate passes through (RFC 7692); the proxy only makes each message stand alone.

A message compressed without context takeover can wait in a queue, go out twice or go to
another connection. So the offer towards the server always asks for server_no_context_takeover,
and the answer towards the client always asks for client_no_context_takeover.
"""

NAME = "permessage-deflate"
_SERVER_ALONE = "server_no_context_takeover"
_CLIENT_ALONE = "client_no_context_takeover"

Parameters = tuple[str, ...]
"""The parameters of one offer or answer, sorted, as `name` or `name=value`."""


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
    for extension in client_offers:
        name, parameters = parse(extension)
        if name == NAME:
            alone = () if _SERVER_ALONE in parameters else (_SERVER_ALONE,)
            offers.append(format_header((*parameters, *alone)))
    return ", ".join(offers) or None


def accepted(answer: tuple[str, ...]) -> Parameters | None:
    """The parameters that the server chose; None where it chose no compression.

    Raises ValueError, with a reason for people, where its messages would not stand alone.
    """
    if not answer:
        return None
    _, parameters = parse(answer[0])
    if _SERVER_ALONE not in parameters:
        raise ValueError(f"the server takes {NAME} without {_SERVER_ALONE}, which was asked for")
    return parameters


def answer(parameters: Parameters) -> str:
    """What to answer the client."""
    alone = () if _CLIENT_ALONE in parameters else (_CLIENT_ALONE,)
    return format_header((*parameters, *alone))


def admits(client_offers: tuple[str, ...], parameters: Parameters) -> bool:
    """Whether a returning client's offers allow what the session has agreed on."""
    for extension in client_offers:
        name, offered = parse(extension)
        if name == NAME and _covers(offered, parameters):
            return True
    return False


def _covers(offered: Parameters, agreed: Parameters) -> bool:
    values = dict(_pair(parameter) for parameter in offered)
    for name, value in (_pair(parameter) for parameter in agreed):
        # The server may not limit the client's window unless that was offered (7.1.2.2), nor
        # choose a larger server window than asked for (7.1.2.1).
        if name == "client_max_window_bits" and name not in values:
            return False
        if name == "server_max_window_bits" and int(value) > int(values.get(name) or 15):
            return False
    return "server_max_window_bits" not in values or any(
        parameter.startswith("server_max_window_bits") for parameter in agreed
    )


def _pair(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return name, value
