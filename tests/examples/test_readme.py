"""What the README shows is true: its program runs, its files exist, and who uses it wrongly is told what to do."""

from __future__ import annotations

import copy
import pickle
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.errors import CallError, GraphcError, GraphError, ShapeError

TOP = Path(__file__).resolve().parent.parent.parent
README = (TOP / "README.md").read_text()


def test_the_example_runs(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(source, "README.md", "exec"), {})
    losses = [float(line) for line in capsys.readouterr().out.split()]
    assert len(losses) == 23 and losses[-1] < losses[0]
    assert {path.name for path in tmp_path.iterdir()} == {"digits.so", "digits.h", "digits.d"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_and_extras_that_are_named_exist(page: str) -> None:
    if not (TOP / "graphc").exists():
        pytest.skip("the sources are not here")
    text = (TOP / page).read_text()
    named = set(re.findall(r"\b(?:graphc|passes|codegen|tests|tools|examples)/[\w/]+\.(?:py|c)\b", text))
    assert len(named) > 8
    assert not [path for path in named if not (TOP / path).exists()]
    extras = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"(?:graphc|\.)\[(\w+)\]", text)) <= set(extras)


@pytest.fixture(scope="module")
def declared():
    gc.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    x = gc.placeholder((4, 1, 3, 4), gc.float32, name="x")
    y = gc.placeholder((4,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step = gc.function([x, y], loss, updates=optimizer.minimize(loss))
    return net, x, y, loss, optimizer, step, gc.compile(train_step=step)


IMAGES, LABELS = np.zeros((4, 1, 3, 4), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        (lambda d: d[6].train_step(IMAGES[:3], LABELS), CallError, r"'x': expected float32\[4, 1, 3, 4\], got float32\[3, 1"),
        (lambda d: d[6].train_step(IMAGES, LABELS.astype(np.int32)), CallError, r"'y': expected int64\[4\].*astype\('int64'\)"),
        (lambda d: d[6].train_step(IMAGES), CallError, "no value for 'y'"),
        (lambda d: d[6].trainstep(IMAGES, LABELS), AttributeError, "did you mean 'train_step'"),
        (lambda d: d[5](IMAGES, LABELS), GraphError, "symbolic and cannot be called.*gc.compile"),
        (lambda d: d[0](IMAGES), GraphError, "takes symbolic tensors, not arrays.*gc.placeholder"),
        (lambda d: nn.Linear(13, 2)(d[1].flatten(1)), ShapeError, r"test_readme.py.*13 features.*\(4, 12\)"),
        (lambda d: gc.function([d[1]], d[3]), GraphError, "placeholder y .* is no input of the function"),
        (lambda d: d[4].minimize(d[0](d[1])), ShapeError, r"shape \(4, 5\).*needs a scalar"),
        (lambda d: d[4].step(), GraphError, "updates=optimizer.minimize"),
        (lambda d: d[3].backward(), GraphError, "gc.grad"),
        (lambda d: gc.compile(d[5]), GraphError, "by name.*gc.compile"),
        (lambda d: gc.compile(f=d[3]), GraphError, "f is a Tensor, not a gc.function"),
        (lambda d: gc.compile(f=d[5], fastmath=True), GraphError, "fastmath=True is neither.*options are target, .*winograd"),
        (lambda d: gc.compile(f=d[5], winograd="yes"), GraphError, "winograd='yes': expected True or False"),
        (lambda d: gc.compile(f=d[5], target=3), GraphError, 'target=3: expected a name such as "cpu"'),
        (lambda d: gc.compile(f=d[5], seed="a"), GraphError, "seed='a': expected a whole number"),
        (lambda d: gc.function([d[1]], d[1], updates=[1]), GraphError, "test_readme.py.*updates are a dict"),
        (lambda d: d[6].save("/nowhere/net.so"), GraphcError, "cannot write /nowhere.*there is no folder /nowhere"),
        (lambda d: d[6].load_state_dict(None), CallError, "a mapping of names to arrays.*not NoneType"),
        (lambda d: copy.copy(d[6]), GraphcError, "neither pickled nor copied.*program.save"),
        (lambda d: pickle.dumps(d[0]), GraphError, "test_readme.py.*cannot be pickled.*gc.save_state"),
        (lambda d: d[1].add_(1), AttributeError, r"no tensor is changed in place; write x = x.add\(...\)"),
        (lambda d: gc.cat(d[1]), GraphError, r"takes a list of tensors.*cat\(\[x, y\]\)"),
        (lambda d: d[1].sum("a"), ShapeError, "sum: a dimension is an int, not 'a'"),
        (lambda d: gc.train.fit(d[6], [], function="step"), GraphcError, "has no function 'step'; name the one that trains"),
    ],
)
def test_wrong_calls_are_told_what_to_do(declared, wrong, error, told) -> None:
    before = declared[6].state_dict()
    with pytest.raises(error, match=re.compile(told, re.DOTALL)):
        wrong(declared)
    for name, value in declared[6].state.items():
        np.testing.assert_array_equal(value, before[name])
