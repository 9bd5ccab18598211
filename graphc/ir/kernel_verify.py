"""The law book of kernels, and its judge.

In: a kernel. Out: nothing, or a VerifyError with the law's number, its text, and the offending statement in the kernel's
text. Static bounds are checked where they can be decided: an access by an affine index of loop variables, outside of any
`if` and guard, must stay inside its array. Not verified: indices that depend on data, accesses under conditions, the
independence of tasks and of vector lanes on memory (the interpreter runs them backwards), and scratch read before it is
written (the interpreter watches that).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from ..dtype import DType, bool_, int64
from ..errors import VerifyError
from .expr import COMPARISONS, PREDICATES, WORDS
from .kernel import (
    COMBINES,
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    Affine,
    Array,
    Call,
    Div,
    Expr,
    For,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Local,
    Stmt,
    Store,
    Temp,
    Var,
    evaluated,
    expressions,
    operands,
    walk,
)
from .kernel_text import print_kernel, print_statement

LAWS = {
    "K1": "params are distinct, and so are the names of arrays in scope",
    "K2": "loop variables in scope are distinct objects with distinct names",
    "K3": "every array, loop variable and temporary is used where it is in scope",
    "K4": "a word's arguments have the number, kinds and dtypes that it takes, and its result has its dtype",
    "K5": "an index is int64, and an index that bounds can decide stays inside its array",
    "K6": "conditions and guards are bool",
    "K7": "a stored or folded value has the dtype of its array; a combine is one of COMBINES, and `and`, `or` fold bools",
    "K8": "a loop has a known kind, a non-negative extent and a positive width",
    "K9": "a condition inside a vector loop is the same for all its lanes",
    "K10": "a store whose index is the same for all lanes of a vector loop stores a value that is the same for all of them",
    "K11": "a fold whose index is the same for all lanes of a vector loop has an index that is fixed in the loop "
    "(unrolled loops inside copied), and its array is not read or stored there",
    "K12": "a temporary is bound once in its scope, with the dtype of its value; a load has the dtype of its array",
}

_ANY, _NUMBER, _FLOAT, _INT, _LOGIC = "buif", "uif", "f", "ui", "bui"
_KINDS = dict.fromkeys(WORDS, _FLOAT) | {
    **dict.fromkeys(("neg", "abs", "sign", "add", "sub", "mul", "fma", "pow", "mod", "floordiv"), _NUMBER),
    **dict.fromkeys(("floor", "ceil", "round", "trunc", "isnan", "isinf"), _NUMBER),
    **dict.fromkeys(("quot", "rem", "shl", "shr", "lshr"), _INT),
    **dict.fromkeys(("not", "and", "or", "xor"), _LOGIC),
    **dict.fromkeys(("min", "max", "select", "cast", "bitcast", *COMPARISONS), _ANY),
}


@dataclass
class _Scope:
    """What is visible at a statement."""

    arrays: dict[str, Array] = field(default_factory=dict)
    variables: dict[str, Var] = field(default_factory=dict)
    temps: set[Temp] = field(default_factory=set)
    conditional: bool = False
    vector: tuple[For, ...] = ()
    varying: set[Expr | Array] = field(default_factory=set)  # what differs between lanes: variables, temps, scratch per lane
    inside: set[Expr] = field(default_factory=set)  # variables (not of unrolled loops) and temps bound inside a vector loop

    def inner(self) -> _Scope:
        """A copy for a block inside; what is declared there stays there."""
        return _Scope(
            dict(self.arrays), dict(self.variables), set(self.temps),
            self.conditional, self.vector, set(self.varying), set(self.inside),
        )  # fmt: skip


def verify_kernel(kernel: Kernel) -> None:
    """Raise VerifyError at the first law that `kernel` breaks."""
    _Judge(kernel).judge()


class _Judge:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.stmt: Stmt | None = None
        self.judged: set[Expr] = set()  # expressions of the statement that have passed
        self.known: dict[tuple[bool, Expr], bool] = {}  # answers of _depends for the statement

    def judge(self) -> None:
        scope = _Scope()
        for param in self.kernel.params:
            self._declare(param, scope)
        if self.kernel.task.extent < 0:
            self._refuse("K8", f"{self.kernel.task.extent} tasks")
        scope.variables[self.kernel.task.name] = self.kernel.task
        scope.conditional = self.kernel.task.extent == 0
        self._block(self.kernel.body, scope)

    def _refuse(self, law: str, what: str) -> NoReturn:
        text = print_kernel(self.kernel) if self.stmt is None else print_statement(self.kernel, self.stmt)
        shown = "\n".join(text.splitlines()[:12])
        raise VerifyError(f"kernel {self.kernel.name} breaks law {law} ({LAWS[law]}): {what}\n{shown}")

    # statements

    def _block(self, body: tuple[Stmt, ...], outer: _Scope) -> None:
        scope = outer.inner()
        for stmt in body:
            self.stmt, self.judged, self.known = stmt, set(), {}
            for expr in expressions(stmt):
                self._expr(expr, scope)
            self._statement(stmt, scope)

    def _statement(self, stmt: Stmt, scope: _Scope) -> None:
        match stmt:
            case For():
                self._loop(stmt, scope)
            case Local(array=array):
                self._declare(array, scope)
            case Let():
                self._let(stmt, scope)
            case Store():
                self._store(stmt, scope)
            case Accumulate():
                self._fold(stmt, scope)
            case If():
                if stmt.condition.dtype is not bool_:
                    self._refuse("K6", f"the condition is {stmt.condition.dtype}")
                if scope.vector and self._varies(stmt.condition, scope):
                    self._refuse("K9", "the condition depends on a lane")
                inner = scope.inner()
                inner.conditional = True
                self._block(stmt.then, inner)
                self._block(stmt.orelse, inner)

    def _loop(self, stmt: For, scope: _Scope) -> None:
        if stmt.kind not in (SERIAL, UNROLLED, VECTOR) or stmt.var.extent < 0 or stmt.width < 1:
            self._refuse("K8", f"kind {stmt.kind}, extent {stmt.var.extent}, width {stmt.width}")
        if stmt.var.name in scope.variables:
            self._refuse("K2", f"{stmt.var.name} is a loop variable already")
        inner = scope.inner()
        inner.variables[stmt.var.name] = stmt.var
        inner.conditional |= stmt.var.extent == 0
        if stmt.kind == VECTOR:
            inner.vector += (stmt,)
            inner.varying.add(stmt.var)
        if inner.vector and stmt.kind != UNROLLED:
            inner.inside.add(stmt.var)
        self._block(stmt.body, inner)

    def _declare(self, array: Array, scope: _Scope) -> None:
        if array.name in scope.arrays:
            self._refuse("K1", f"{array.name} is declared already")
        scope.arrays[array.name] = array
        if scope.vector:
            scope.varying.add(array)

    def _let(self, stmt: Let, scope: _Scope) -> None:
        if stmt.temp in scope.temps:
            self._refuse("K12", f"{stmt.temp.name} is bound already")
        if stmt.temp.dtype is not stmt.value.dtype:
            self._refuse("K12", f"{stmt.temp.name} is {stmt.temp.dtype}, its value {stmt.value.dtype}")
        scope.temps.add(stmt.temp)
        if scope.vector:
            scope.inside.add(stmt.temp)
        if self._varies(stmt.value, scope):
            scope.varying.add(stmt.temp)

    def _store(self, stmt: Store, scope: _Scope) -> None:
        self._access(stmt.array, stmt.index, stmt.guard, scope)
        if stmt.value.dtype is not stmt.array.dtype:
            self._refuse("K7", f"{stmt.array.name} is {stmt.array.dtype}, the value {stmt.value.dtype}")
        parts = (stmt.value,) if stmt.guard is None else (stmt.value, stmt.guard)
        if self._shared(stmt, scope) and any(self._varies(part, scope) for part in parts):
            self._refuse("K10", f"every lane stores to {stmt.array.name}[...] at the same index, values may differ")

    def _fold(self, stmt: Accumulate, scope: _Scope) -> None:
        self._access(stmt.array, stmt.index, None, scope)
        if stmt.combine not in COMBINES or (stmt.combine in ("and", "or") and not stmt.array.dtype.is_bool):
            self._refuse("K7", f"{stmt.combine} does not fold {stmt.array.dtype}")
        if stmt.combine in ("add", "mul") and stmt.array.dtype.is_bool:
            self._refuse("K7", f"{stmt.combine} does not fold bool")
        if stmt.value.dtype is not stmt.array.dtype:
            self._refuse("K7", f"{stmt.array.name} is {stmt.array.dtype}, the value {stmt.value.dtype}")
        if self._shared(stmt, scope):
            if self._depends(stmt.index, scope, inside=True):
                self._refuse("K11", f"the index of {stmt.array.name} changes inside the vector loop, though not by lane")
            for other in (s for loop in scope.vector for s in walk(loop.body)):
                stored = isinstance(other, Store) and other.array is stmt.array
                if stored or stmt.array in _loaded(other):
                    self._refuse("K11", f"{stmt.array.name} is {'stored' if stored else 'read'} inside the vector loop")

    def _shared(self, stmt: Store | Accumulate, scope: _Scope) -> bool:
        """Whether all lanes of an enclosing vector loop write the same element."""
        return bool(scope.vector) and stmt.array not in scope.varying and not self._varies(stmt.index, scope)

    # expressions

    def _access(self, array: Array, index: Expr, guard: Expr | None, scope: _Scope) -> None:
        if scope.arrays.get(array.name) is not array:
            self._refuse("K3", f"the array {array.name} is not in scope")
        if index.dtype is not int64 or not isinstance(index, Index):
            self._refuse("K5", f"the index of {array.name} is {index.dtype}, no int64 index")
        if guard is not None and guard.dtype is not bool_:
            self._refuse("K6", f"the guard of {array.name} is {guard.dtype}")
        if guard is None and not scope.conditional and _tight(index):
            if index.low < 0 or index.high >= array.size:
                self._refuse("K5", f"the index of {array.name} runs from {index.low} to {index.high} of {array.size} elements")

    def _expr(self, expr: Expr, scope: _Scope) -> None:
        if expr in self.judged:
            return
        self.judged.add(expr)
        for part in operands(expr):
            self._expr(part, scope)
        match expr:
            case Var():
                if scope.variables.get(expr.name) is not expr:
                    self._refuse("K3", f"the loop variable {expr.name} is not in scope")
            case Temp():
                if expr not in scope.temps:
                    self._refuse("K3", f"the temporary {expr.name} is not in scope")
            case Load(array=array, index=index, guard=guard):
                self._access(array, index, guard, scope)
                if expr.dtype is not array.dtype:
                    self._refuse("K12", f"a load of {array.name} is {expr.dtype}, not {array.dtype}")
            case Call():
                wrong = _wrong_call(expr)
                if wrong:
                    self._refuse("K4", wrong)
            case Affine(terms=terms):
                if any(atom.dtype is not int64 for atom, _ in terms):
                    self._refuse("K5", "an index is a sum of parts that are not int64")

    def _varies(self, expr: Expr, scope: _Scope) -> bool:
        """Whether `expr` may differ between the lanes of an enclosing vector loop."""
        return self._depends(expr, scope, inside=False)

    def _depends(self, expr: Expr, scope: _Scope, inside: bool) -> bool:
        """Whether `expr` depends on what differs between lanes, or on anything bound inside a vector loop."""
        key = (inside, expr)
        if key not in self.known:
            roots = scope.inside if inside else scope.varying
            own = expr in roots or (isinstance(expr, Load) and expr.array in scope.varying)
            self.known[key] = own or any(self._depends(part, scope, inside) for part in operands(expr))
        return self.known[key]


def _wrong_call(call: Call) -> str | None:
    """What is wrong with the types of a call, if anything."""
    word, args = call.word, call.args
    if WORDS.get(word) != len(args):
        return f"{word} of {len(args)} arguments"
    data = args[1:] if word == "select" else args
    if word == "select" and args[0].dtype is not bool_:
        return f"select on a {args[0].dtype}"
    if any(a.dtype is not data[0].dtype for a in data):
        return f"{word} of {', '.join(str(a.dtype) for a in data)}"
    if data[0].dtype.kind not in _KINDS[word]:
        return f"{word} of {data[0].dtype}"
    if word == "bitcast" and (call.dtype.bits != data[0].dtype.bits or bool_ in (call.dtype, data[0].dtype)):
        return f"bitcast from {data[0].dtype} to {call.dtype}"
    if word not in ("cast", "bitcast") and call.dtype is not _result(word, data[0].dtype):
        return f"{word} of {data[0].dtype} gives {call.dtype}"
    return None


def _result(word: str, argument: DType) -> DType:
    return bool_ if word in PREDICATES else argument


def _tight(index: Expr) -> bool:
    """Whether the bounds of `index` are reached: a sum of distinct variables, or the quotient of one."""
    if isinstance(index, Div):
        return _tight(index.index)
    return isinstance(index, Var) or (isinstance(index, Affine) and all(isinstance(atom, Var) for atom, _ in index.terms))


def _loaded(stmt: Stmt) -> Iterator[Array]:
    """The arrays that the expressions of a statement load from."""
    return (expr.array for expr in evaluated(stmt) if isinstance(expr, Load))
