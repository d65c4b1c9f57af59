"""Chromium with its DevTools protocol; it takes this process's place."""

import os
import shutil
import sys
import tempfile

port, state = sys.argv[1:]
program = shutil.which("chromium")
assert program is not None
profile = tempfile.mkdtemp(dir=state)  # a new one: the last was in use when it was killed
flags = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
os.execv(
    program, [program, *flags, f"--remote-debugging-port={port}", f"--user-data-dir={profile}"]
)
