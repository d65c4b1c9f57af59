"""`python -m reknit` is `reknit`."""

from reknit.cli import main

main()
