"""Expansion as a rewrite: what changes, what stays the same object, and that no word is left over."""

from __future__ import annotations

import pytest

from graphc.codegen.expand import expand_expr, expand_kernel, rule_for
from graphc.codegen.llvm.words import says as llvm_says
from graphc.dtype import FLOATS, INTS, DType, bool_, float16, float32, float64, int32, int64
from graphc.ir.expr import COMPARISONS, WORDS, Array, Call, Expr, Load, Var, call, const, load, select, temp
from graphc.ir.kernel import VECTOR, Accumulate, For, If, Kernel, Let, Local, Stmt, Store, expressions, operands, walk

INTEGER_ONLY = {"quot", "rem", "and", "or", "xor", "shl", "shr", "lshr", "not"}
BOTH = {"neg", "abs", "sign", "add", "sub", "mul", "min", "max", "pow", "mod", "floordiv", "select", *COMPARISONS}


def says_all(word: str, dtype: DType) -> bool:
    return True


def kernel_of(*body: Stmt, params: tuple[Array, ...] = ()) -> Kernel:
    return Kernel("k", params, Var("t", 1), body)


def calls_in(kernel: Kernel) -> list[Call]:
    found: list[Call] = []

    def visit(expr: Expr) -> None:
        if expr in seen:
            return
        seen.add(expr)
        if isinstance(expr, Call):
            found.append(expr)
        for part in operands(expr):
            visit(part)

    seen: set[Expr] = set()
    for stmt in walk(kernel.body):
        for expr in expressions(stmt):
            visit(expr)
    return found


def unsaid(kernel: Kernel) -> list[tuple[str, DType]]:
    return [(c.word, c.args[-1].dtype) for c in calls_in(kernel) if not llvm_says(c.word, c.args[-1].dtype)]


def applicable(word: str, dtype: DType) -> bool:
    if word in ("cast", "bitcast", "root16"):  # what only targets that have it are told
        return False
    return word in BOTH or (word in INTEGER_ONLY if dtype.is_int else word not in INTEGER_ONLY)


PAIRS = [(word, dtype) for dtype in (*FLOATS, *INTS) for word in WORDS if applicable(word, dtype)]


@pytest.mark.parametrize(("word", "dtype"), PAIRS, ids=lambda p: str(p))
def test_every_word_ends_in_words_of_the_target(word: str, dtype: DType) -> None:
    args = [load(Array(f"x{i}", dtype, 4), 0) for i in range(WORDS[word])]
    if word == "select":
        args[0] = args[1] < args[2]
    value = call(word, *args)
    kernel = kernel_of(Store(Array("out", value.dtype, 4), const_index(0), value))
    expanded = expand_kernel(kernel, llvm_says)
    assert unsaid(expanded) == []
    [store] = expanded.body
    assert isinstance(store, Store)
    assert store.value.dtype is value.dtype
    assert (expanded is kernel) == (unsaid(kernel) == [])


def const_index(value: int) -> Expr:
    load_at = load(Array("a", float32, value + 1), value)
    assert isinstance(load_at, Load)
    return load_at.index


def test_a_kernel_in_words_of_the_target_is_the_same_object() -> None:
    x, i = Array("x", float32, 64), Var("i", 64)
    loop = For(i, (Store(x, i, call("exp", load(x, i))),), VECTOR, 16)
    kernel = kernel_of(loop, params=(x,))
    assert expand_kernel(kernel, says_all) is kernel
    expanded = expand_kernel(kernel, llvm_says)
    assert expanded is not kernel
    assert expand_kernel(expanded, llvm_says) is expanded


def test_statements_keep_what_is_not_an_expression() -> None:
    x, scratch, i, flag = Array("x", float32, 64), Array("s", float32, 8), Var("i", 64), load(Array("f", float32, 1), 0)
    name = temp("v", float32)
    untouched = Store(scratch, const_index(0), name)
    body = (
        Local(scratch),
        For(i, (Let(name, call("tanh", load(x, i))), untouched, Accumulate(x, i, "max", call("exp", name))), VECTOR, 16),
        If(call("exp", flag) < 1, (Store(x, const_index(1), name, guard=call("exp", name) < 2),), (untouched,)),
    )
    expanded = expand_kernel(kernel_of(*body, params=(x,)), llvm_says)
    local, loop, branch = expanded.body
    assert local is body[0]
    assert isinstance(loop, For) and (loop.var, loop.kind, loop.width) == (i, VECTOR, 16)
    let, store, fold = loop.body
    assert isinstance(let, Let) and let.temp is name and store is untouched
    assert isinstance(fold, Accumulate) and (fold.combine, fold.array, fold.index) == ("max", x, i)
    assert isinstance(branch, If) and branch.orelse == (untouched,)
    assert unsaid(expanded) == []


def test_indices_and_guards_are_expanded() -> None:
    table, positions, x = Array("table", float32, 8), Array("p", int64, 4), Array("x", float32, 4)
    wrapped = call("mod", load(positions, 0), load(positions, 1))
    element = load(table, wrapped, guard=call("exp", load(x, 0)) < 1)
    kernel = kernel_of(Store(x, const_index(0), element), params=(table, positions, x))
    expanded = expand_kernel(kernel, llvm_says)
    assert unsaid(kernel) and unsaid(expanded) == []
    indirect = kernel_of(Store(table, load(table, wrapped).index, load(x, 0)))  # type: ignore[attr-defined]
    assert unsaid(indirect) and unsaid(expand_kernel(indirect, llvm_says)) == []


def test_loop_indices_as_data_are_accepted_by_integer_rules() -> None:
    i = Var("i", 9)
    for word in ("pow", "sign", "mod", "floordiv"):
        args = (i,) if word == "sign" else (i, i)
        assert unsaid(kernel_of(Let(temp("v", int64), expand_expr(call(word, *args), llvm_says)))) == []
        args = (i,) if word == "sign" else (i, const(3, int64))
        assert unsaid(kernel_of(Let(temp("v", int64), expand_expr(call(word, *args), llvm_says)))) == []


def test_equal_parts_stay_one_expression() -> None:
    x = load(Array("x", float32, 1), 0)
    both = expand_expr(call("exp", x) * call("exp", x), llvm_says)
    assert isinstance(both, Call) and both.args[0] is both.args[1]
    assert both.args[0] is expand_expr(call("exp", x), llvm_says)


def test_only_unsaid_words_are_expanded() -> None:
    x = load(Array("x", float32, 1), 0)
    value = call("exp", call("sin", x))
    expanded = expand_expr(value, lambda word, dtype: word != "sin")
    assert isinstance(expanded, Call) and expanded.word == "exp"
    assert expand_expr(expanded, lambda word, dtype: word != "sin") is expanded


def test_small_floats_compare_in_float32_and_keep_selects() -> None:
    x, y = (load(Array(name, float16, 1), 0) for name in "xy")
    comparison = expand_expr(x < y, llvm_says)
    assert isinstance(comparison, Call) and comparison.dtype is bool_
    assert [arg.dtype for arg in comparison.args] == [float32, float32]
    chosen = select(call("eq", const(1, int32), load(Array("n", int32, 1), 0)), x, y)
    assert expand_expr(chosen, llvm_says) is chosen


def test_constants_become_shifts_masks_and_products() -> None:
    x = load(Array("x", int32, 1), 0)

    def words(expr: Expr) -> set[str]:
        return {c.word for c in calls_in(kernel_of(Let(temp("v", expr.dtype), expand_expr(expr, llvm_says))))}

    assert words(call("floordiv", x, const(8, int32))) == {"shr"}
    assert words(call("mod", x, const(8, int32))) == {"and"}
    assert "rem" in words(call("mod", x, const(-8, int32)))
    assert "rem" in words(call("mod", x, const(12, int32)))
    assert words(call("pow", x, const(5, int32))) == {"mul"}
    real = load(Array("r", float64, 1), 0)
    assert words(call("pow", real, const(2.0, float64))) == {"mul"}
    assert "fma" in words(call("pow", real, const(2.5, float64)))


def test_a_target_without_a_basic_word_is_refused() -> None:
    x = load(Array("x", float32, 1), 0)
    with pytest.raises(AssertionError, match="basic word fma of float32"):
        expand_expr(call("exp", x), lambda word, dtype: word not in ("exp", "fma"))
    assert rule_for("add", float32) is None
    assert rule_for("exp", int32) is None
