"""Every law of graphs, in a case in which it says no."""

import numpy as np
import pytest

import graphc.ops.elementwise
import graphc.ops.shape  # noqa: F401
from graphc.dtype import float32
from graphc.errors import VerifyError
from graphc.ir.graph import Graph
from graphc.ir.location import Location, located
from graphc.ir.op import OPS, Expand, Marker, Op
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ir.verify import LAWS, neighbourhood, verify_graph
from graphc.ops.source import placeholder, stop_gradient, variable

TYPE = TensorType(float32, (2, 3))


def forged(like: Value, **changes) -> Value:
    """A value as `make` would never build it."""
    value = object.__new__(Value)
    for part in ("op", "operands", "attrs", "type", "location"):
        setattr(value, part, changes.get(part, getattr(like, part)))
    return value


def parts():
    return placeholder("x", TYPE), variable("w", np.ones((2, 3), np.float32))


def unregistered():
    x, _ = parts()
    op = Op("neg", OPS["neg"].infer, OPS["neg"].reference, "none", OPS["neg"].lower, tuple)
    return Graph("f", (x,), (forged(-x, op=op),))


def negative_shape():
    x, _ = parts()
    x = forged(x, type=TensorType(float32, (2, -3)))
    return Graph("f", (x,), (x,))


def input_is_no_placeholder():
    x, _ = parts()
    return Graph("f", (x + 1.0,), (x + 1.0,))


def input_twice():
    x, _ = parts()
    return Graph("f", (x, x), (x,))


def unbound():
    x, _ = parts()
    y = placeholder("y", TYPE)
    return Graph("f", (x,), (x + y,))


def update_of_a_value():
    x, w = parts()
    return Graph("f", (x,), (x,), ((w * 2.0, x),))


def update_of_another_type():
    x, w = parts()
    return Graph("f", (x,), (x,), ((w, make("transpose", x, perm=(1, 0))),))


def updated_twice():
    x, w = parts()
    return Graph("f", (x,), (x,), ((w, x), (w, x + 1.0)))


def wrong_type():
    x, _ = parts()
    return Graph("f", (x,), (forged(-x, type=TensorType(float32, (3, 2))),))


def refused_operands():
    x, _ = parts()
    return Graph("f", (x,), (forged(x + 1.0, operands=(x,)),))


def copied():
    x, _ = parts()
    y = -x
    return Graph("f", (x,), (make("add", y, forged(y)),))


CASES = [
    ("G1", unregistered, "neg is no registered op"),
    ("G2", negative_shape, r"float32\[2, -3\]"),
    ("G3", input_is_no_placeholder, "add is among the inputs"),
    ("G3", input_twice, "an input twice"),
    ("G4", unbound, "it is no input"),
    ("G5", update_of_a_value, "an update targets a mul"),
    ("G5", update_of_another_type, r"a variable of float32\[2, 3\] is set to a value of float32\[3, 2\]"),
    ("G6", updated_twice, "updated 2 times"),
    ("G7", wrong_type, r"it says float32\[3, 2\], the rule of neg says float32\[2, 3\]"),
    ("G7", refused_operands, "the rule of add refuses its operands"),
    ("G8", copied, "another object"),
]


@pytest.mark.parametrize(("law", "make_graph", "what"), CASES, ids=[f"{law}-{m.__name__}" for law, m, _ in CASES])
def test_a_broken_law_is_named(law, make_graph, what):
    with pytest.raises(VerifyError, match=rf"(?s)breaks law {law} \(.*{what}.*\n  > %\d+: "):
        verify_graph(make_graph(), level=3)


@pytest.mark.parametrize(("law", "make_graph", "what"), CASES, ids=[f"{law}-{m.__name__}" for law, m, _ in CASES])
def test_a_law_above_the_level_is_not_asked(law, make_graph, what):
    level = next(entry.level for entry in LAWS if entry.number == law)
    if level > 1:
        verify_graph(make_graph(), level=level - 1)
    with pytest.raises(VerifyError, match=law):
        verify_graph(make_graph(), level=level)


def test_every_law_has_a_case():
    assert {law for law, _, _ in CASES} == {law.number for law in LAWS}


def test_a_legal_graph_passes():
    x, w = parts()
    graph = Graph("f", (x,), (stop_gradient(x * w), x), ((w, x + 1.0),))
    verify_graph(graph, level=3)
    verify_graph(graph, level=3, absent=(Expand,))


def test_markers_left_over_are_refused():
    x, _ = parts()
    graph = Graph("f", (x,), (stop_gradient(x) * 2.0,))
    with pytest.raises(VerifyError, match=r"breaks law G9 \(no Marker is left at this stage\): stop_gradient is one"):
        verify_graph(graph, absent=(Marker, Expand))


def test_the_error_names_the_users_line():
    x, _ = parts()
    with located(Location("model.py", 7)):
        bad = forged(-x, type=TensorType(float32, (3, 2)), location=Location("model.py", 7))
    with pytest.raises(VerifyError, match=r"^model.py:7: graph f breaks law G7"):
        verify_graph(Graph("f", (x,), (bad,)))


def test_the_neighbourhood_shows_distant_operands_first():
    x, w = parts()
    y = w
    for _ in range(9):
        y = -make("exp", y)
    lines = neighbourhood(Graph("f", (x,), (make("add", x, y),)), make("add", x, y)).splitlines()
    assert "placeholder" in lines[0] and lines[-1].startswith("  > ") and "add" in lines[-1] and len(lines) == 5
