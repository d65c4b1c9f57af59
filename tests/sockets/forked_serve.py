"""What a forked proxy process runs. Imports little: each process imports it."""

import os
from multiprocessing.connection import Connection


def serve(options: tuple[str, ...], log: Connection) -> None:
    """Run `reknit serve` with these options and standard error into `log`; never returns."""
    from reknit.cli import main

    os.dup2(log.fileno(), 2)
    log.close()
    for name in [name for name in os.environ if name.startswith("REKNIT_")]:
        del os.environ[name]
    main(["serve", *options])
