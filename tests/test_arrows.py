"""The arrows of the house: which room may import which. The table is the law, the tests hold the tree to it.

A room is a package or module under graphc/; `passes/` and `codegen/` at the top are graphc.passes and graphc.codegen.
Imports for type checkers only obey the arrows too, but do not count as cycles.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

TOP = Path(__file__).resolve().parent.parent
HOMES = {"graphc": TOP / "graphc", "graphc.passes": TOP / "passes", "graphc.codegen": TOP / "codegen"}

GROUND = ("errors", "dtype", "config")
FRONT = ("tensor", "function")
LIBRARIES = ("nn", "optim", "data", "onnx", "quantization")
MAY_IMPORT: dict[str, tuple[str, ...]] = (
    dict.fromkeys(GROUND, GROUND)
    | {
        "ir": GROUND,
        "ops": (*GROUND, "ir"),
        "interp": (*GROUND, "ir", "ops"),
        "passes": (*GROUND, "ir", "ops"),
        "codegen": (*GROUND, "ir"),
        "runtime": GROUND,
    }
    | dict.fromkeys(FRONT, (*GROUND, "ir", "ops", *FRONT))
    | dict.fromkeys(LIBRARIES, (*GROUND, "ir", "ops", *FRONT, *LIBRARIES))
)
MAY_IMPORT["train"] = (*GROUND, "data")  # it is given compiled programs, and imports none
TOP_FLOOR = ("driver", "export", "export_cuda", "tuning")  # composition: they may import every room below
MAY_IMPORT |= dict.fromkeys(TOP_FLOOR, (*MAY_IMPORT, *TOP_FLOOR))
MAY_IMPORT["cli"] = (*MAY_IMPORT, "__init__")
MAY_IMPORT["__init__"] = (*GROUND, *FRONT, *LIBRARIES, "train")
MAY_IMPORT["__main__"] = ("cli",)
TYPED_DOORS = {
    ("graphc", "graphc.driver"),
    ("graphc", "graphc.runtime.loader"),
    ("graphc", "graphc.tuning"),
}  # reached through a module __getattr__


@dataclass(frozen=True)
class Import:
    """`source` imports `target` (a module of graphc) at `line`."""

    source: str
    target: str
    line: int
    typing: bool = False
    hidden: bool = False
    relative: bool = True

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    """Every module of the tree by its installed name."""
    found = {}
    for home, folder in HOMES.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if home == "graphc" and inside.parts[0] in ("passes", "codegen"):
                continue  # the links that show editors the installed tree
            parts = [home, *inside.with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(module: str, source: str, is_package: bool) -> Iterator[Import]:
    """What a module imports from graphc. `typing` ones stand under TYPE_CHECKING, `hidden` ones in a function."""
    package = module if is_package else module.rpartition(".")[0]

    def visit(node: ast.AST, typing: bool, hidden: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                relative = isinstance(child, ast.ImportFrom) and child.level > 0
                for target in _targets(child, package):
                    yield Import(module, target, child.lineno, typing, hidden, relative)
            guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from visit(child, typing or guard, hidden or function)

    yield from visit(ast.parse(source), False, False)


def _targets(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
    origin = ".".join(part for part in (base, node.module) if part)
    for alias in node.names:
        inner = f"{origin}.{alias.name}"
        yield inner if inner in MODULES else origin


def room(module: str) -> str:
    """The part of the house that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def all_imports() -> list[Import]:
    found = [edge for module, path in MODULES.items() for edge in imports(module, path.read_text(), path.name == "__init__.py")]
    return found


IMPORTS = all_imports()
INNER = [edge for edge in IMPORTS if edge.target.split(".")[0] == "graphc"]


def breaks_arrow(edge: Import) -> bool:
    source, target = room(edge.source), room(edge.target)
    if source == target or (edge.source, edge.target) in TYPED_DOORS:
        return False
    return target not in MAY_IMPORT.get(source, ())


def cycles(edges: list[Import]) -> list[list[str]]:
    graph = nx.DiGraph((edge.source, edge.target) for edge in edges if not edge.typing and edge.source != edge.target)
    # A package's __init__ that lists its own modules does not depend on them in a way that can hurt.
    graph.remove_edges_from([(a, b) for a, b in graph.edges if b.startswith(a + ".")])
    return [sorted(component) for component in nx.strongly_connected_components(graph) if len(component) > 1]


def test_every_room_stands_in_the_table() -> None:
    assert {room(module) for module in MODULES} <= set(MAY_IMPORT)
    assert len(MODULES) > 50


def test_arrows_point_one_way() -> None:
    assert [str(edge) for edge in INNER if breaks_arrow(edge)] == []


def test_there_are_no_cycles() -> None:
    assert cycles(INNER) == []


def test_no_import_hides_in_a_function() -> None:
    assert [str(edge) for edge in IMPORTS if edge.hidden] == []


def test_passes_and_codegen_import_their_siblings_relatively() -> None:
    siblings = [edge for edge in INNER if room(edge.source) == room(edge.target) in ("passes", "codegen")]
    assert siblings
    assert [str(edge) for edge in siblings if not edge.relative] == []


def test_the_table_itself_has_no_cycle() -> None:
    levels = (
        GROUND,
        ("ir",),
        ("ops",),
        FRONT,
        LIBRARIES,
        ("interp", "passes", "codegen", "runtime", "train"),
        TOP_FLOOR,
        ("__init__",),
        ("cli",),
    )
    order = {name: level for level, names in enumerate(levels) for name in names}
    for source, targets in MAY_IMPORT.items():
        assert all(order[target] <= order.get(source, len(levels)) for target in targets), source
    assert "codegen" not in MAY_IMPORT["passes"] and "passes" not in MAY_IMPORT["codegen"]


@pytest.mark.parametrize(
    "module, text, fault",
    [
        ("graphc.ir.values", "from ..ops import shape", "arrow"),
        ("graphc.passes.fold", "from graphc.codegen import expand", "arrow"),
        ("graphc.runtime.program", "import graphc.ir.values", "arrow"),
        ("graphc.nn.linear", "from ..driver import compile", "arrow"),
        ("graphc.ops.shape", "def f():\n    import graphc.ir.values", "hidden"),
        ("graphc.ops.shape", "from ..ir.values import make\nfrom .elementwise import cast", ""),
        ("graphc.ir.op", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .values import Value", "typing"),
    ],
)
def test_faults_are_seen(module: str, text: str, fault: str) -> None:
    found = [edge for edge in imports(module, text, is_package=False) if edge.target.startswith("graphc")]
    assert found and any(map(breaks_arrow, found)) == (fault == "arrow")
    assert any(edge.hidden for edge in found) == (fault == "hidden")
    assert any(edge.typing for edge in found) == (fault == "typing")


def test_a_cycle_is_seen() -> None:
    there, back = Import("graphc.ir.a", "graphc.ir.b", 1), Import("graphc.ir.b", "graphc.ir.a", 1)
    assert cycles([there, back]) == [["graphc.ir.a", "graphc.ir.b"]]
    assert cycles([there, Import("graphc.ir.b", "graphc.ir.a", 1, typing=True)]) == []


def test_importing_graphc_loads_neither_llvm_nor_the_compiler() -> None:
    listing = "import sys, graphc; print(*(m for m in sys.modules if m.startswith(('llvmlite', 'networkx', 'graphc.'))))"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    late = ("llvmlite", "networkx", *(f"graphc.{room}" for room in ("passes", "codegen", "driver", "cli", "nn", "optim")))
    assert [name for name in loaded if name.startswith(late)] == []
    assert "graphc.tensor" in loaded


def test_libraries_are_fetched_when_they_are_asked_for() -> None:
    code = "import graphc as gc; gc.nn.Linear, gc.optim.SGD, gc.data.DataLoader; from graphc import nn; print(nn is gc.nn)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"
