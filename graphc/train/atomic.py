"""Files that are there whole or not at all, even when the process is killed or the power fails.

In: a path and bytes. Out: the file with exactly these bytes. Until then the old one, if any, stays as it was: the new one is
written beside it, forced to the disk, and takes its name in one step.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..errors import GraphcError


def write_whole(path: Path, contents: bytes) -> None:
    """Replace the file. Raises GraphcError when that cannot be done; nothing has changed then.

    The temporary file has one fixed name, so that what a killed process left behind is overwritten by its successor.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise GraphcError(f"cannot write {path}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk, too. Systems that cannot open folders order this themselves."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
