"""IDX files, the format in which LeCun, Cortes and Burges published MNIST.

In: a file, plain or gzipped. Out: an array. Every byte is accounted for: a file that is shorter or longer than its header says,
or damaged, is refused with its name and the offset.

    0x00 0x00 TYPE DIMENSIONS   size of each dimension, 32 bits, big-endian   elements, big-endian, last dimension fastest
"""

from __future__ import annotations

import gzip
import math
import zlib
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import GraphcError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 20


def read_idx(path: str | PathLike[str]) -> np.ndarray:
    """The array in an IDX file; `.gz` ones are decompressed. Raises GraphcError with file and offset."""
    where = Path(path)
    opener = gzip.open if where.suffix == ".gz" else open
    try:
        with opener(where, "rb") as file:
            return _parse(where, file)
    except OSError as error:
        raise GraphcError(f"cannot read {where}: {error.strerror or error}") from error


def _parse(path: Path, file: BinaryIO | gzip.GzipFile) -> np.ndarray:
    magic = _read(path, file, 0, 4, "the header")
    if magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        raise GraphcError(
            f"{path} is no IDX file: at offset 0 are the bytes {magic.hex(' ')}, expected 00 00, a type and a rank"
        )
    dtype, rank = np.dtype(DTYPES[magic[2]]), magic[3]
    sizes = _read(path, file, 4, 4 * rank, f"the sizes of {rank} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    start = 4 + 4 * rank
    length = math.prod(shape) * dtype.itemsize
    data = _read(path, file, start, length, f"{'x'.join(map(str, shape))} elements of {dtype.itemsize} bytes")
    beyond, fault = _piece(file, 1)
    if beyond or fault:
        what = fault or f"more bytes, where its {shape} elements end"
        raise GraphcError(f"{path} is damaged: at offset {start + length}: {what}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read(path: Path, file: BinaryIO | gzip.GzipFile, offset: int, length: int, what: str) -> bytes:
    """So many bytes, in pieces: a header may promise more than there is memory."""
    data, fault = bytearray(), ""
    while len(data) < length and not fault:
        chunk, fault = _piece(file, min(CHUNK, length - len(data)))
        fault = fault if chunk or fault else "the file ends"
        data += chunk
    if len(data) < length:
        end = offset + length
        raise GraphcError(f"{path} is too short: at offset {offset + len(data)}: {fault}; {what} should go on to offset {end}")
    return bytes(data)


def _piece(file: BinaryIO | gzip.GzipFile, length: int) -> tuple[bytes, str]:
    """Bytes, or what is wrong with a gzipped file."""
    try:
        return file.read(length), ""
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return b"", str(error)
