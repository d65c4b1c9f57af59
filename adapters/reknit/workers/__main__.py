"""What the parent starts: `python -m reknit.workers DESCRIPTOR`."""

import faulthandler
import pickle
import socket
import sys

import msgspec
import trio

from reknit.observe.logs import log_to_stderr
from reknit.observe.outlet import divert_stderr
from reknit.process.mask import heed_no_more
from reknit.workers.messages import TO_WORKER, Begin, Link
from reknit.workers.worker import work


def main() -> None:
    """Be a worker. Signals are the parent's: they may come to all of a group at once."""
    heed_no_more()
    faulthandler.enable()  # the parent aborts one that hangs
    control = socket.socket(fileno=int(sys.argv[1]))
    begin = _receive(control)
    if begin is None:
        return
    config = pickle.loads(begin.config)  # noqa: S301  # of the process that started this one
    outlet = log_to_stderr(config.log_level, config.log_format, worker=begin.number)
    divert_stderr(outlet)
    try:
        trio.run(_work, begin, control)
    finally:
        outlet.flush()


async def _work(begin: Begin, control: socket.socket) -> None:
    control.setblocking(False)
    await work(begin, Link(trio.SocketStream(trio.socket.from_stdlib_socket(control))))


def _receive(control: socket.socket) -> Begin | None:
    """The first message, with its size in front; None if the parent is gone already."""
    size = int.from_bytes(control.recv(4, socket.MSG_WAITALL), "big")
    if not size:
        return None
    message = TO_WORKER.decode(control.recv(size, socket.MSG_WAITALL))
    if not isinstance(message, Begin):
        raise msgspec.ValidationError("a worker is to be told first who it is")
    return message


if __name__ == "__main__":
    main()
