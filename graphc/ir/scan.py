"""Reading IR text: tokens, indented blocks, arrays, and errors that point.

In: text. Out: a `Scanner`, a cursor over tokens from which the grammars of text.py and kernel_text.py read; and `data`,
the one notation for arrays in either. A line's first token knows its indentation; a comment is kept with its line.

    data ::= [number, ...]          row-major, when short and exact
           | base64 "..."           the array's bytes, compressed
"""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from ..dtype import DTYPES, DType
from ..errors import ParseError
from .types import TensorType

_TOKENS = re.compile(
    r"""(?P<space>\ +)|(?P<comment>\#.*)|(?P<string>"(?:\\.|[^"\\])*")
    |(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[%@]?[A-Za-z_0-9][A-Za-z_0-9.]*)
    |(?P<symbol>->|:=|//|[-+*/%=<>()\[\]{}:,])""",
    re.VERBOSE,
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
_NAMED = {d.name: d for d in DTYPES}
_RESERVED = frozenset("inf nan true false if else for let local pass index base64 elided".split()) | _NAMED.keys()
_INLINE = 16  # elements of the longest array that is written as numbers


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # a group of _TOKENS, or "line" (text: what indents it) or "end"
    text: str
    line: int
    column: int


class Scanner:
    """A cursor over the tokens of `text`. Every reader either moves past what it names or raises ParseError."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.comments: dict[int, str] = {}
        self.tokens: list[Token] = []
        for number, line in enumerate(self.lines, 1):
            self._scan(number, line)
        self.tokens.append(Token("end", "the end of the text", len(self.lines) + 1, 1))
        self.at = 0

    def _scan(self, number: int, line: str) -> None:
        position, first = 0, True
        while position < len(line):
            match = _TOKENS.match(line, position)
            if match is None:
                raise self.error("a token", Token("symbol", line[position], number, position + 1))
            kind, text = str(match.lastgroup), match.group()
            if kind == "comment":
                self.comments[number] = text[1:].strip()
            elif kind != "space":
                if first:
                    self.tokens.append(Token("line", line[: match.start()], number, 1))
                first = False
                self.tokens.append(Token(kind, text, number, match.start() + 1))
            position = match.end()

    def error(self, expected: str, token: Token | None = None) -> ParseError:
        """What was expected where the cursor (or `token`) is, with the line and a caret under the place."""
        token = token or self.token
        found = "the end of the line" if token.kind == "line" else f"{token.text}"
        if token.kind in ("line", "end") and self.at:
            before = self.tokens[self.at - 1]
            token = Token("line", "", before.line, before.column + len(before.text))
        line = self.lines[token.line - 1] if token.line <= len(self.lines) else ""
        place = f"line {token.line}, column {token.column}"
        return ParseError(f"{place}: expected {expected}, found {found}\n    {line}\n    {' ' * (token.column - 1)}^")

    def fail(self, expected: str) -> NoReturn:
        raise self.error(expected)

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def peek(self, text: str) -> bool:
        return self.token.text == text and self.token.kind in ("symbol", "name", "number")

    def accept(self, text: str) -> bool:
        found = self.peek(text)
        self.at += found
        return found

    def expect(self, *texts: str) -> None:
        for text in texts:
            if not self.accept(text):
                self.fail(f"'{text}'")

    def take(self, kind: str, what: str) -> str:
        """The text of the next token, which must be of `kind`; `what` says what it is for."""
        if self.token.kind != kind:
            self.fail(what)
        self.at += 1
        return self.tokens[self.at - 1].text

    def name(self, what: str = "a name") -> str:
        return self.take("name", what)

    def string(self, what: str = "a string") -> str:
        return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], self.take("string", what)[1:-1])

    def number(self, what: str = "a number") -> int | float:
        negative = self.accept("-")
        if self.token.text in ("inf", "nan"):
            self.at += 1
            value: int | float = float(self.tokens[self.at - 1].text)
        else:
            text = self.take("number", what)
            value = float(text) if set(text) & set(".eE") else int(text)
        return -value if negative else value

    def integer(self, what: str = "an integer") -> int:
        start = self.at
        value = self.number(what)
        if not isinstance(value, int):
            self.at = start
            self.fail(what)
        return value

    def dtype(self) -> DType:
        if self.token.text not in _NAMED:
            self.fail("an element type")
        self.at += 1
        return _NAMED[self.tokens[self.at - 1].text]

    def type(self) -> TensorType:
        dtype, shape = self.dtype(), []
        self.expect("[")
        while not self.accept("]"):
            shape.append(self.integer("an extent"))
            if not self.peek("]"):
                self.expect(",")
        return TensorType(dtype, tuple(shape))

    def line(self, deeper_than: int) -> int | None:
        """Enter the next line if it is indented by more than `deeper_than`: its indentation, else None."""
        if self.token.kind not in ("line", "end"):
            self.fail("the end of the line")
        if self.token.kind == "end" or len(self.token.text) <= deeper_than:
            return None
        self.at += 1
        return len(self.tokens[self.at - 1].text)

    def same_line(self, indent: int) -> bool:
        """Enter the next line if it is indented by exactly `indent`; a deeper one is an error."""
        if self.token.kind == "line" and len(self.token.text) > indent:
            raise self.error(f"a line indented by {indent} spaces", Token("symbol", "more", self.token.line, indent + 1))
        return self.line(indent - 1) is not None

    def comment(self) -> str:
        """The comment on the line of the token before the cursor."""
        return self.comments.get(self.tokens[self.at - 1].line, "")

    def finish(self) -> None:
        if self.token.kind != "end":
            self.at += self.token.kind == "line"
            self.fail("the end of the text")

    def data(self, type_: TensorType) -> np.ndarray:
        """The array of `type_` that comes next."""
        if self.accept("base64"):
            try:
                raw = zlib.decompress(base64.b64decode(self.string("the data as a string"), validate=True))
                return np.frombuffer(raw, type_.dtype.numpy).reshape(type_.shape)
            except (ValueError, zlib.error):
                self.at -= 1
                self.fail(f"the compressed bytes of a {type_}")
        if self.peek("elided"):
            self.fail("data (this text was printed with elide=True, for readers only)")
        start = self.at
        self.expect("[")
        numbers: list[int | float] = []
        while not self.accept("]"):
            numbers.append(self.number())
            if not self.peek("]"):
                self.expect(",")
        if len(numbers) != type_.size:
            self.at = start
            self.fail(f"{type_.size} numbers for a {type_}")
        return _array(numbers, type_)


def _array(numbers: list[int | float], type_: TensorType) -> np.ndarray:
    exact = np.float64 if type_.dtype.is_float else np.int64
    return np.array(numbers, exact).astype(type_.dtype.numpy).reshape(type_.shape)


def _numbers(array: np.ndarray, dtype: DType) -> list[int | float]:
    values: list[int | float] = array.astype(np.float64 if dtype.is_float else np.int64).reshape(-1).tolist()
    return values


def print_data(array: np.ndarray, type_: TensorType, elide: bool = False) -> str:
    """`array` in the notation of `Scanner.data`; with `elide` a long one is left out, for readers only."""
    if array.size <= _INLINE:
        numbers = _numbers(array, type_.dtype)
        if _array([float(repr(n)) if n != n else n for n in numbers], type_).tobytes() == array.tobytes():
            return f"[{', '.join(map(repr, numbers))}]"
    if elide:
        return "elided"
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 1)).decode()
    return f'base64 "{packed}"'


def quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(c, c) for c in text) + '"'


class Names:
    """Gives every object one name, made from its own name so that it is legal and taken by nobody else."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.of: dict[object, str] = {}

    def __call__(self, thing: object, wanted: str) -> str:
        if thing not in self.of:
            self.of[thing] = self.fresh(wanted)
        return self.of[thing]

    def fresh(self, wanted: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_.]", "_", wanted)
        if not re.match(r"[A-Za-z_]", base):
            base = "_" + base
        name, count = base, 1
        while name in self.taken or name in _RESERVED:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name
