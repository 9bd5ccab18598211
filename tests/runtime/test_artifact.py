"""Saved programs: the same again elsewhere, and refused when they are damaged, foreign or newer."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nets import counter

from graphc.errors import ArtifactError
from graphc.export import Compilation
from graphc.runtime import artifact, host
from graphc.runtime.loader import load
from graphc.runtime.manifest import FORMAT, read, write

TWOS = np.full(6, 2, np.float32)
TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A program saved after one step."""
    path = tmp_path_factory.mktemp("artifact") / "net.so"
    with counter().load() as program:
        program.step(TWOS, TWOS)
        program.save(path)
    return path


def test_a_loaded_program_goes_on_where_it_was_saved(saved):
    with load(saved) as program:
        np.testing.assert_array_equal(program.state["total"], np.full(6, 4))
        result = program.step(x=TWOS, lr=TWOS)
        np.testing.assert_array_equal(result["total"], np.full(6, 8))
        np.testing.assert_array_equal(result["y"], 2 * np.arange(6) + 0.5)


def test_header_and_dependencies_lie_beside_it(saved):
    assert "int32_t net_step(net *net," in saved.with_suffix(".h").read_text()
    assert saved.with_suffix(".d").read_text() == f"{saved}: model.py\n"
    assert [os.access(saved.with_suffix(suffix), os.X_OK) for suffix in (".so", ".h", ".d")] == [True, False, False]


def test_the_same_program_gives_the_same_bytes(saved, tmp_path):
    with counter().load(2) as program:
        program.step(TWOS, TWOS)
        program.save(tmp_path / "again.so")
    assert (tmp_path / "again.so").read_bytes() == saved.read_bytes()


def test_a_loaded_program_saves_its_own_state(saved, tmp_path):
    copy = tmp_path / "copy.so"
    copy.write_bytes(saved.read_bytes())
    with load(copy) as program:
        program.step(TWOS, TWOS)
        program.save(copy)  # over the file it was loaded from
        np.testing.assert_array_equal(program.predict(TWOS), 2 * np.arange(6) + 0.5)
    with load(copy) as program:
        np.testing.assert_array_equal(program.state["total"], np.full(6, 8))
    assert copy.with_suffix(".h").read_text() == saved.with_suffix(".h").read_text()


def test_saving_what_was_loaded_needs_the_file(saved, tmp_path):
    copy = tmp_path / "copy.so"
    copy.write_bytes(saved.read_bytes())
    with load(copy) as program:
        copy.unlink()
        with pytest.raises(ArtifactError, match=r"copy\.so"):
            program.save(tmp_path / "other.so")
    assert not (tmp_path / "other.so").exists()


def test_two_programs_loaded_from_one_file_are_independent(saved):
    with load(saved) as one, load(saved) as two:
        one.step(TWOS, TWOS)
        np.testing.assert_array_equal(two.state["total"], np.full(6, 4))


def test_a_relative_path_and_a_string_load(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    with load("net.so") as program:
        assert "step" in program.functions


def test_loading_needs_neither_llvmlite_nor_networkx(saved):
    code = (
        "import sys\n"
        "for name in ('llvmlite', 'networkx', 'click', 'rich', 'torch'): sys.modules[name] = None\n"
        "from graphc.runtime.loader import load\n"
        "import numpy as np\n"
        f"print(load({str(saved)!r}).predict(np.ones(6, np.float32)).sum())\n"
        "assert not [m for m in sys.modules if m.startswith(('graphc.ir', 'graphc.codegen', 'graphc.passes'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "18.0\n", done.stderr


# ------------------------------------------------------------------------------------------------------------ refusals


def refused(path: Path, contents: bytes) -> str:
    path.write_bytes(contents)
    with pytest.raises(ArtifactError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 10, 103, 104, 0.5, 0.99, -1])
def test_a_truncated_file_is_refused(saved, tmp_path, kept):
    raw = saved.read_bytes()
    length = int(len(raw) * kept) if isinstance(kept, float) else kept if kept >= 0 else len(raw) + kept
    assert "truncated" in refused(tmp_path / "net.so", raw[:length])


def test_an_extended_file_is_refused(saved, tmp_path):
    assert "not that of an artifact" in refused(tmp_path / "net.so", saved.read_bytes() + b"\0")


def test_one_flipped_bit_anywhere_is_found(saved):
    raw = bytearray(saved.read_bytes())
    places = {*range(0, len(raw), max(1, len(raw) // 60)), *range(len(raw) - artifact.TRAILER, len(raw))}
    for place in sorted(places):
        raw[place] ^= 1 << place % 8
        with pytest.raises(ArtifactError):
            artifact.unpack(bytes(raw))
        raw[place] ^= 1 << place % 8
    artifact.unpack(bytes(raw))


def test_a_damaged_file_is_refused_before_it_is_opened(saved, tmp_path):
    raw = bytearray(saved.read_bytes())
    raw[100] ^= 1
    assert "damaged" in refused(tmp_path / "net.so", bytes(raw))


def test_other_files_are_refused(tmp_path):
    assert "not written by graphc" in refused(tmp_path / "net.so", b"\x7fELF" + bytes(500))
    with pytest.raises(ArtifactError, match="No such file"):
        load(tmp_path / "missing.so")
    with pytest.raises(ArtifactError, match="directory"):
        load(tmp_path)


def repacked(saved: Path, **changes: object) -> bytes:
    """The artifact with another manifest, all its checksums right."""
    raw = saved.read_bytes()
    length, manifest = artifact.unpack(raw)
    return artifact.pack(raw[:length], dataclasses.replace(manifest, **changes))


def test_a_newer_format_is_refused(saved, tmp_path):
    assert f"formats up to {FORMAT}" in refused(tmp_path / "net.so", repacked(saved, format=FORMAT + 1))


def test_a_foreign_machine_is_refused(saved, tmp_path):
    text = refused(tmp_path / "net.so", repacked(saved, triple="sparc64-unknown-linux-gnu"))
    assert "sparc64" in text and "compile it for this machine" in text
    assert "windows" in refused(tmp_path / "net.so", repacked(saved, triple="x86_64-pc-windows-msvc"))


def test_a_missing_feature_is_named(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(host, "cpu_flags", lambda: frozenset({"sse", "sse2"}))
    text = refused(tmp_path / "net.so", repacked(saved, triple="x86_64-unknown-linux-gnu", features=("avx2", "fma")))
    assert "avx2" in text or not host.runs("x86_64-unknown-linux-gnu")


def test_manifests_read_as_they_were_written(saved):
    _, manifest = artifact.unpack(saved.read_bytes())
    assert read(write(manifest)) == manifest
    with pytest.raises(ArtifactError, match="not written by graphc"):
        read(b'{"format": 1}')


# ------------------------------------------------------------------------------------------------------------- writing


def test_nothing_is_left_when_the_folder_is_missing(tmp_path):
    with counter().load() as program, pytest.raises(ArtifactError, match=r"cannot write .*net.*there is no folder .*missing"):
        program.save(tmp_path / "missing" / "net.so")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_the_disk_is_full(tmp_path, monkeypatch):
    old = tmp_path / "net.so"
    old.write_text("old")
    written = []
    real = os.fdopen

    def full(handle, mode):
        file = real(handle, mode)
        written.append(file)
        if len(written) == 3:
            file.close()
            raise OSError(28, "No space left on device")
        return file

    with counter().load() as program:
        monkeypatch.setattr(artifact.os, "fdopen", full)
        with pytest.raises(ArtifactError, match="No space left"):
            program.save(old)
    assert [path.name for path in tmp_path.iterdir()] == ["net.so"] and old.read_text() == "old"


@pytest.mark.parametrize("name", ["net.h", "net.d"])
def test_a_name_that_its_own_files_would_take_is_refused(tmp_path, name):
    with counter().load() as program, pytest.raises(ArtifactError, match=r"call it net\.so"):
        program.save(tmp_path / name)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "net.so").mkdir()
    with counter().load() as program, pytest.raises(ArtifactError, match="directory"):
        program.save(tmp_path / "net.so")
    assert [path.name for path in tmp_path.iterdir()] == ["net.so"]


def test_sources_with_spaces_are_escaped():
    assert artifact.depfile(Path("a b.so"), ("c$d.py", "e#.py")) == "a\\ b.so: c$$d.py e\\#.py\n"


def test_a_program_without_variables_saves_and_loads(tmp_path):
    made = counter()
    kept = dataclasses.replace(made.program, functions=made.program.functions[1:])
    with Compilation(kept, "net", made.target).load() as program:
        program.save(tmp_path / "net.so")
    with load(tmp_path / "net.so") as program:
        np.testing.assert_array_equal(program.predict(TWOS), 2 * np.arange(6) + 0.5)
