"""Constant folding: what depends on constants only is computed now, by the op's own reference.

In: a graph. Out: an equal graph; ops of constants are constants. A result is kept only while it is small or no larger
than the constants it came from, so that folding never bloats a program. Broadcasts and counters are never folded: they
cost nothing where they are used.
"""

from __future__ import annotations

import warnings

import numpy as np

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Marker, Source
from graphc.ir.rewrite import Fired, Rule, Rules, op, rewrite_graph, rule
from graphc.ir.values import Value, constant

SMALL = 64 * 1024  # bytes
FOLDABLE = [
    name for name, record in OPS.items() if not isinstance(record.lower, Source | Marker) and name not in ("broadcast", "iota")
]


def _stored(value: Value) -> int | None:
    """Bytes of the constant that `value` is or repeats; None if it depends on anything else."""
    while value.op.name == "broadcast":
        value = value.operands[0]
    return value.type.nbytes if value.op.name == "constant" else None


def array(value: Value) -> np.ndarray:
    """What a value is that depends on constants only."""
    return np.asarray(value.op.reference(*map(array, value.operands), **value.attrs))


def _folded(root: Value) -> Value | None:
    sizes = [_stored(v) for v in root.operands]
    if not sizes or None in sizes:
        return None
    limit = max(SMALL, sum(size for size in sizes if size is not None))
    if any(v.type.nbytes > limit for v in (root, *root.operands)):
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = np.asarray(root.op.reference(*map(array, root.operands), **root.attrs))
    assert result.dtype == root.dtype.numpy and result.shape == root.shape, f"{root} folds to {result.dtype}{result.shape}"
    return constant(result)


FOLDING: list[Rule] = [rule("op(constants) -> constant", op(FOLDABLE, ...), _folded)]
RULES = Rules(FOLDING)


def fold(graph: Graph, trace: list[Fired] | None = None) -> Graph:
    """Replace ops of constants by constants."""
    return rewrite_graph(graph, RULES, trace)
