"""Values are hash-consed: the same parts are the same object, and nothing else is."""

import gc

import numpy as np
import pytest

import graphc.ops.elementwise
import graphc.ops.shape  # noqa: F401
from graphc.dtype import float32, int32
from graphc.errors import GraphcError, ShapeError
from graphc.ir.graph import Graph, rebuild
from graphc.ir.location import Location, here, located
from graphc.ir.op import OPS, register
from graphc.ir.types import TensorType
from graphc.ir.values import Literal, _values, constant, full, like, make, splat, topological
from graphc.ops.source import placeholder, variable

TYPE = TensorType(float32, (2, 3))


def test_the_same_parts_are_the_same_object():
    x = placeholder("x", TYPE)
    assert x + 1.0 is x + 1 and x + 1.0 is not 1.0 + x
    assert make("transpose", x, perm=(1, 0)) is make("transpose", x, perm=(1, 0))
    assert make("transpose", x, perm=(1, 0)) is not make("transpose", x, perm=(0, 1))


def test_placeholders_of_one_name_are_two():
    assert placeholder("x", TYPE) is not placeholder("x", TYPE)


def test_constants_are_equal_by_bits_type_and_shape():
    assert constant([1, 2], float32) is constant(np.array([1, 2], np.float32))
    assert constant([1, 2], float32) is not constant([1, 2], int32)
    assert constant([[1, 2]]) is not constant([1, 2])
    assert constant(0.0) is not constant(-0.0)
    assert constant(np.nan) is constant(np.nan)


def test_float_attributes_are_told_apart_by_bits():
    x = placeholder("x", TYPE)
    pad = lambda value: make("pad", x, low=(1, 0), high=(0, 0), interior=(0, 0), value=value)  # noqa: E731
    assert pad(0.0) is not pad(-0.0) and pad(0.0) is pad(0.0)


def test_literals_are_immutable_copies():
    array = np.zeros(2)
    literal = Literal(array)
    array[0] = 1
    assert literal.array[0] == 0 and literal == Literal(np.zeros(2)) and literal != Literal(array)
    with pytest.raises(ValueError, match="read-only"):
        literal.array[0] = 1
    assert repr(literal) == "<float64[2]>" and literal != 1


def test_values_are_forgotten_with_their_last_user():
    x = placeholder("x", TYPE)
    gc.collect()
    before = len(_values)
    y = make("exp", make("neg", x))
    assert len(_values) == before + 2
    del y
    gc.collect()
    assert len(_values) == before


def test_full_and_like_broadcast_a_number():
    x = placeholder("x", TYPE)
    assert like(x, 2.0) is full(TYPE, 2.0) and like(x, x) is x
    assert splat(full(TYPE, 2.5)) == 2.5 and splat(full(TensorType(int32, ()), 3)) == 3
    assert splat(constant([1.0, 2.0])) is None and splat(x) is None and splat(constant([0.0, -0.0])) is None
    assert splat(constant(np.zeros((0,)))) is None


def test_operators_build_ops():
    x = placeholder("x", TYPE)
    built = [x - 1.0, 1.0 - x, x * 2.0, 2.0 * x, x / 2.0, 2.0 / x, -x]
    assert [v.op.name for v in built] == ["sub", "sub", "mul", "mul", "div", "div", "neg"]
    assert built[1].operands[1] is x and built[5].operands[1] is x
    assert repr(-x) == "<neg: float32[2, 3]>" and (-x).dtype is float32 and (-x).shape == (2, 3)


def test_topological_order_has_operands_first_and_no_recursion():
    x = placeholder("x", TYPE)
    y = x
    for _ in range(3000):
        y = -y if y.op.name == "exp" else make("exp", y)
    order = topological([y, y, x])
    place = {v: n for n, v in enumerate(order)}
    assert len(order) == 3001 and all(place[o] < place[v] for v in order for o in v.operands)


def test_a_mistake_names_the_users_line():
    x = placeholder("x", TYPE)
    with located(Location("model.py", 3)), pytest.raises(ShapeError, match=r"^model.py:3: "):
        make("add", x, placeholder("y", TensorType(float32, (3, 2))))


def test_rebuild_replaces_below_the_roots_and_keeps_lines():
    with located(Location("model.py", 5)):
        x = placeholder("x", TYPE)
        y = make("exp", make("neg", x)) + 1.0
    (new,) = rebuild((y,), lambda v: make("abs", *v.operands) if v.op.name == "neg" else None)
    assert new is make("exp", make("abs", x)) + 1.0
    assert new.location == Location("model.py", 5) == new.operands[0].operands[0].location
    assert rebuild((y,), lambda v: None) == (y,)


def test_graphs_know_their_roots_and_variables():
    x, w, v = placeholder("x", TYPE), variable("w", np.ones((2, 3), np.float32)), variable("v", np.ones((2, 3), np.float32))
    graph = Graph("f", (x,), (x + w,), ((v, x),))
    assert graph.roots == (x + w, x) and graph.variables() == [w, v]
    assert graph.with_roots(graph.roots) is graph
    assert graph.with_roots((x, w)) == Graph("f", (x,), (x,), ((v, w),))


def test_ops_are_registered_once():
    with pytest.raises(AssertionError, match="registered twice"):
        register(OPS["add"])
    assert repr(OPS["add"]) == "<op add>"


def test_types_know_sizes_and_strides():
    t = TensorType(float32, (2, 3, 4))
    assert (t.rank, t.size, t.nbytes, t.strides) == (3, 24, 96, (12, 4, 1))
    assert str(t) == "float32[2, 3, 4]" and t.with_shape(()).size == 1 and t.with_dtype(int32).dtype is int32


def test_locations_are_the_first_line_outside_of_graphc():
    location = here()
    assert location.file == __file__ and str(location).startswith(__file__ + ":")
    x = placeholder("x", TYPE)
    assert (-x).location.file == __file__
    nested = eval("make('neg', x)", {"make": make, "x": x + 1.0})
    assert nested.location.file == __file__


def test_what_no_machine_can_address_is_refused_at_its_line():
    x = placeholder("x", TensorType(float32, (1 << 40,)))
    with pytest.raises(ShapeError, match=f"{1 << 82} bytes") as caught:
        make("broadcast", x, shape=(1 << 40, 1 << 40), dims=(1,))
    assert caught.value.location.file == __file__
    with pytest.raises(ShapeError, match="more than a machine can address"):
        placeholder("x", TensorType(float32, (1 << 54, 2)))
    assert placeholder("x", TensorType(float32, (1 << 54,))).type.nbytes == 1 << 56


def test_located_nests_and_ends():
    outer, inner = Location("a.py", 1), Location("b.py", 2)
    with located(outer):
        with located(inner):
            assert here() == inner
        assert here() == outer
        with pytest.raises(GraphcError), located(None):
            assert here() is None
            raise GraphcError("inside")
        assert here() == outer
    assert here().file == __file__
