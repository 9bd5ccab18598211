"""Compares tensor functions, layers and optimisers with PyTorch's on its own samples; writes tools/parity_table.md.

    python tools/parity_table.py [NAME ...] [--samples N] [--compiled] [--write]

For each sample: values, gradients with respect to all float inputs and parameters, changed buffers, names of the state,
in float64, through graphc's numpy interpreter after autodiff; with --compiled the first sample of each also through
gc.compile. A row passes when all its samples pass; samples that cannot be compared are counted apart, with the reason.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_optimizers import optimizers
from parity_samples import Case, Entry, as_dtype, as_function, entries

import graphc as gc
from graphc.interp.graph import run
from graphc.passes.autodiff import autodiff

TABLE = Path(__file__).with_suffix(".md")
RTOL, ATOL = 1e-6, 1e-8


@dataclass
class Row:
    """What became of an entry."""

    entry: Entry
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: collections.Counter[str] = field(default_factory=collections.Counter)
    compiled: str = ""

    @property
    def verdict(self) -> str:
        if self.failures:
            return "fail"
        if self.entry.missing:
            return "not offered"
        return "pass" if self.passed else "not applicable"

    @property
    def reason(self) -> str:
        reasons = [*dict.fromkeys(self.failures)][:2] + [f"{n} samples: {why}" if n else why for why, n in self.skipped.items()]
        return "; ".join(reasons).replace("|", "/").replace("\n", " ")


class Bridge:
    """Makes a placeholder of each tensor of PyTorch, the same for the same; remembers them in order."""

    def __init__(self) -> None:
        self.pairs: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            key = id(value)
            if key not in self.pairs:
                self.pairs[key] = (value, gc.placeholder(tuple(value.shape), as_dtype(value.dtype)))
            return self.pairs[key][1]
        if isinstance(value, torch.dtype):
            return as_dtype(value)
        if callable(value) and (getattr(value, "__module__", None) or "").startswith("torch"):
            return as_function(value)
        if isinstance(value, tuple | list):
            return tuple(map(self, value)) if isinstance(value, tuple) else [*map(self, value)]
        return value


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """As numpy has no bfloat16, the numbers of a tensor in a dtype that it has."""
    array: np.ndarray = (tensor.detach().float() if tensor.dtype is torch.bfloat16 else tensor.detach()).numpy(force=True)
    return array


def flat(result: Any) -> list[Any]:
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in flat(part)]
    return [] if result is None else [result]


def check(case: Case, compiled: bool = False) -> None:
    """Raises AssertionError, or whatever graphc raises, where the libraries differ."""
    if case.check:
        return case.check(compiled)
    bridge = Bridge()
    before = {} if case.owner is None else {k: v.clone() for k, v in case.owner[1].state_dict().items()}
    results = [torch.as_tensor(result) for result in flat(case.theirs())]
    expected = [t.detach() if not t.requires_grad else t for t in results]
    outputs = flat(case.ours(bridge))
    assert len(outputs) == len(expected), f"{len(outputs)} outputs, PyTorch has {len(expected)}"
    for i, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        assert ours.shape == tuple(theirs.shape), f"output {i} has shape {ours.shape}, PyTorch's {tuple(theirs.shape)}"
        assert ours.dtype is as_dtype(theirs.dtype), f"output {i} is {ours.dtype}, PyTorch's {theirs.dtype}"
    leaves = [pair for pair in bridge.pairs.values() if pair[0].requires_grad]
    if case.owner is not None:
        ours, theirs = case.owner
        assert [(k, v.shape) for k, v in ours.state_dict().items()] == [(k, tuple(v.shape)) for k, v in before.items()]
        leaves += [(b, a) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)]
    gradients, found = _gradients(outputs, expected, leaves)
    inputs = [pair[1] for pair in bridge.pairs.values()]
    arrays = [pair[0].detach().numpy() for pair in bridge.pairs.values()]
    function = gc.function(inputs, [*outputs, *gradients])
    if compiled:
        results = gc.compile(f=function).f(*arrays)
        state: dict[Any, np.ndarray] = {}
    else:
        state = {}
        results = run(autodiff(function.graph("f")), arrays, state)
    every = [*expected, *(leaf for leaf, _ in bridge.pairs.values())]
    rough = any(tensor.dtype is torch.float32 for tensor in every)  # a few samples mix dtypes
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if rough else {"rtol": RTOL, "atol": ATOL}
    names = [f"output {i}" for i in range(len(outputs))] + [f"gradient {i}" for i in range(len(gradients))]
    for name, a, b in zip(names, results, [*expected, *found], strict=True):
        np.testing.assert_allclose(a, numbers(b), err_msg=name, **tolerance)
    if case.owner is not None and not compiled:
        for (key, buffer), b in zip(case.owner[0].named_buffers(), case.owner[1].buffers(), strict=True):
            np.testing.assert_allclose(state.get(buffer.value, buffer.initial), b.numpy(), rtol=RTOL, atol=ATOL, err_msg=key)


def _gradients(outputs: list[Any], expected: list[Any], leaves: list[Any]) -> tuple[list[Any], list[Any]]:
    """Gradients of one weighted sum of all outputs, ours and PyTorch's; what nothing depends on has gradient 0."""
    chosen = [(a, b) for a, b in zip(outputs, expected, strict=True) if b.requires_grad and a.dtype.is_float]
    if not chosen or not leaves:
        return [], []
    weights = [np.random.default_rng(i).normal(size=a.shape) for i, (a, _) in enumerate(chosen)]
    loss: Any = sum((a * w.astype(a.dtype.numpy)).sum() for (a, _), w in zip(chosen, weights, strict=True))
    total: Any = sum((b * torch.tensor(w, dtype=b.dtype)).sum() for (_, b), w in zip(chosen, weights, strict=True))
    found = torch.autograd.grad(total, [leaf for leaf, _ in leaves], allow_unused=True)
    ours = [_gradient(loss, tensor) for _, tensor in leaves]
    return ours, [torch.zeros_like(leaf) if g is None else g for g, (leaf, _) in zip(found, leaves, strict=True)]


def _gradient(loss: Any, tensor: Any) -> Any:
    try:
        return gc.grad(loss, tensor)
    except gc.GraphcError as error:
        if "does not depend" not in str(error):
            raise
        return gc.zeros_like(tensor)


def judge(entry: Entry, samples: int, compiled: bool) -> Row:
    """Run at most `samples` samples of an entry, spread over all of them."""
    row = Row(entry)
    if entry.skip or entry.missing:
        row.skipped[entry.skip or entry.missing] = 0
        return row
    try:
        cases = list(entry.cases())
    except Exception as error:  # a module that cannot be built, or whose state differs
        row.failures.append(_short(error))
        return row
    step = max(1, len(cases) // samples)
    for case in itertools.islice(cases, 0, None, step):
        if case.skip:
            row.skipped[case.skip] += 1
            continue
        try:
            check(case)
            row.passed += 1
        except Exception as error:
            row.failures.append(_short(error))
    if compiled and row.passed:
        first = next(case for case in cases if not case.skip)
        row.compiled = _outcome(lambda: check(first, compiled=True))
    return row


def _outcome(action: Callable[[], None]) -> str:
    try:
        action()
    except Exception as error:
        return _short(error)
    return "pass"


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:5]) if isinstance(error, AssertionError) else (lines or [""])[0]
    return f"{type(error).__name__}: {text}"[:220]


def table(rows: Iterable[Row]) -> str:
    """The table as markdown, behind a summary."""
    rows = list(rows)
    counts = collections.Counter((row.entry.kind, row.verdict) for row in rows)
    lines = ["# graphc beside PyTorch", "", f"PyTorch {torch.__version__}; written by tools/parity_table.py.", ""]
    for kind in ("tensor", "functional", "module", "optimizer"):
        verdicts = ("pass", "fail", "not offered", "not applicable")
        good, bad, missing, none = (counts[kind, verdict] for verdict in verdicts)
        share = 100 * good / max(good + bad + missing, 1)
        lines.append(
            f"- {kind}: {good} of {good + bad + missing} applicable pass ({share:.1f} %); {missing} are not offered, "
            f"{none} not applicable"
        )
    lines += ["", "| kind | name | verdict | samples | compiled | remarks |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        total = row.passed + len(row.failures)
        samples = f"{row.passed} of {total}" if total else ""
        lines.append(f"| {row.entry.kind} | {row.entry.name} | {row.verdict} | {samples} | {row.compiled} | {row.reason} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="functions or modules; all by default")
    parser.add_argument("--samples", type=int, default=24, help="at most about twice as many samples of each")
    parser.add_argument("--compiled", action="store_true", help="the first sample also through gc.compile")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for entry in [*entries(), *optimizers()]:
        if not options.names or entry.name in options.names:
            rows.append(judge(entry, options.samples, options.compiled))
            if rows[-1].verdict == "fail" or rows[-1].compiled not in ("", "pass"):
                print(entry.kind, entry.name, f"{rows[-1].passed} passed:", rows[-1].reason, rows[-1].compiled, flush=True)
    text = table(rows)
    if options.write:
        TABLE.write_text(text)
    print(*text.splitlines()[4:8], sep="\n")
    return any(row.verdict == "fail" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
