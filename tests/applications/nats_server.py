"""nats-server with a WebSocket listener; it takes this process's place."""

import os
import shutil
import sys
from pathlib import Path

port, state = sys.argv[1:]
beside = Path(sys.executable).parent
program = shutil.which("nats-server", path=f"{beside}:{os.environ['PATH']}")
assert program is not None
config = Path(state) / "nats.conf"
config.write_text(
    f'listen: "127.0.0.1:-1"\nwebsocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n'
)
os.execv(program, [program, "-c", str(config)])
