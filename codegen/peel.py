"""Guards decided for many iterations at once.

    for i < n unrolled: y += x[i - 1] if 0 <= i - 1       ->      y += 0;  for i < n - 1 unrolled: y += x[i]
    for k < 3: ... all that is read of x if 0 <= k + c    ->      for k < 3: if 0 <= k + c: ... x;  else: ... 0
    for k < 3: for i < n unrolled: if 0 <= i + k - 1: ... ->      for k < 1: for i < n - 1 unrolled: ...;  for k < 2: ...
    for v < n vector: y[v] = x[v] if k < 2 else z[v]      ->      if k < 2: for v < n vector: y[v] = x[v];  else: ... z[v]

In: a kernel that reads a value together with what surrounds it (a convolution with padding), each load under a guard, or asks
around what is done with it. Out: the same stores and folds in the same order. Unrolled loops are cut into parts where a
condition begins or ceases to hold for all values of the other variables, and so are loops in which only unrolled ones
decide it, too. What guards all reads of an array is asked once around them, as far out as it is known, and what chooses between
reads of a vector loop that only maps (a concatenation of rows) before the loop. Not touched: other vector loops, loops that
transpose, whose steps become lanes, and guards that differ between lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from graphc.dtype import bool_
from graphc.ir.conditions import conjuncts, slack
from graphc.ir.expr import Array, Call, Const, Expr, Index, Load, Temp, Var, all_of, const, linear, load
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, For, If, Kernel, Let, Stmt, Store, evaluated, operands, parts, walk
from graphc.ir.kernel_rewrite import Renamed, Rewriter

from .squares import square

CHOICES = 3  # of reads, one inside another, that are made before a vector loop
LARGEST = 256  # expressions in such a loop


def peel(kernel: Kernel) -> Kernel:
    """The kernel with fewer guards inside its loops; the same object where there are none that can be decided."""
    if next(_conditions(kernel.body), None) is None and not any(map(_choices, walk(kernel.body))):
        return kernel
    body = _block(kernel.body)
    return kernel if body is kernel.body else replace(kernel, body=body)


def _block(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Statements one by one."""
    new = tuple(part for stmt in body for part in _parts(stmt))
    return body if len(new) == len(body) and all(a is b for a, b in zip(new, body, strict=True)) else new


def _parts(stmt: Stmt) -> Iterator[Stmt]:
    match stmt:
        case For(kind="unrolled"):
            yield from _cut(stmt, _turns(stmt, _conditions(stmt.body)))
        case For(kind="vector"):
            yield from _switched(stmt, CHOICES)
        case For(kind="serial") if square(stmt) is not None:
            yield from _asked((stmt,)) or (stmt,)
        case For(kind="serial"):
            yield from _asked((stmt,)) or _cut(stmt, _turns(stmt, _decided(stmt)))
        case If(condition=Const(value=value), then=then, orelse=orelse):
            yield from _block(then if value else orelse)
        case If(condition=condition, then=then, orelse=orelse):
            yes, no = _block(then), _block(orelse)
            yield stmt if yes is then and no is orelse else If(condition, yes, no)
        case _:
            yield stmt


def _asked(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """The statements with and without what they read under conditions that all reads of some arrays share; nothing where
    there are no such conditions."""
    shared = _shared(body)
    question = all_of(*shared)
    if question is None:
        return ()
    return (If(question, _block(_Held(shared).block(body)), _block(_Failed(shared).block(body))),)


def _shared(body: tuple[Stmt, ...]) -> list[Expr]:
    """The conditions that guard all loads of the arrays that are loaded under guards, if nothing in them changes inside."""
    found = list(_loads(body))
    arrays = {read.array for read in found if read.guard is not None}
    first, *others = [list(conjuncts(read.guard)) for read in found if read.array in arrays] or [[]]
    bound = {stmt.var if isinstance(stmt, For) else stmt.temp for stmt in walk(body) if isinstance(stmt, For | Let)}
    fixed = [c for c in first if not any(name in bound or isinstance(name, Load) for name in _names(c))]
    return [c for c in fixed if all(c in other for other in others)]


class _Held(Rewriter):
    """Where all of some conditions hold."""

    def __init__(self, conditions: Sequence[Expr]) -> None:
        super().__init__()
        self.done.update({condition: const(True, bool_) for condition in conditions})


class _Failed(Rewriter):
    """Where one of some conditions does not hold: what is read under all of them is zero."""

    def __init__(self, conditions: Sequence[Expr]) -> None:
        super().__init__()
        self.conditions = set(conditions)

    def load(self, array: Array, index: Index, guard: Expr | None) -> Expr:
        return const(0, array.dtype) if self.conditions.issubset(conjuncts(guard)) else load(array, index, guard)


def _switched(loop: For, most: int) -> tuple[Stmt, ...]:
    """A vector loop that maps, once for each of what it may read; at most so many choices deep."""
    condition = next(iter(_choices(loop)), None) if most else None
    if condition is None:
        return (loop,)
    others = {expr for expr in evaluated(*loop.body) if slack(expr) is not None}
    bodies = (_Chosen(condition, holds, others).block(loop.body) for holds in (True, False))
    return (If(condition, *(_switched(replace(loop, body=body), most - 1) for body in bodies)),)


def _choices(loop: Stmt) -> list[Expr]:
    """The conditions that choose between reads in a small vector loop that maps, and are the same in all its rounds."""
    if not isinstance(loop, For) or loop.kind != VECTOR or not all(isinstance(stmt, Let | Store) for stmt in loop.body):
        return []
    found = list(evaluated(*loop.body))
    if len(found) > LARGEST:
        return []
    inside = {loop.var, *(stmt.temp for stmt in loop.body if isinstance(stmt, Let))}
    chosen = [expr.args for expr in found if isinstance(expr, Call) and expr.word == "select"]
    between = [condition for condition, *sides in chosen if all(any(_reads(side)) for side in sides)]
    return [c for c in between if inside.isdisjoint(parts(c)) and not any(_reads(c))]


def _reads(expr: Expr) -> Iterator[Load]:
    """The loads in an expression."""
    return (part for part in parts(expr) if isinstance(part, Load))


class _Chosen(Rewriter):
    """Where a condition holds, or where it fails, and what follows of others."""

    def __init__(self, condition: Expr, holds: bool, others: Iterable[Expr]) -> None:
        super().__init__()
        self.done[condition] = const(holds, bool_)
        given = slack(condition)
        if given is None:
            return
        known = given if holds else -1 - given  # not negative
        for other in others:
            left = slack(other)
            if left is not None and (left - known).low >= 0:
                self.done[other] = const(True, bool_)
            elif left is not None and (left + known).high < 0:
                self.done[other] = const(False, bool_)


def _cut(loop: For, turns: Iterable[int]) -> Iterator[Stmt]:
    """The parts of a loop between some of its iterations, in which more conditions are decided than in the whole; none where
    nothing is left to do."""
    cuts = sorted(set(turns))
    for first, last in pairwise((0, *cuts, loop.var.extent)):
        var = Var(loop.var.name, last - first) if cuts else loop.var
        body = Renamed({loop.var: var + first}).block(loop.body) if cuts else loop.body
        new = (_asked(body) if loop.kind == SERIAL else ()) or _block(body)
        if new:
            yield loop if new is loop.body else replace(loop, var=var, body=new)


def _turns(loop: For, conditions: Iterable[Expr]) -> Iterator[int]:
    """The iterations from which on, or up to which, a condition holds or fails, whatever other variables are."""
    for left in map(slack, {*conditions}):
        step = 0 if left is None else linear(left)[0].get(loop.var, 0)
        if left is None or not step:
            continue
        rest = left - loop.var * step
        if loop.var not in _names(rest):
            turns = (-(bound // step) if step > 0 else bound // -step + 1 for bound in (rest.low, rest.high))
            yield from (turn for turn in turns if 0 < turn < loop.var.extent)


def _decided(loop: For) -> Iterator[Expr]:
    """The questions inside that the loop decides, with none but unrolled ones inside it."""
    known = {loop.var, *(stmt.var for stmt in walk(loop.body) if isinstance(stmt, For) and stmt.kind == UNROLLED)}
    return (condition for condition in _questions(loop.body) if _names(condition) <= known)


def _conditions(body: tuple[Stmt, ...]) -> Iterator[Expr]:
    """All conditions in statements and those inside: under which something is read, or done."""
    yield from (condition for read in _loads(body) for condition in conjuncts(read.guard))
    yield from _questions(body)


def _questions(body: tuple[Stmt, ...]) -> Iterator[Expr]:
    """The conditions under which something is done."""
    return (condition for stmt in walk(body) if isinstance(stmt, If) for condition in conjuncts(stmt.condition))


def _loads(body: tuple[Stmt, ...]) -> Iterator[Load]:
    """All loads of the statements and those inside."""
    return (expr for expr in evaluated(*walk(body)) if isinstance(expr, Load))


def _names(expr: Expr) -> set[Expr]:
    """The variables, temporaries and loads in an expression."""
    if isinstance(expr, Var | Temp | Load):
        return {expr}
    return {name for part in operands(expr) for name in _names(part)}
