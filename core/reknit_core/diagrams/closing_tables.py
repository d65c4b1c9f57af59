"""How a session ends, as the tables in session/closing.py and configurations.py have it."""

from reknit_core.leg.phase import Phase
from reknit_core.session.closing import CLOSE_MEANS, FAREWELLS
from reknit_core.session.configurations import CONFIGURATIONS
from reknit_core.side import Side

_AND = {
    (Phase.OPEN, True): "its code is one of those by which a peer is lost",
    (Phase.OPEN, False): "its code is any other",
    (Phase.CLOSING, False): "our own Close is not sent yet",
    (Phase.CLOSING, True): "our own Close is sent",
}


def closing_tables() -> list[str]:
    """What a Close means, how each side is told, and what goes together, as Markdown."""
    return [
        "## How a session ends",
        "",
        "| a Close comes while the connection is | and | so |",
        "| --- | --- | --- |",
        *(
            f"| {phase.value} | {_AND[phase, flag]} | {meaning.value} |"
            for (phase, flag), meaning in CLOSE_MEANS.items()
        ),
        "",
        "| the session ends while this connection is | the client is told by | the server by |",
        "| --- | --- | --- |",
        *(
            f"| {phase.value} | {_told(Side.CLIENT, phase)} | {_told(Side.SERVER, phase)} |"
            for phase in Phase
        ),
        "",
        "## Which states go together",
        "",
        "| session | client's connection | server's connection |",
        "| --- | --- | --- |",
        *(
            f"| {state.value} | {client.value} | {', '.join(servers)} |"
            for state, pairs in CONFIGURATIONS.items()
            for client in Phase
            if (servers := [server.value for server in Phase if (client, server) in pairs])
        ),
    ]


def _told(side: Side, phase: Phase) -> str:
    farewell = FAREWELLS.get((side, phase))
    return "(can't be)" if farewell is None else farewell.value
