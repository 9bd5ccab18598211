"""What the environment says is checked where it is read."""

import pytest

import graphc as gc
from graphc import config
from graphc.errors import GraphcError


def test_a_dump_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "a" / "b"))
    assert config.dump_directory() == tmp_path / "a" / "b" and (tmp_path / "a" / "b").is_dir()
    monkeypatch.setenv("GRAPHC_DUMP", " ")
    assert config.dump_directory() is None


def test_a_dump_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "file"))
    with pytest.raises(GraphcError, match=r"GRAPHC_DUMP: cannot make the folder .*file"):
        config.dump_directory()


def test_every_graph_and_every_program_of_kernels_is_dumped(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    x = gc.placeholder((3,), gc.float32, name="x")
    gc.compile(f=gc.function([x], gc.exp(x) + 1.0), name="waves")
    steps = sorted(path.name for path in tmp_path.iterdir())
    assert steps[0] == "f.00.start.txt" and {"f.01.autodiff.txt", "f.07.simplify.txt"} < set(steps)
    kernels = [name.split(".", 2)[2] for name in steps if name.startswith("waves.")]
    assert kernels == ["lower.txt", "overwrite.txt", "slice.txt", "place.txt"]
    assert "kernel" in (tmp_path / steps[-1]).read_text()
