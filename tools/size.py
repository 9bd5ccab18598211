"""Report of sizes and import times: files, functions, rooms; what is past the limits of the house is marked.

python tools/size.py                 rooms, then the longest files and functions
python tools/size.py --imports       also the import time of graphc above numpy's own
python tools/size.py --limit         only what is past the limits; the exit status says whether anything is
"""

from __future__ import annotations

import argparse
import ast
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

TOP = Path(__file__).resolve().parent.parent
ROOMS = ("graphc", "passes", "codegen", "tests", "examples", "tools")
FILE_LIMIT, FUNCTION_LIMIT = 400, 60  # lines
IMPORT_LIMIT = 50.0  # milliseconds above numpy's own
SHOWN = 12


@dataclass(frozen=True)
class Size:
    """Something of the tree and its number of lines."""

    place: str
    lines: int

    def __str__(self) -> str:
        return f"{self.lines:6}  {self.place}"


def files() -> list[Path]:
    """Every Python file; links are followed nowhere."""
    found = (path for room in ROOMS for path in sorted((TOP / room).rglob("*.py")))
    return [path for path in found if not any(parent.is_symlink() for parent in path.parents)]


def functions(path: Path) -> Iterator[Size]:
    """Every function of a file, decorators and docstring included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            lines = (node.end_lineno or node.lineno) - first + 1
            yield Size(f"{path.relative_to(TOP)}:{node.lineno} {node.name}", lines)


def import_time(statement: str, repeats: int = 7) -> float:
    """The best time of a fresh interpreter for one import statement, in milliseconds, with compiled bytecode at hand."""
    code = f"from time import perf_counter as t; a = t(); {statement}; print((t() - a) * 1e3)"
    with TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": cache}
        command = [sys.executable, "-c", code]
        runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(repeats)]
    return min(float(run.stdout) for run in runs)


def report_rooms(paths: list[Path]) -> None:
    print(f"{'room':24}{'files':>6}{'lines':>8}{'functions':>11}{'median':>8}{'longest':>9}")
    rooms: dict[str, list[Path]] = {}
    for path in paths:
        parts = path.relative_to(TOP).parts[:-1]
        rooms.setdefault("/".join(parts[:2]), []).append(path)
    for room, members in rooms.items():
        lines = sum(len(path.read_text().splitlines()) for path in members)
        lengths = [size.lines for path in members for size in functions(path)] or [0]
        print(f"{room:24}{len(members):6}{lines:8}{len(lengths):11}{statistics.median(lengths):8.0f}{max(lengths):9}")


def report(title: str, sizes: list[Size], limit: int, only_past: bool) -> int:
    """Print the largest; returns how many are past the limit."""
    ordered = sorted(sizes, key=lambda size: -size.lines)
    past = [size for size in ordered if size.lines > limit]
    print(f"\n{title}: {len(past)} past {limit} lines")
    for size in past if only_past else ordered[: max(SHOWN, len(past))]:
        print(f"{size}{'  !' if size.lines > limit else ''}")
    return len(past)


def report_imports() -> bool:
    """Print import times; whether graphc is past its limit."""
    numpy, graphc = import_time("import numpy"), import_time("import graphc")
    own = graphc - numpy
    print(f"\nimport numpy {numpy:.0f} ms, import graphc {graphc:.0f} ms: {own:.0f} ms of its own (limit {IMPORT_LIMIT:.0f})")
    return own > IMPORT_LIMIT


def main() -> int:
    parser = argparse.ArgumentParser(description="Sizes of files and functions, and import times.")
    parser.add_argument("--imports", action="store_true", help="measure import times too")
    parser.add_argument("--limit", action="store_true", help="show only what is past the limits; fail if anything is")
    options = parser.parse_args()
    paths = files()
    if not options.limit:
        report_rooms(paths)
    lengths = [Size(str(path.relative_to(TOP)), len(path.read_text().splitlines())) for path in paths]
    past = report("files", lengths, FILE_LIMIT, options.limit)
    past += report("functions", [size for path in paths for size in functions(path)], FUNCTION_LIMIT, options.limit)
    if options.imports:
        past += report_imports()
    return int(options.limit and past > 0)


if __name__ == "__main__":
    sys.exit(main())
