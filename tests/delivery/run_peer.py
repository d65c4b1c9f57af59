"""Both ends of a delivery run: `python run_peer.py ROLE STACK JOURNAL PORT`."""

import argparse
import asyncio
from pathlib import Path

import client_peer
import server_peer
from peer import Peer, open_orders, say

ROLES = {"server": server_peer, "client": client_peer}


async def main(options: argparse.Namespace) -> None:
    """Run until standard input ends."""
    role = ROLES[options.role]
    stack = role.STACKS[options.stack]()  # its library is loaded before the order to go
    orders = await open_orders()
    say("ready")
    if await orders.readline():
        peer = Peer(options)  # reads the journal, which the process before this one has ended
        obeying = asyncio.create_task(peer.obey(orders))
        serving = asyncio.create_task(role.serve(peer, stack))
        await asyncio.wait((obeying, serving), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()


def parser() -> argparse.ArgumentParser:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("stack", choices=("aiohttp", "websockets"))
    parser.add_argument("journal", type=Path)
    parser.add_argument("port", type=int, help="to listen on (0: any), or the proxy's")
    parser.add_argument("--rate", type=int, default=0, help="messages a second to send")
    parser.add_argument("--counts", action="store_true", help="say on a return what it has")
    parser.add_argument("--slow", action="store_true", help="its handler takes its time")
    return parser


if __name__ == "__main__":
    asyncio.run(main(parser().parse_args()))
