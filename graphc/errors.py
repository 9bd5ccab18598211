"""Every error that graphc raises on purpose.

In: what was wrong, and (where known) the user's own source line. Out: an exception whose text says what was wrong,
where, what was expected and what to do. A plain `AssertionError` from graphc is a defect of graphc, never the user's.
"""

from __future__ import annotations


class GraphcError(Exception):
    """Base class: the mistake is in the program, the data or the machine, and the message says how to mend it."""

    def __init__(self, message: str, location: object | None = None) -> None:
        self.message = message
        self.location = location
        super().__init__(f"{location}: {message}" if location is not None else message)


class ShapeError(GraphcError, ValueError):
    """Shapes (or axes, indices, sizes) that do not fit each other."""


class DTypeError(GraphcError, TypeError):
    """An element type that an op or a call does not take."""


class GraphError(GraphcError, ValueError):
    """A function, gradient or update that cannot be built from the graph it was given."""


class CallError(GraphcError, ValueError):
    """Arrays passed to a compiled function that do not fit its signature; nothing has been touched."""


class CompileError(GraphcError, RuntimeError):
    """A program that a target cannot compile: an op or dtype without a lowering, or a missing tool."""


class ArtifactError(GraphcError, RuntimeError):
    """A compiled artifact that is damaged, foreign or newer (refused before any of its code ran), or cannot be written."""


class ParseError(GraphcError, ValueError):
    """IR text that does not follow the grammar."""


class VerifyError(GraphcError, AssertionError):
    """An IR law was broken: the law's number, its text and the neighbourhood of the offending node."""


class MemoryLimitError(GraphcError, MemoryError):
    """Memory for a program could not be had; the message names the exact bytes wanted."""
