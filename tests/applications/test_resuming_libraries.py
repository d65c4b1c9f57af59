"""Libraries over a ResumingWebSocket: their connection is cut, and they see nothing of it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import reknit
from application_table import APPLICATIONS
from applications import Application, Fault, Play

RESUME = (Path(reknit.__file__).parent / "js" / "resume.js").as_uri()
CUTS = (Fault.CUT_CLIENT,) * 3
COUNT = 60  # things that a client says at least
TAUGHT = {  # by the name of the application whose server it uses: the client
    "graphql-transport-ws: graphql-ws": "graphql_client.cjs",
    "y-websocket": "yjs_client.cjs",
    "phoenix": "phoenix_client.cjs",
    "stomp: stomp-broker-js, stompjs": "stomp_client.cjs",
    "mqtt: aedes, MQTT.js": "mqttjs_resuming_client.cjs",
}


def resuming(application: Application) -> Application:
    """That one's client over another WebSocket; without a dialect: the helper counts."""
    client = ("node", "--import", "resuming_ws.mjs", TAUGHT[application.name], "{url}", "{every}")
    options = ("--dialect", "none")
    return replace(application, client=client, options=options, environment={"RESUME_JS": RESUME})


@pytest.mark.parametrize("name", TAUGHT)
def test_a_library_that_is_given_one_never_notices(tmp_path: Path, name: str) -> None:
    application = next(each for each in APPLICATIONS if each.name == name)
    application.skip_if_missing()
    play = Play(resuming(application), tmp_path, relayed=True)
    outcome = asyncio.run(play.run(CUTS, count=COUNT, proxied=True))
    said = "\n".join((str(outcome), *outcome.log))
    assert (outcome.opened, outcome.errors) == (1, []), said
    assert (outcome.lost, outcome.repeated) == (0, 0), said
