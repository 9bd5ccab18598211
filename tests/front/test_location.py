"""The user's line: of a file beside the package, of a prompt; never of graphc or of generated code."""

from __future__ import annotations

from pathlib import Path

import pytest

import graphc as gc
from graphc.errors import ShapeError

HOME = Path(gc.__file__).resolve().parent


def location_of(file: str) -> str:
    """Where an error arises that code in `file` causes in its line 2."""
    with pytest.raises(ShapeError) as caught:
        exec(compile("\ngc.zeros(2) + gc.zeros(3)", file, "exec"), {"gc": gc})
    return str(caught.value.location)


@pytest.mark.parametrize("file", [f"{HOME}_models/net.py", f"{HOME.parent}/passes_of_mine.py", "/tmp/model.py"])
def test_files_whose_path_begins_like_graphcs_are_the_users(file: str) -> None:
    assert location_of(file) == f"{file}:2"


@pytest.mark.parametrize("file", ["<stdin>", "<python-input-3>", "<ipython-input-1-abc>", "<doctest model[0]>"])
def test_lines_typed_at_a_prompt_are_the_users(file: str) -> None:
    assert location_of(file) == f"{file}:2"


@pytest.mark.parametrize("file", [str(HOME / "nn" / "linear.py"), str((HOME / "passes" / "fold.py").resolve()), "<string>"])
def test_graphcs_own_and_generated_lines_are_passed_over(file: str) -> None:
    assert location_of(file).startswith(f"{__file__}:")
