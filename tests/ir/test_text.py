"""Graphs as text: printed, read back as the very same values, and what a mistake is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc.ops.elementwise
import graphc.ops.reduce
import graphc.ops.shape  # noqa: F401
from graphc.dtype import DTYPES, dtype, float32, float64
from graphc.errors import ParseError
from graphc.ir.graph import Graph
from graphc.ir.location import Location, located
from graphc.ir.op import OPS
from graphc.ir.text import infos, parse_graph, print_graph
from graphc.ir.types import TensorType
from graphc.ir.values import constant, make
from graphc.ops.source import PlaceholderInfo, VariableInfo, placeholder, update, variable

MATRIX = TensorType(float32, (2, 3))


def sample():
    with located(Location("/home/someone/model.py", 12)):
        x, w, unused = placeholder("x", MATRIX), variable("fc1.weight", np.ones((2, 3))), placeholder("x", MATRIX)
        w = make("cast", w, dtype=float32)
        y = make("pad", x * w + 2.0625, low=(0, 1), high=(1, -1), interior=(0, 0), value=-0.0)
    with located(None):
        new = constant([1, 2.0625, 3], float32)
        counted = update(make("reduce_sum", y, axes=(1,)), variable("n", np.zeros(3, np.float32)), new)
        v = variable("v", np.zeros((3, 2), np.float32))
        return Graph("f", (x, unused), (counted, y, y), ((v, make("transpose", x, perm=(1, 0))),))


TEXT = """\
graph f(%0, %1):
  %0: float32[2, 3] = placeholder info=@x  # model.py:12
  %1: float32[2, 3] = placeholder info=@x_2  # model.py:12
  %2: float64[2, 3] = variable info=@fc1.weight  # model.py:12
  %3: float32[2, 3] = cast(%2) dtype=float32  # model.py:12
  %4: float32[2, 3] = mul(%0, %3)  # model.py:12
  %5: float32[] = constant literal=float32[] [2.0625]  # model.py:12
  %6: float32[2, 3] = broadcast(%5) shape=(2, 3) dims=()  # model.py:12
  %7: float32[2, 3] = add(%4, %6)  # model.py:12
  %8: float32[3, 3] = pad(%7) low=(0, 1) high=(1, -1) interior=(0, 0) value=-0.0  # model.py:12
  %9: float32[3] = reduce_sum(%8) axes=(1,)
  %10: float32[3] = variable info=@n
  %11: float32[3] = constant literal=float32[3] [1.0, 2.0625, 3.0]
  %12: float32[3] = update(%9, %10, %11)
  %13: float32[3, 2] = transpose(%0) perm=(1, 0)
  %14: float32[3, 2] = variable info=@v
  return %12, %8, %8
  update %14 := %13
"""


def test_the_text_of_a_graph():
    assert print_graph(sample()) == TEXT


def test_reading_gives_the_very_same_graph():
    graph = sample()
    assert parse_graph(print_graph(graph), infos(graph)) == graph


def test_reading_with_new_information_prints_the_same():
    def fresh(op, name, type_):
        data = np.zeros(type_.shape, type_.dtype.numpy)
        return PlaceholderInfo(name, type_) if op == "placeholder" else VariableInfo(name, type_, data)

    graph = parse_graph(TEXT, fresh)
    assert print_graph(graph) == TEXT
    assert graph != parse_graph(TEXT, fresh)
    assert graph.outputs[1].location == Location("model.py", 12) and graph.outputs[0].location is None


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 255), max_size=40))
def test_constants_are_read_back_bit_for_bit(kind, raw):
    raw = bytes(raw[: len(raw) // 8 * 8])
    data = np.frombuffer(raw, np.uint8) % 2 == 1 if kind.is_bool else np.frombuffer(raw, kind.numpy)
    graph = Graph("f", (), (constant(data),))
    assert parse_graph(print_graph(graph), {}) == graph


def test_long_constants_can_be_elided_for_readers():
    graph = Graph("f", (), (constant(np.arange(100)),))
    text = print_graph(graph, elide=True)
    assert "literal=int64[100] elided" in text and len(print_graph(graph)) > len(text)
    with pytest.raises(ParseError, match="elide"):
        parse_graph(text, {})


def sampled_values():
    for op in OPS.values():
        for number, sample_ in enumerate(op.samples()):
            yield pytest.param(op.name, sample_, id=f"{op.name}-{number}")


@pytest.mark.parametrize(("name", "sample_"), list(sampled_values()))
def test_every_op_with_its_attributes_is_read_back(name, sample_):
    operands = tuple(placeholder(f"x{i}", TensorType(dtype(a.dtype), a.shape)) for i, a in enumerate(sample_.arrays))
    graph = Graph("f", operands, (make(name, *operands, **sample_.attrs),))
    assert parse_graph(print_graph(graph), infos(graph)) == graph


MISTAKES = [
    ("graph f", "graf f", "'graph'"),
    ("mul(%0, %3)", "mul(%0, %33)", "a value defined above"),
    ("mul(%0, %3)", "mull(%0, %3)", "an op"),
    ("mul(%0, %3)", "mul(%0)", "operands and attributes that mul takes"),
    ("mul(%0, %3)", "mul(%0, %2)", "operands and attributes that mul takes"),
    ("mul(%0, %3)", "mul(%0, %3) low=(1,)", "operands and attributes that mul takes"),
    ("%4: float32[2, 3]", "%4: float32[3, 2]", r"the type float32\[2, 3\] of this mul"),
    ("%4: float32[2, 3]", "%3: float32[2, 3]", "a new value"),
    ("%4: float32[2, 3]", "%4: single[2, 3]", "an element type"),
    ("info=@n", "info=@m", "a placeholder or variable among x, x_2, fc1.weight, n, v"),
    ("value=-0.0", "value=-", "an attribute"),
    ("value=-0.0", "value=zero", "an element type"),
    ("perm=(1, 0)", "perm=(1 0)", "','"),
    ("return %12", "retrun %12", "'return'"),
    ("update %14 := %13", "update %14 = %13", "':='"),
    ("graph f(%0, %1)", "graph f(%0, %99)", "a value defined above"),
]


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES, ids=[new for _, new, _ in MISTAKES])
def test_a_mistake_is_pointed_at(old, new, expected):
    assert old in TEXT
    number = next(n for n, line in enumerate(TEXT.splitlines(), 1) if old in line)
    with pytest.raises(ParseError, match=rf"line {number}, column \d+: expected {expected}"):
        parse_graph(TEXT.replace(old, new, 1), infos(sample()))


def test_a_graph_without_return_is_refused():
    with pytest.raises(ParseError, match="a line of a value, or return"):
        parse_graph("graph f():\n", {})


def test_a_graph_may_have_no_outputs():
    graph = Graph("f", (), (), ((variable("v", np.zeros(2)), constant([1.0, 2.0], float64)),))
    assert parse_graph(print_graph(graph), infos(graph)) == graph
