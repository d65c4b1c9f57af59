"""mosquitto with a WebSocket listener; it takes this process's place."""

import os
import shutil
import socket
import sys
from pathlib import Path

port, state = sys.argv[1:]
program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
assert program is not None
with socket.socket() as other:  # version 2.0.11 does not start with WebSockets alone
    other.bind(("127.0.0.1", 0))
    plain = other.getsockname()[1]
config = Path(state) / "mosquitto.conf"
config.write_text(
    f"listener {plain} 127.0.0.1\nlistener {port} 127.0.0.1\nprotocol websockets\n"
    "allow_anonymous true\nmax_queued_messages 10000\nlog_type none\n"
)
os.execv(program, [program, "-c", str(config)])
