"""Guards taken apart.

In: conditions of kernels. Out: the comparisons of which they consist, and how far these are from failing.
"""

from __future__ import annotations

from collections.abc import Iterator

from .expr import Call, Expr, Index


def conjuncts(guard: Expr | None) -> Iterator[Expr]:
    """The conditions that all hold exactly where a guard does."""
    if isinstance(guard, Call) and guard.word == "and":
        for part in guard.args:
            yield from conjuncts(part)
    elif guard is not None:
        yield guard


def slack(condition: Expr) -> Index | None:
    """What is not negative exactly where an inequality of indices holds; None for other conditions."""
    if not isinstance(condition, Call) or condition.word not in ("lt", "le"):
        return None
    low, high = condition.args
    return high - low - (condition.word == "lt") if isinstance(low, Index) and isinstance(high, Index) else None
