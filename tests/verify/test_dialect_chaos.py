"""Sessions with a dialect, in any order of events: a new server hears nothing out of turn."""

import json
import random

import pytest
from reknit.verify.model.checks import held
from reknit_core.durable.frozen import decode, freeze
from reknit_core.lifecycle import State
from reknit_core.play.player import Player
from reknit_core.policy.policy import Delivery
from reknit_core.script.scenario import DEFAULT_POLICY, parse, policy_lines

PROTOCOL = "graphql-transport-ws"
DEFLATE = 'deflate="server_no_context_takeover; client_no_context_takeover"'
INIT, ACK = {"type": "connection_init"}, {"type": "connection_ack"}


def quoted(document: object) -> str:
    return json.dumps(json.dumps(document, separators=(",", ":")))


def client_says(chance: random.Random, *, is_back: bool) -> str:
    if is_back and chance.random() < 0.2:
        return quoted(INIT)  # it has forgotten the session
    name = str(chance.randrange(4))
    query = chance.choice(("subscription{a}", "mutation{a}", "{a}"))
    return quoted(
        chance.choice(
            (
                {"type": "ping"},
                {"type": "pong"},
                {"id": name, "type": "subscribe", "payload": {"query": query}},
                {"id": name, "type": "complete"},
                {"id": 2**70, "type": "subscribe"},
                "no object",
            )
        )
    )


def server_says(chance: random.Random) -> str:
    name = str(chance.randrange(4))
    return quoted(
        chance.choice(
            (
                ACK,
                ACK,
                {"type": "ping"},
                {"id": name, "type": "next", "payload": 1},
                {"id": name, "type": "error", "payload": []},
                {"id": name, "type": "complete"},
            )
        )
    )


def event(chance: random.Random, *, is_back: bool) -> str:
    how = chance.choice(("", "", "", " in 3 parts", " compressed"))
    match chance.randrange(16):
        case 0 | 1 | 2 | 3:
            return f"client message {client_says(chance, is_back=is_back)}{how}"
        case 4 | 5 | 6 | 7:
            return f"server message {server_says(chance)}{how}"
        case 8:
            return f"{chance.choice(('client', 'server'))} lost"
        case 9:
            received = chance.choice(("", "", f" received={chance.randrange(9)}"))
            return f"client connected subprotocols={PROTOCOL} deflate{received}"
        case 10 | 11:
            return "server connected"
        case 12 | 13:
            received = chance.choice(("", "", "", f" received={chance.randrange(9)}"))
            return f"server accepts subprotocol={PROTOCOL} {DEFLATE}{received}"
        case 14:
            return f"{chance.choice(('client', 'server'))} pong probe"
        case _:
            side = chance.choice(("client", "server"))
            return f"{side} {chance.choice(('takes 40', 'takes all', 'ping', 'close 1000'))}"


@pytest.mark.parametrize("delivery", Delivery)
@pytest.mark.parametrize("seed", range(150))
def test_any_order_of_events(seed: int, delivery: Delivery) -> None:
    chance = random.Random(f"{seed} {delivery}")
    text = "\n".join(policy_lines(DEFAULT_POLICY))
    policy = parse(f"{text}\npolicy delivery={delivery.value}\npolicy confirm_after=0.3\n").policy
    player = Player(policy)
    beginning = (
        f"client connected subprotocols={PROTOCOL} deflate",
        "server connected",
        f"server accepts subprotocol={PROTOCOL} {DEFLATE}",
        f"client message {quoted(INIT)}",
        f"server message {quoted(ACK)}",
    )
    is_back = False  # whether the client has returned, and not begun since
    is_new = False  # whether the server is asked as if the session began
    told = knows = True  # whether the present server has heard, and answered, how all begins
    for number in range(120):
        what = beginning[number] if number < len(beginning) else event(chance, is_back=is_back)
        is_back &= not what.startswith(f"client message {quoted(INIT)}")
        knows |= told and what.startswith("server message") and "_ack" in what
        for line in player.do(f"@{max(number * 0.1, player.now):.6f} > {what}"):
            words = line.strip()
            is_back |= words.startswith("< client response 101") and number > 0
            if words.startswith("< server request"):
                told = False
                knows = is_new = "x-reconnect" not in words  # to a new one all is as it comes
            if what.startswith("server accepts") and "received=" in what and not is_new:
                told = knows = True
            if words.startswith("< server message"):
                told |= "_init" in words
                assert told, "\n".join(player.lines[-40:])
                assert knows or "_init" in words or number < len(beginning), "\n".join(
                    player.lines[-40:]
                )
        context = player.context
        if context is None:
            continue
        queues = (context.client.queue, context.server.queue)
        size = 0 if context.dialogue is None else context.dialogue.held
        assert queues[0].budget.used == sum(map(held, queues)) + size
        assert decode(freeze(context, player.now)).telling == context.frozen(player.now).telling
        if context.state is State.CLOSED:
            break
