"""Downloads from a mirror on this machine: resumed, refused, verified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from mirror import Mirror

from graphc.data import download as module
from graphc.data.download import download, mirror_of
from graphc.errors import GraphcError

DATA = np.random.default_rng(0).bytes(300_000)
MD5, SHA = hashlib.md5(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.mark.parametrize("checksum", [MD5, SHA])
def test_a_file_is_fetched_once(tmp_path: Path, checksum: str) -> None:
    target = tmp_path / "new" / "data.bin"
    with Mirror({"/data.bin": DATA}) as mirror:
        for _ in range(2):
            download(f"{mirror.address}/data.bin", target, checksum, quiet=True)
        assert mirror.requests == [("/data.bin", None)]
    assert target.read_bytes() == DATA and list(target.parent.iterdir()) == [target]


def test_a_cut_connection_goes_on_where_it_was(tmp_path: Path) -> None:
    with Mirror({"/data.bin": DATA}, cuts=[100_000, 0, 50_000]) as mirror:
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)
        assert [asked for _, asked in mirror.requests] == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "data.bin").read_bytes() == DATA


def test_the_next_run_goes_on_too(tmp_path: Path) -> None:
    part = tmp_path / "data.bin.part"
    with Mirror({"/data.bin": DATA}, cuts=[1000, *[0] * 5]) as mirror:
        with pytest.raises(GraphcError, match=r"cut; 1000 bytes are kept in .*data.bin.part"):
            download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)
        assert part.read_bytes() == DATA[:1000]
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)
        assert mirror.requests[-1] == ("/data.bin", "bytes=1000-") and not part.exists()


def test_a_mirror_without_ranges_sends_everything_again(tmp_path: Path) -> None:
    with Mirror({"/data.bin": DATA}, cuts=[1000], ranges=False) as mirror:
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)
    assert (tmp_path / "data.bin").read_bytes() == DATA


@pytest.mark.parametrize("kept", [DATA, DATA + b"more"])
def test_a_part_that_lacks_nothing(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "data.bin.part").write_bytes(kept)
    with Mirror({"/data.bin": DATA}) as mirror:
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)
    assert (tmp_path / "data.bin").read_bytes() == DATA


def test_a_wrong_checksum_is_not_kept(tmp_path: Path) -> None:
    wrong = "0" * 32
    with Mirror({"/data.bin": DATA}) as mirror, pytest.raises(GraphcError, match=f"expected {wrong}, got {MD5}"):
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", wrong, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_mirror_refuses(tmp_path: Path) -> None:
    with Mirror({}) as mirror, pytest.raises(GraphcError, match="404"):
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)
    assert len(mirror.requests) == 1
    with Mirror({}, code=503) as mirror, pytest.raises(GraphcError, match="503"):
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)
    assert len(mirror.requests) == module.ATTEMPTS
    with pytest.raises(GraphcError, match="cannot download"):  # nobody listens there any more
        download(f"{mirror.address}/data.bin", tmp_path / "data.bin", MD5, quiet=True)


def test_a_folder_can_be_a_mirror(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(DATA)
    download(f"{tmp_path.as_uri()}/a b", tmp_path / "copy", MD5, quiet=True)
    assert (tmp_path / "copy").read_bytes() == DATA


def test_progress_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    (tmp_path / "file").write_bytes(DATA)
    download(f"{tmp_path.as_uri()}/file", tmp_path / "quiet", MD5, quiet=True)
    assert capsys.readouterr().out == ""
    download(f"{tmp_path.as_uri()}/file", tmp_path / "loud", MD5)
    assert "loud" in capsys.readouterr().out


def test_where_the_mirror_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    with pytest.raises(GraphcError, match=r"no mirror.*GRAPHC_DATA_MIRROR/MNIST"):
        mirror_of("MNIST", None)
    monkeypatch.setenv(module.VARIABLE, "http://127.0.0.1/data/")
    assert mirror_of("MNIST", None) == "http://127.0.0.1/data/MNIST"
    assert mirror_of("MNIST", "file:///here") == "file:///here"
    with pytest.raises(GraphcError, match="must begin with"):
        mirror_of("MNIST", "ftp://127.0.0.1")
