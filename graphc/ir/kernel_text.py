"""Kernels as text, and back.

In: a kernel. Out: text from which `parse_kernel` makes the same kernel again: the same statements, printed alike. Names
are made legal and unique while printing. Scope, types and bounds are the verifier's business (kernel_verify.py).

    kernel   ::= kernel NAME "(" (NAME ":" type),* ")" tasks NAME "<" INT ":" stmt*
    stmt     ::= for NAME "<" INT ["vector" INT | "unrolled"] ":" stmt*
               | local NAME ":" type | let NAME "=" expr | if expr ":" stmt* ["else" ":" stmt*] | pass
               | NAME "[" expr "]" "=" expr ["if" expr] | NAME "[" expr "]" COMBINE "=" expr
               | %INT "=" expr                           names a part of the next statement; no statement itself
    expr     ::= sums of products of indices: i*4 + (j // 3) - 1, n[i] % 7     (int64; factors and divisors are known)
               | NUMBER ":" dtype | true | false | NAME | %INT | NAME "[" expr ["if" expr] "]"
               | WORD "(" expr,* ")" | cast.DTYPE(expr) | bitcast.DTYPE(expr)
               | index(expr)                             data as an index, where it does not stand in brackets

A block is indented deeper than its head.
"""

from __future__ import annotations

from collections import Counter

from .kernel import (
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    Affine,
    Call,
    Const,
    Div,
    Expr,
    For,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Local,
    Mod,
    Stmt,
    Store,
    Temp,
    Var,
    expressions,
    operands,
)
from .kernel_parse import KernelParser
from .scan import Names, Scanner

_LONG = 32  # characters of a repeated load that are worth a name


def print_kernel(kernel: Kernel, name: str | None = None) -> str:
    """The text of one kernel, under another name if one is given."""
    return KernelPrinter(kernel, name or Names().fresh(kernel.name)).text


def print_statement(kernel: Kernel, stmt: Stmt) -> str:
    """The text of a statement of `kernel`, with the names it has in the kernel's text."""
    return KernelPrinter(kernel, kernel.name).statement_text(stmt)


def index_text(index: Index) -> str:
    """The text of an index by itself."""
    return KernelPrinter(Kernel("k", (), Var("t", 1), ()), "k").index(index)


def parse_kernel(text: str) -> Kernel:
    """The kernel that `text` describes. Raises ParseError with line, column and what was expected."""
    scanner = Scanner(text)
    scanner.line(-1)
    kernel = KernelParser(scanner).kernel()
    scanner.finish()
    return kernel


# ---------------------------------------------------------------------------------------------------------------- printing


def _lone(index: Expr) -> Expr:
    """The data expression that `index` merely wraps, or `index` itself."""
    if isinstance(index, Affine) and index.constant == 0 and len(index.terms) == 1:
        atom, factor = index.terms[0]
        if factor == 1 and not isinstance(atom, Index):
            return atom
    return index


class KernelPrinter:
    def __init__(self, kernel: Kernel, name: str) -> None:
        self.names = Names()
        self.lines: list[str] = []
        self.bound: dict[Expr, str] = {}
        self.count = 0
        params = ", ".join(f"{self.names(p, p.name)}: {p.dtype}[{p.size}]" for p in kernel.params)
        task = self.names(kernel.task, kernel.task.name)
        self.spans: dict[Stmt, tuple[int, int]] = {}
        self.lines.append(f"kernel {name}({params}) tasks {task} < {kernel.task.extent}:")
        self._block(kernel.body, "  ")
        self.text = "\n".join(self.lines) + "\n"

    def statement_text(self, stmt: Stmt) -> str:
        start, stop = self.spans[stmt]
        return "\n".join(self.lines[start:stop])

    def _block(self, body: tuple[Stmt, ...], indent: str) -> None:
        for stmt in body:
            start = len(self.lines)
            self.bound = {}
            self._bind_shared(stmt, indent)
            self._statement(stmt, indent)
            self.spans[stmt] = (start, len(self.lines))
        if not body:
            self.lines.append(f"{indent}pass")

    def _statement(self, stmt: Stmt, indent: str) -> None:
        match stmt:
            case For(var=var):
                kind = {SERIAL: "", UNROLLED: " unrolled", VECTOR: f" vector {stmt.width}"}.get(stmt.kind, f" {stmt.kind}")
                self.lines.append(f"{indent}for {self.names(var, var.name)} < {var.extent}{kind}:")
                self._block(stmt.body, indent + "  ")
            case If():
                self.lines.append(f"{indent}if {self.expr(stmt.condition)}:")
                self._block(stmt.then, indent + "  ")
                if stmt.orelse:
                    self.lines.append(f"{indent}else:")
                    self._block(stmt.orelse, indent + "  ")
            case Local(array=array):
                self.lines.append(f"{indent}local {self.names(array, array.name)}: {array.dtype}[{array.size}]")
            case Let():
                self.lines.append(f"{indent}let {self.names(stmt.temp, stmt.temp.name)} = {self.expr(stmt.value)}")
            case Store():
                guard = "" if stmt.guard is None else f" if {self.expr(stmt.guard)}"
                self.lines.append(f"{indent}{self._place(stmt)} = {self.expr(stmt.value)}{guard}")
            case Accumulate():
                self.lines.append(f"{indent}{self._place(stmt)} {stmt.combine}= {self.expr(stmt.value)}")

    def _place(self, stmt: Store | Accumulate) -> str:
        return f"{self.names(stmt.array, stmt.array.name)}[{self.index(stmt.index)}]"

    def _bind_shared(self, stmt: Stmt, indent: str) -> None:
        """Name what the statement's expressions use more than once, so that text is as long as the graph it prints."""
        roots = expressions(stmt)
        uses = Counter(roots)
        order: list[Expr] = []
        seen: set[Expr] = set()

        def visit(expr: Expr) -> None:
            if expr in seen:
                return
            seen.add(expr)
            uses.update(operands(expr))
            for part in operands(expr):
                visit(part)
            order.append(expr)

        for root in roots:
            visit(root)
        for expr in order:
            if uses[expr] > 1 and isinstance(expr, Call | Load):
                text = self.expr(expr)
                if isinstance(expr, Call) or len(text) > _LONG:
                    self.count += 1
                    self.lines.append(f"{indent}%{self.count} = {text}")
                    self.bound[expr] = f"%{self.count}"

    def expr(self, expr: Expr) -> str:
        """The text of an expression in a place that takes data."""
        if expr in self.bound:
            return self.bound[expr]
        match expr:
            case Const():
                return ("true" if expr.value else "false") if expr.dtype.is_bool else f"{expr.text}:{expr.dtype}"
            case Temp():
                return self.names(expr, expr.name)
            case Load(array=array, guard=guard):
                condition = "" if guard is None else f" if {self.expr(guard)}"
                return f"{self.names(array, array.name)}[{self.index(expr.index)}{condition}]"
            case Call(word=word, args=args):
                kind = f".{expr.dtype}" if word in ("cast", "bitcast") else ""
                return f"{word}{kind}({', '.join(map(self.expr, args))})"
        return self.index(expr) if _lone(expr) is expr else f"index({self.index(expr)})"

    def index(self, index: Expr) -> str:
        """The text of an index in a place that takes an index."""
        match index:
            case Var():
                return self.names(index, index.name)
            case Div():
                return f"{self._atom(_lone(index.index))} // {index.divisor}"
            case Mod():
                return f"{self._atom(_lone(index.index))} % {index.divisor}"
            case Affine(terms=terms, constant=constant):
                parts = [("-" if c < 0 else "+", self._atom(a) + (f"*{abs(c)}" if abs(c) != 1 else "")) for a, c in terms]
                if constant or not parts:
                    parts.append(("-" if constant < 0 else "+", str(abs(constant))))
                first = ("-" if parts[0][0] == "-" else "") + parts[0][1]
                return first + "".join(f" {sign} {part}" for sign, part in parts[1:])
        return self.expr(index)

    def _atom(self, expr: Expr) -> str:
        text = self.index(expr)
        return f"({text})" if isinstance(expr, Div | Mod | Affine) else text
