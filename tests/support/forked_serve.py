"""What a forked proxy process runs. Imports little: each process imports it."""

import atexit
import os
import resource
from multiprocessing.connection import Connection


def serve(options: tuple[str, ...], log: Connection, files: int) -> None:
    """Run `reknit serve` with these options and standard error into `log`; never returns.

    `files`: how many may be open; 0: as many as may be here.
    """
    from reknit.cli.main import main

    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    os.dup2(log.fileno(), 2)
    log.close()
    for name in [name for name in os.environ if name.startswith("REKNIT_")]:
        del os.environ[name]
    try:
        main(["serve", *options])
    finally:
        atexit._run_exitfuncs()  # which a forked process leaves out: the last lines of the log
