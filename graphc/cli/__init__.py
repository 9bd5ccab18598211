"""The command line: `graphc compile | run | show | bench | tune | doctor`.

In: arguments. Out: files, text, and an exit code: 0; 2 for a mistake of the user's, told with their own line; 1 for a defect
of graphc. Results go to stdout, everything else to stderr.
"""

from .commands import main

__all__ = ["main"]
