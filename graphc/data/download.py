"""Files of public data sets, from a mirror that the user names.

In: a file's name and checksum, and a mirror: an argument, or the environment variable GRAPHC_DATA_MIRROR; no address is built
in. Out: the file in a folder, whole and verified. A transfer that is cut goes on where it was, at once or in the next run;
a file with a wrong checksum is not kept.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..errors import GraphcError

VARIABLE = "GRAPHC_DATA_MIRROR"
SCHEMES = ("http", "https", "file")
ATTEMPTS = 5  # in a row, without a single byte
TIMEOUT = 30.0  # seconds without a byte
PAUSE = 0.1  # seconds after the first of them; the others wait longer
CHUNK = 1 << 16


def mirror_of(name: str, mirror: str | None) -> str:
    """The address of the folder with the files of data set `name`: the argument, or $GRAPHC_DATA_MIRROR/name."""
    base = os.environ.get(VARIABLE, "").strip()
    address = mirror or (f"{base.rstrip('/')}/{name}" if base else "")
    if not address:
        raise GraphcError(
            f"{name}: no mirror to download from; give mirror='https://...', the address of the folder with its files, or set "
            f"{VARIABLE} to a folder of such folders ({VARIABLE}/{name}/...)"
        )
    if urlsplit(address).scheme not in SCHEMES:
        raise GraphcError(f"{name}: the mirror {address!r} must begin with {', '.join(f'{s}://' for s in SCHEMES)}")
    return address


def download(address: str, target: Path, checksum: str, quiet: bool = False) -> None:
    """Make `target` the file at `address`, with this MD5 (32 digits) or SHA-256 (64). Nothing happens if it is there already.

    Raises GraphcError when the mirror cannot be reached, does not have the file, or has another one.
    """
    if target.exists() and digest(target, checksum) == checksum:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    url = quote(address, safe=":/%?=&+,;@~")
    with _bar(target.name, quiet) as (progress, task):
        failures = 0
        error: Exception | None = None
        while failures < ATTEMPTS:
            time.sleep(PAUSE * (2**failures - 1))
            before = _size(part)
            try:
                if _transfer(url, part, progress, task):
                    break
                error = None
            except HTTPError as refusal:
                if refusal.code < 500:
                    raise GraphcError(f"{url}: the mirror says {refusal.code} {refusal.reason}") from refusal
                error = refusal
            except (OSError, HTTPException) as cut:
                error = cut
            failures = failures + 1 if _size(part) <= before else 0
        else:
            kept = f"; {_size(part)} bytes are kept in {part}, and the next attempt goes on there" if _size(part) else ""
            raise GraphcError(f"{url}: cannot download: {error or 'the connection was cut'}{kept}") from error
    found = digest(part, checksum)
    if found != checksum:
        part.unlink()
        raise GraphcError(f"{url}: wrong checksum: expected {checksum}, got {found}; the file was not kept: try another mirror")
    os.replace(part, target)


def digest(path: Path, like: str) -> str:
    """The checksum of a file, of the kind that `like` is."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5" if len(like) == 32 else "sha256").hexdigest()


def _transfer(url: str, part: Path, progress: Progress, task: Any) -> bool:
    """Add to `part` what it lacks. Whether that is all."""
    have = _size(part)
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        return _nothing_after(error.headers.get("Content-Range", ""), part)
    with response:
        if have and not str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            have = 0  # the mirror sends all of it
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else None
        progress.update(task, total=total, completed=have)
        with open(part, "ab" if have else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
    return total is None or _size(part) >= total


def _nothing_after(content_range: str, part: Path) -> bool:
    """The mirror has nothing at the end of `part`: it is complete, or it is not of this file."""
    complete = content_range == f"bytes */{_size(part)}"
    if not complete:
        part.unlink()
    return complete


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _bar(name: str, quiet: bool) -> Iterator[tuple[Progress, Any]]:
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet) as progress:
        yield progress, progress.add_task(name, total=None)
