"""Models on the command line: Python files that bind `gc.function(...)` objects to public names.

In: the path of such a file. Out: its functions by name, and the user's files it was made from. What the file itself raises
is the user's own: it is shown as Python would show it, without graphc's frames.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import GraphcError
from ..function import Function

_HOME = Path(__file__).resolve().parent.parent


class UserError(Exception):
    """A mistake of the user's; the text is complete."""


@dataclass(frozen=True)
class Model:
    path: Path
    functions: dict[str, Function]
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def load_model(path: Path) -> Model:
    """Run a model file. Raises UserError when there is none, it raises, or it binds no function."""
    if not path.is_file():
        raise UserError(f"error: there is no file {path}")
    if path.suffix != ".py":
        raise UserError(f"error: {path} is no Python file (its name must end with .py)")
    before = set(sys.modules)
    with _importable_folder(path):
        names = vars(_execute(path))
    functions = {name: value for name, value in names.items() if isinstance(value, Function) and not name.startswith("_")}
    if not functions:
        raise UserError(
            f"error: {path} binds no gc.function at top level; a model ends with lines such as `predict = gc.function([x], y)`"
        )
    return Model(path, functions, _sources(path, before))


def _execute(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(f"__graphc_model__{path.stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles of the model look their module up
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise UserError(f"error: {path} ended the program (exit {error.code}) instead of binding functions") from None
    except Exception as error:
        raise UserError(_told(error, path)) from None
    finally:
        del sys.modules[spec.name]
    return module


@contextmanager
def _importable_folder(path: Path) -> Iterator[None]:
    """Modules beside the model can be imported, as `python model.py` allows."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _told(error: Exception, path: Path) -> str:
    """The error with the user's own frames: from the model's first line on, and without graphc's inside when it is ours."""
    trace, home = error.__traceback__, path.resolve()
    while trace is not None and Path(trace.tb_frame.f_code.co_filename).resolve() != home:
        trace = trace.tb_next
    if trace is None and isinstance(error, SyntaxError | ValueError) and not getattr(error, "filename", None):
        return f"error: {path} is no Python text: {error}"
    told = traceback.TracebackException(type(error), error, trace)
    if isinstance(error, GraphcError):
        own = [frame for frame in told.stack if not Path(frame.filename).resolve().is_relative_to(_HOME)]
        told.stack = traceback.StackSummary.from_list(own)
    return "".join(told.format()).rstrip()


def _sources(path: Path, before: set[str]) -> tuple[str, ...]:
    """The model, and what it imported that is neither installed nor Python's own."""
    installed = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = {str(path)}
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and not any(Path(file).resolve().is_relative_to(home) for home in (*installed, _HOME)):
            found.add(file)
    return tuple(sorted(found))
