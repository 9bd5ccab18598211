"""How far a correct result may lie from the reference: stochastic arithmetic on graphs.

In: a graph without gradient or update markers, arrays for calls of it. Out: for every result the reference, how much it
moves when each rounding of the graph is moved by a few units in the last place, and where nothing can be said: elements
that jump (a comparison of nearly equal numbers, an overflow that depends on the order of a sum). Ops that do not round are
not moved, so integers, indices and copies stay exact. Signs of zeros are not part of the contract of sums and extremes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import ml_dtypes
import numpy as np

from graphc.dtype import DType, dtype
from graphc.ir.graph import Graph
from graphc.ir.op import Contraction, Pointwise, Reduction, Source
from graphc.ir.values import Value
from graphc.ops.toom import transforms
from graphc.ops.winograd import on_patches, on_points

Arrays = Sequence[np.ndarray]
State = dict[Value, np.ndarray]

ULPS = 4  # how far one rounding is moved
ALMOST = 16 * ULPS  # units in the last place: numbers that are so near may be equal, had they been rounded otherwise
JUNK = (np.nan, 0.0, 1.0, np.inf, -np.inf)  # stands for a number about which nothing is known

PART_OF_PERIOD = 1 / 8  # of tan, as far as it is followed by some samples

EXACT = frozenset(
    "neg abs sign floor ceil round select not and or xor shl shr cast stop_gradient update gather window_gather "
    "reduce_max reduce_min max min".split()
)
EXTREMES = frozenset("max min reduce_max reduce_min".split())
BESIDE_ONE = frozenset({"ndtr"})  # ops whose errors are small beside 1, however small their results are
# Ops whose own coefficients have signs, and how they apply their matrix.
PATCHES: dict[str, Callable[..., np.ndarray]] = {"winograd_points": on_patches, "winograd_result": on_points}
# Beyond these the target documents its own result (codegen/words).
UNSURE: dict[str, Callable[..., np.ndarray]] = {
    "sin": lambda x: np.abs(x) >= 2.0**51,
    "cos": lambda x: np.abs(x) >= 2.0**51,
    "tan": lambda x: np.abs(x) >= 2.0**51,
    "mod": lambda x, y: np.abs(x) > np.abs(y) * 2.0**282,
}


def epsilon(dtype_: DType) -> float:
    """The distance from 1 to the next number."""
    return float(ml_dtypes.finfo(dtype_.numpy).eps)  # type: ignore[no-untyped-call]


def largest(dtype_: DType) -> float:
    return float(ml_dtypes.finfo(dtype_.numpy).max)  # type: ignore[no-untyped-call]


def smallest(dtype_: DType) -> float:
    return float(ml_dtypes.finfo(dtype_.numpy).smallest_subnormal)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Expected:
    """One result: the reference, how far from it a result may be, and which elements can be judged."""

    reference: np.ndarray
    slack: np.ndarray
    sure: np.ndarray

    def wrong(self, actual: np.ndarray) -> np.ndarray:
        """Which elements of `actual` cannot be right."""
        assert (actual.dtype, actual.shape) == (self.reference.dtype, self.reference.shape), (actual.dtype, actual.shape)
        if not dtype(actual.dtype).is_float:
            return (actual != self.reference) & self.sure
        with np.errstate(all="ignore"):
            a, b = actual.astype(np.float64), self.reference.astype(np.float64)
            near = (np.abs(a - b) <= self.slack) | (a == b) | (np.isnan(a) & np.isnan(b))
            near |= np.isinf(a) & (np.abs(b) + self.slack >= largest(dtype(actual.dtype))) & (np.sign(a) == np.sign(b))
        return ~near & self.sure


def expect(graph: Graph, calls: Sequence[Arrays], state: State, runs: int = 4, seed: int = 0) -> list[list[Expected]]:
    """For each call in turn: what its outputs, then all variables after it, should be."""
    exact, values = _session(graph, calls, dict(state))
    rngs = [np.random.default_rng(seed + run) for run in range(runs)]
    moved = [_session(graph, calls, dict(state), [_Mover(rng, run, v) for v in values])[0] for run, rng in enumerate(rngs)]
    return [
        [_expected(*versions) for versions in zip(results, *(run[n] for run in moved), strict=True)]
        for n, results in enumerate(exact)
    ]


def _expected(reference: np.ndarray, *moved: np.ndarray) -> Expected:
    kind = dtype(reference.dtype)
    if not kind.is_float:
        sure = np.logical_and.reduce([m == reference for m in moved])
        return Expected(reference, np.zeros(reference.shape), np.asarray(sure))
    with np.errstate(all="ignore"):
        base = reference.astype(np.float64)
        others = [m.astype(np.float64) for m in moved]
        finite = np.isfinite(base)
        alike = [np.where(finite, np.isfinite(m), (m == base) | (np.isnan(m) & np.isnan(base))) for m in others]
        spread = np.max([np.where(finite & np.isfinite(m), np.abs(m - base), 0) for m in others], axis=0)
        slack = 4 * spread + ULPS * (epsilon(kind) * np.where(finite, np.abs(base), 0) + smallest(kind))
    return Expected(reference, slack, np.logical_and.reduce(alike))


def _session(
    graph: Graph, calls: Sequence[Arrays], state: State, movers: Sequence[_Mover] = ()
) -> tuple[list[list[np.ndarray]], list[State]]:
    """The results of each call, and all values of each."""
    results, values = [], []
    for arrays, mover in zip_longest(calls, movers):
        values.append(_evaluate(graph, {**state, **dict(zip(graph.inputs, arrays, strict=True))}, mover))
        state.update((variable, values[-1][new]) for variable, new in graph.updates)
        results.append([*(values[-1][v] for v in graph.outputs), *(state[v] for v in sorted_variables(graph))])
    return results, values


def sorted_variables(graph: Graph) -> list[Value]:
    """The variables of a graph by name."""
    return sorted(graph.variables(), key=lambda v: v.attrs["info"].name)


def _evaluate(graph: Graph, environment: Mapping[Value, np.ndarray], mover: _Mover | None) -> dict[Value, np.ndarray]:
    arrays: dict[Value, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for value in graph.values():
            if value in environment:
                arrays[value] = environment[value]
                continue
            operands = [arrays[v] for v in value.operands]
            result = np.asarray(value.op.reference(*operands, **value.attrs))
            arrays[value] = result if mover is None else mover.moved(value, operands, result)
    return arrays


class _Mover:
    """A call of one run, in which every rounding falls elsewhere than in the `exact` one."""

    def __init__(self, rng: np.random.Generator, run: int, exact: State) -> None:
        self.rng, self.junk = rng, JUNK[run : run + 1] or JUNK  # all of one kind in the first runs, then of all kinds
        self.exact = exact

    def moved(self, value: Value, operands: list[np.ndarray], result: np.ndarray) -> np.ndarray:
        """The result with its rounding moved."""
        lower, name = value.op.lower, value.op.name
        if name in ("eq", "ne") and _is_float(operands[0]):
            return np.where(_almost(*operands), self.rng.integers(0, 2, result.shape, bool), result)
        if not value.dtype.is_float or not result.size:
            return result
        if name in EXTREMES or (name in ("reduce_window", "scatter") and not sums(value)):
            return self._unsigned(result)
        if name in EXACT or isinstance(lower, Source) or (isinstance(lower, Pointwise) and lower.view):
            return result
        wide = result.astype(np.float64)
        size = np.ones(result.shape) if name in BESIDE_ONE else np.abs(wide)
        unit, doubt = epsilon(value.dtype) * size, np.zeros(result.shape, bool)
        if sums(value):
            finite = [np.where(np.isfinite(x), np.abs(x), 0).astype(x.dtype) if _is_float(x) else x for x in operands]
            size = self._magnitude(value, finite)
            unit = unit + 2 * epsilon(value.dtype.accumulator) * size
            doubt = size >= largest(value.dtype) / 4
        elif name == "reduce_prod":
            unit, doubt = unit * 4, _order_matters(value, operands[0].astype(np.float64))
        elif name == "tan":  # beyond some pole, it may be of any size
            doubt = np.abs(operands[0] - self.exact[value.operands[0]]) >= PART_OF_PERIOD
        if name in UNSURE:
            doubt |= UNSURE[name](*(x.astype(np.float64) for x in operands))
        unit = np.where(size > 0, np.maximum(unit, smallest(value.dtype)), 0)
        changed = wide + ULPS * np.where(np.isfinite(unit), unit, 0) * self._signs(result.shape)
        changed = np.where(doubt, self.rng.choice(self.junk, result.shape), changed).astype(result.dtype)
        return self._unsigned(changed) if sums(value) else changed

    def _magnitude(self, value: Value, operands: list[np.ndarray]) -> np.ndarray:
        """The sum of the magnitudes of what the op adds up."""
        wide = [x.astype(np.float64) if _is_float(x) else x for x in operands]
        if value.op.name in PATCHES:
            matrix = getattr(transforms(value.attrs["tile"]), value.attrs.get("of", "result"))
            return PATCHES[value.op.name](tuple(tuple(map(abs, row)) for row in matrix), *wide, **value.attrs)
        return np.asarray(value.op.reference(*wide, **value.attrs)).astype(np.float64)

    def _signs(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.choice([-1.0, 1.0], shape) * self.rng.uniform(0.5, 1, shape)

    def _unsigned(self, x: np.ndarray) -> np.ndarray:
        """Zeros of either sign."""
        return np.where(x == 0, np.copysign(np.zeros(x.shape), self._signs(x.shape)).astype(x.dtype), x)


def _almost(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where numbers differ by what roundings that were moved can make of equal ones."""
    difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return (difference > 0) & (difference <= ALMOST * epsilon(dtype(a.dtype)) * np.abs(b.astype(np.float64)))


def sums(value: Value) -> bool:
    """Whether the op adds up products or elements in an order of its own."""
    lower = value.op.lower
    adds: dict[str, Any] = {
        "cumsum": True,
        "recurrence": True,
        "window_scatter": True,
        "window_spread": True,
        "reduce_window": "sum",
        "scatter": "add",
    }
    wanted = adds.get(value.op.name)
    asked = value.attrs.get("kind", value.attrs.get("mode"))
    return (
        isinstance(lower, Contraction)
        or value.op.name in PATCHES
        or (isinstance(lower, Reduction) and lower.combine == "add")
        or (wanted is True or (wanted is not None and wanted == asked))
    )


def _order_matters(value: Value, x: np.ndarray) -> np.ndarray:
    """Whether some partial product may leave the range of the dtype."""
    size = np.abs(np.where(np.isfinite(x) & (x != 0), x, 1.0))
    above = np.prod(np.maximum(size, 1), axis=value.attrs["axes"])
    below = np.prod(np.minimum(size, 1), axis=value.attrs["axes"])
    tiny = float(ml_dtypes.finfo(value.dtype.numpy).tiny)  # type: ignore[no-untyped-call]
    return (above >= largest(value.dtype) / 4) | (below <= tiny * 4)


def _is_float(x: np.ndarray) -> bool:
    return dtype(x.dtype).is_float
