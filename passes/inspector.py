"""Looks at every step of a list of passes: verifies, reports, dumps, and finds the pass that changed a number.

In: steps of the manager, and what to do with them. Out: the steps themselves in `steps`, text, files, or an error that
names the guilty pass and the first value on which it went wrong. The evaluation of graphs is passed in: passes know
nothing of interpreters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from graphc.errors import VerifyError
from graphc.ir.graph import Graph
from graphc.ir.text import print_graph
from graphc.ir.values import Value
from graphc.ir.verify import verify_graph

from .manager import Step

Environment = Mapping[Value, np.ndarray]
Evaluate = Callable[[Sequence[Value], Environment], Sequence[np.ndarray]]

# What the passes may change in a float: sums in another order, fewer roundings. Relative to the largest element.
TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-3, "float64": 1e-9}


@dataclass
class Inspector:
    """An observer for `run_passes`. Every part of it can be left out."""

    verify: int = 0  # level of verify_graph after each pass
    dump: Path | None = None  # folder for the graph's text after each pass
    report: Callable[[str], None] | None = None  # takes one line per step
    evaluate: Evaluate | None = None  # compare both sides of each pass by numbers
    steps: list[Step] = field(default_factory=list)

    def __call__(self, step: Step) -> None:
        self.steps.append(step)
        if self.dump is not None:
            _dump(self.dump, step)
        if self.report is not None:
            self.report(str(step))
        if self.verify:
            verify_graph(step.after, self.verify)
            verify_gifts(step)
        if self.evaluate is not None:
            compare(step, self.evaluate)


def verify_gifts(step: Step) -> None:
    """A pass must give what it says."""
    for gift in step.done.gives:
        value = gift.violation(step.after)
        if value is not None:
            raise VerifyError(f"pass {step.done.name} gives {gift.name!r}, but {value} breaks it", value.location)


def _dump(folder: Path, step: Step) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if step.number == 1:
        (folder / f"{step.before.name}.00.start.txt").write_text(print_graph(step.before, elide=True))
    (folder / f"{step.after.name}.{step.number:02}.{step.done.name}.txt").write_text(print_graph(step.after, elide=True))


# ----------------------------------------------------------------------------------------------------------- numbers


def compare(step: Step, evaluate: Evaluate) -> None:
    """Raise VerifyError if the graphs before and after the step compute different numbers from the same arrays."""
    if step.after is step.before or any(v.op.name == "grad" for v in step.before.values()):
        return  # a gradient has no number before autodiff
    environment = sample_environment(step.before, noise=0.1 if step.done.exact else 0.0)
    old, new = _results(step.before), _results(step.after)
    keys = [key for key in old if key in new]
    with np.errstate(all="ignore"):
        before = evaluate([old[key] for key in keys], environment)
        after = evaluate([new[key] for key in keys], environment)
    for key, x, y in zip(keys, before, after, strict=True):
        if not agrees(x, y, old[key]):
            raise _accusation(step, _first_wrong(step, evaluate, environment) or (old[key], x, y))


def _results(graph: Graph) -> dict[object, Value]:
    """Output number or updated variable -> its value."""
    return {**dict(enumerate(graph.outputs)), **dict(graph.updates)}


Wrong = tuple[Value, np.ndarray, np.ndarray]


def _first_wrong(step: Step, evaluate: Evaluate, environment: Environment) -> Wrong | None:
    """Ask the pass for every value of its input: the first one that it gets wrong, with both results."""
    values = tuple(step.before.values())
    alone = step.done.run(Graph(step.before.name, step.before.inputs, values)).outputs
    with np.errstate(all="ignore"):
        pairs = zip(values, evaluate(values, environment), evaluate(alone, environment), strict=True)
    return next(((v, x, y) for v, x, y in pairs if not agrees(x, y, v)), None)


def _accusation(step: Step, wrong: Wrong) -> VerifyError:
    value, x, y = wrong
    what = f"changes the value of {value}"
    if x.shape == y.shape and x.dtype == y.dtype:
        place = tuple(np.argwhere(~_close(x, y, value))[0].tolist())
        what += f", at {list(place)} {x[place]} becomes {y[place]}"
    return VerifyError(f"pass {step.done.name} of {step.before.name} {what}", value.location)


def sample_environment(graph: Graph, seed: int = 0, noise: float = 0.1) -> dict[Value, np.ndarray]:
    """Random arrays for the inputs; variables are as near as `noise` to what they start from."""
    rng = np.random.default_rng(seed)
    environment = {x: _sample(rng, x) for x in graph.inputs}
    for variable in graph.variables():
        initial = np.asarray(variable.attrs["info"].initial)
        if variable.dtype.is_float:
            initial = (initial + noise * np.abs(rng.standard_normal(variable.shape))).astype(initial.dtype)
        environment[variable] = initial
    return environment


def _sample(rng: np.random.Generator, x: Value) -> np.ndarray:
    draw = rng.standard_normal(x.shape) if x.dtype.is_float else rng.integers(0, 2 if x.dtype.is_bool else 4, x.shape)
    return np.asarray(draw).astype(x.dtype.numpy)


def agrees(x: np.ndarray, y: np.ndarray, value: Value) -> bool:
    """Whether two results are the same number up to what passes may change."""
    return x.dtype == y.dtype and x.shape == y.shape and bool(_close(x, y, value).all())


def _close(x: np.ndarray, y: np.ndarray, value: Value) -> np.ndarray:
    if not value.dtype.is_float:
        return np.asarray(x == y)
    wide = x.astype(np.float64)
    finite = np.abs(wide[np.isfinite(wide)])
    tolerance = TOLERANCE[value.dtype.name] * (finite.max(initial=0) + 1e-30)
    return np.isclose(wide, y.astype(np.float64), rtol=0, atol=tolerance, equal_nan=True)
