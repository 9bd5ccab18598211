"""Where in the user's program a value was made.

In: the Python call stack. Out: a `Location`: the first frame that is not graphc's own. Passes that build values on
behalf of others say so with `located(...)`, so that a rewritten value keeps the line of what it replaces.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_HOME = Path(__file__).parent.parent
_ROOMS = (f"{_HOME}{os.sep}", *(f"{Path(_HOME, room).resolve()}{os.sep}" for room in (".", "passes", "codegen")))
_TYPED = ("<stdin>", "<python-input", "<ipython", "<doctest")  # lines typed by a user; others in <> are generated code
_override: list[Location | None] = []


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's program."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def here() -> Location | None:
    """The user's line that is being executed, or what `located` says."""
    if _override:
        return _override[-1]
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_ROOMS) and (not name.startswith("<") or name.startswith(_TYPED)):
            return Location(name, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None


class located:
    """A block in which values carry `location`: `with located(value.location): ...`"""

    __slots__ = ("_location",)

    def __init__(self, location: Location | None) -> None:
        self._location = location

    def __enter__(self) -> None:
        _override.append(self._location)

    def __exit__(self, *_: object) -> None:
        _override.pop()
