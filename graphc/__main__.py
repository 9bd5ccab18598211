"""`python -m graphc` is the command line."""

from .cli import main

main()
