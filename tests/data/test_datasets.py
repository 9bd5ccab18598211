"""Data sets from files: what they read, and how they name what is broken."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mirror import Mirror

from graphc import data
from graphc.data import DataLoader, transforms
from graphc.data.idx import read_idx
from graphc.errors import GraphcError

RNG = np.random.default_rng(1)


def idx(array: np.ndarray, code: int = 8) -> bytes:
    sizes = b"".join(struct.pack(">I", n) for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def md5(contents: bytes) -> str:
    return hashlib.md5(contents).hexdigest()


# ------------------------------------------------------------------------------------------------------------------- IDX


@pytest.mark.parametrize("code, dtype", [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_of_every_type(tmp_path: Path, code: int, dtype: str, suffix: str) -> None:
    array = RNG.integers(0, 100, (3, 2, 5)).astype(dtype)
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(idx(array, code)) if suffix else idx(array, code))
    found = read_idx(path)
    assert found.dtype == np.dtype(dtype) and (found == array).all()


WHOLE = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
DAMAGES = {
    "empty": (b"", "at offset 0: the file ends"),
    "magic": (b"\x01" + WHOLE[1:], "no IDX file: at offset 0 are the bytes 01 00 08 03"),
    "type": (b"\0\0\x07\x01", "no IDX file"),
    "sizes": (WHOLE[:9], "at offset 9: the file ends; the sizes of 3 dimensions should go on to offset 16"),
    "data": (WHOLE[:-5], "at offset 35: the file ends; 2x3x4 elements of 1 bytes should go on to offset 40"),
    "more": (WHOLE + b"x", "damaged: at offset 40: more bytes"),
    "absurd": (bytes([0, 0, 14, 3]) + b"\xff" * 12, "at offset 16: the file ends"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_broken_idx_files_are_named_with_the_offset(tmp_path: Path, name: str) -> None:
    contents, message = DAMAGES[name]
    for path, written in ((tmp_path / "plain", contents), (tmp_path / "packed.gz", gzip.compress(contents))):
        path.write_bytes(written)
        with pytest.raises(GraphcError, match=message) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)


def test_broken_gzip_files(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    packed = gzip.compress(idx(RNG.integers(0, 256, 5000).astype(np.uint8)))
    for contents in (packed[:2000], b"no gzip at all", packed[:1000] + b"\xff" * 50 + packed[1050:]):
        path.write_bytes(contents)
        with pytest.raises(GraphcError, match=r"file\.gz.*offset \d+"):
            read_idx(path)
    with pytest.raises(GraphcError, match="cannot read"):
        read_idx(tmp_path / "nothing")


# ----------------------------------------------------------------------------------------------------------------- MNIST

SETS = {"MNIST": data.MNIST, "FashionMNIST": data.FashionMNIST, "KMNIST": data.KMNIST}


def small(kind: type[data.MNIST], count: int = 7) -> tuple[dict[str, bytes], type[data.MNIST]]:
    """Files of a small data set, and a class that expects their checksums."""
    files = {}
    for name in kind.files:
        array = RNG.integers(0, 256, (count, 28, 28)) if "images" in name else RNG.integers(0, 10, count)
        files[name] = gzip.compress(idx(array.astype(np.uint8)))
    return files, type(kind.__name__, (kind,), {"files": {name: md5(contents) for name, contents in files.items()}})


@pytest.mark.parametrize("name", SETS)
def test_mnist_and_its_kind(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, kind = small(SETS[name])
    with Mirror({f"/{name}/{file}": contents for file, contents in files.items()}, cuts=[100, 5]) as mirror:
        monkeypatch.setenv("GRAPHC_DATA_MIRROR", mirror.address)
        train = kind(tmp_path, download=True, quiet=True)
        asked = len(mirror.requests)
        test = kind(tmp_path, train=False, transform=transforms.ToTensor(), target_transform=int, download=True, quiet=True)
        assert len(mirror.requests) == asked == 6
    assert len(train) == 7 and len(train.classes) == 10
    image, label = train[3]
    assert image.shape == (28, 28) and image.dtype == np.uint8 and label.dtype == np.int64
    pixels = np.frombuffer(gzip.decompress(files["train-images-idx3-ubyte.gz"])[16:], np.uint8).reshape(7, 28, 28)
    assert (train.data == pixels).all()
    assert test[0][0].shape == (1, 28, 28) and isinstance(test[0][1], int)
    batch = next(iter(DataLoader(train, 4)))
    assert batch[0].shape == (4, 28, 28) and (batch[1] == train.targets[:4]).all()
    assert next(iter(DataLoader(test, 4)))[0].shape == (4, 1, 28, 28)


def test_checksums_are_of_every_file() -> None:
    for kind in SETS.values():
        assert len(set(kind.files.values())) == 4 and all(len(value) == 32 for value in kind.files.values())
    assert len({value for kind in SETS.values() for value in kind.files.values()}) == 12


def test_mnist_files_that_are_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(GraphcError, match=r"neither .*train-images-idx3-ubyte\.gz nor .*download=True"):
        data.MNIST(tmp_path)
    files, _ = small(data.MNIST)
    served = {f"/{name}": contents for name, contents in files.items()}
    with Mirror(served) as mirror, pytest.raises(GraphcError, match="wrong checksum"):
        data.MNIST(tmp_path, download=True, mirror=mirror.address, quiet=True)
    place = tmp_path / "MNIST"
    (place / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 28, 28), np.uint8)))
    (place / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(GraphcError, match=r"no images with a class each"):
        data.MNIST(tmp_path)
    (place / "train-labels-idx1-ubyte").write_bytes(idx(np.array([1, 10, 2], np.uint8)))
    with pytest.raises(GraphcError, match="class 10 at offset 9"):
        data.MNIST(tmp_path)


# ----------------------------------------------------------------------------------------------------------------- CIFAR


def archive(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, contents in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return packed.getvalue()


def cifar(kind: type[data.CIFAR10], folder: str = "some") -> tuple[dict[str, bytes], Any]:
    members = {}
    for name in [part for parts in kind.parts.values() for part in parts]:
        records = RNG.integers(0, 10, (3, kind.labels + 3072)).astype(np.uint8)
        members[f"{folder}/{name}"] = records.tobytes()
    packed = archive(members)
    return members, type(kind.__name__, (kind,), {"archive": (kind.archive[0], md5(packed)), "packed": packed})


@pytest.mark.parametrize("original, train, test", [(data.CIFAR10, 15, 3), (data.CIFAR100, 3, 3)])
def test_cifar(tmp_path: Path, original: type[data.CIFAR10], train: int, test: int) -> None:
    members, kind = cifar(original, "../../outside")
    with Mirror({f"/{kind.archive[0]}": kind.packed}) as mirror:
        learn = kind(tmp_path / "deep" / "root", download=True, mirror=mirror.address, quiet=True)
        kind(tmp_path / "deep" / "root", download=True, mirror=mirror.address, quiet=True)
        assert len(mirror.requests) == 1
    other = kind(tmp_path / "deep" / "root", train=False, transform=transforms.ToTensor())
    assert not (tmp_path / "outside").exists()  # where the names in the archive point
    assert (len(learn), len(other)) == (train, test) and learn[0][0].shape == (32, 32, 3)
    first = np.frombuffer(next(iter(members.values())), np.uint8)
    assert learn.targets[0] == first[kind.labels - 1] and learn.data[0, 0, 1, 2] == first[kind.labels + 2048 + 1]
    assert other[0][0].shape == (3, 32, 32)


def test_broken_cifar_files(tmp_path: Path) -> None:
    with pytest.raises(GraphcError, match=r"neither .*data_batch_1\.bin"):
        data.CIFAR10(tmp_path)
    place = tmp_path / "cifar-10-batches-bin"
    place.mkdir()
    (place / "test_batch.bin").write_bytes(bytes(3073 + 100))
    with pytest.raises(GraphcError, match=r"test_batch\.bin is too short: it ends at offset 3173, within record 1.* to 6146"):
        data.CIFAR10(tmp_path, train=False)
    (place / "test_batch.bin").write_bytes(bytes(3073) + b"\x0a" + bytes(3072))
    with pytest.raises(GraphcError, match="class 10 at offset 3073"):
        data.CIFAR10(tmp_path, train=False)


def test_broken_cifar_archives(tmp_path: Path) -> None:
    _, whole = cifar(data.CIFAR100)
    for packed, message in (
        (archive({"a/train.bin": b""}), "does not contain test.bin"),
        (whole.packed[:300], "cannot unpack"),
    ):
        kind = type("CIFAR100", (data.CIFAR100,), {"archive": ("a.tar.gz", md5(packed))})
        with Mirror({"/a.tar.gz": packed}) as mirror, pytest.raises(GraphcError, match=message):
            kind(tmp_path, download=True, mirror=mirror.address, quiet=True)


# ------------------------------------------------------------------------------------------------------- images and text


def test_image_folders(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, shade in (("cat", 10), ("ant", 200)):
        (tmp_path / name / "deeper").mkdir(parents=True)
        image.new("RGB", (6, 4), (shade, 0, 0)).save(tmp_path / name / "one.png")
        image.new("L", (6, 4), shade).save(tmp_path / name / "deeper" / "two.BMP")
        (tmp_path / name / "notes.txt").write_text("no image")
    found = data.ImageFolder(tmp_path, transform=transforms.ToTensor(), target_transform=float)
    assert found.classes == ["ant", "cat"] and found.class_to_idx == {"ant": 0, "cat": 1} and found.targets == [0, 0, 1, 1]
    assert found[1][0].shape == (3, 4, 6) and found[1][0][0, 0, 0] == np.float32(200 / 255) and found[3][1] == 1.0
    assert data.ImageFolder(tmp_path)[0][0].size == (6, 4)
    again = DataLoader(pickle.loads(pickle.dumps(found)), 2, num_workers=2)
    assert [batch[1].tolist() for batch in again] == [[0, 0], [1, 1]]
    (tmp_path / "dog").mkdir()
    with pytest.raises(GraphcError, match="dog has no image"):
        data.ImageFolder(tmp_path)
    with pytest.raises(GraphcError, match="a folder for each class"):
        data.ImageFolder(tmp_path / "dog")


def test_broken_images_are_named_with_the_offset(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "cat").mkdir()
    path = tmp_path / "cat" / "one.png"
    image.fromarray(RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    found = data.ImageFolder(tmp_path)
    for contents, message in ((whole[:2000], "broken near offset"), (b"no image at all", "is no image"), (b"", "is no image")):
        path.write_bytes(contents)
        with pytest.raises(GraphcError, match=message) as caught:
            found[0]
        assert str(path) in str(caught.value) and "offset" in str(caught.value)
    path.unlink()
    with pytest.raises(GraphcError, match="cannot read the image"):
        found[0]


def test_text_lines(tmp_path: Path) -> None:
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_bytes("one\r\n\nzw\u00f6lf\n".encode())
    b.write_bytes(b"last")
    lines = data.TextLines([a, b])
    assert [lines[i] for i in range(len(lines))] == ["one", "", "zw\u00f6lf", "last"] and lines[-1] == "last"
    assert [len(x) for x in (data.TextLines(a, skip_empty=True), data.TextLines(b), data.TextLines([]))] == [2, 1, 0]
    assert next(iter(DataLoader(lines, 2))) == ["one", ""]
    assert data.TextLines(a, transform=len)[2] == 5
    a.write_bytes(b"fine\nnot \xff fine\n")
    broken = data.TextLines(a)
    assert broken[0] == "fine"
    with pytest.raises(GraphcError, match=r"a\.txt is no utf-8 text: at offset 9"):
        broken[1]
    with pytest.raises(GraphcError, match="cannot read"):
        data.TextLines(tmp_path / "nothing")
