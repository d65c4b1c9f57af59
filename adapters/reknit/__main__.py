"""`python -m reknit` is `reknit`."""

from reknit.cli.main import main

main()
