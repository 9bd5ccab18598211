"""The command line for GPUs: the files it writes, and what it says where no compiler for them is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graphc import cli

MODEL = """
import graphc as gc
x = gc.placeholder((4, 3), gc.float32, name="x")
weight = gc.variable([1.0, 2.0, 3.0], name="weight")
step = gc.function([x], (x * weight).sum(1))
"""

SUMS = """
import graphc as gc
i, updates = gc.placeholder((9,), gc.int64, name="i"), gc.placeholder((9, 20), gc.float32, name="updates")
step = gc.function([i, updates], gc.zeros((5, 20)).index_add(0, i, updates))
"""

PRODUCT = """
import graphc as gc
a, b = (gc.placeholder((64, 64), gc.float32, name=name) for name in "ab")
step = gc.function([a, b], a @ b)
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def graphc_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    (tmp_path / "model.py").write_text(MODEL)

    def run(*arguments: object, command: str = "compile") -> tuple[int, str, str]:
        output = ["-o", str(tmp_path / "out")] if command == "compile" else []
        with pytest.raises(SystemExit) as left:
            cli.main([command, str(tmp_path / "model.py"), *output, *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


def written(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").iterdir()}


@pytest.mark.parametrize("options", ([], ["--emit", "cu"], ["--arch", "sm_80", "--emit", "cu"]), ids=str)
def test_the_source_is_written_with_all_it_needs(graphc_command: Command, tmp_path: Path, options: list[str]) -> None:
    code, out, err = graphc_command("--target", "cuda", *options)
    assert code == 0, err
    assert written(tmp_path) == {"model.cu", "model.h", "model.image", "model.d"} == {Path(p).name for p in out.split()}
    assert "__global__" in (tmp_path / "out" / "model.cu").read_text()
    assert "model.py" in (tmp_path / "out" / "model.d").read_text()


def test_without_a_compiler_the_source_is_the_product(
    graphc_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphc.codegen.cuda.build.nvcc", lambda: None)
    monkeypatch.setattr("graphc.codegen.cuda.build.nvrtc", lambda: None)
    code, _, err = graphc_command("--target", "cuda", "--emit", "ptx")
    assert code == 2
    assert "model.cu was written" in err and "nvcc is not on the PATH" in err
    assert written(tmp_path) == {"model.cu", "model.h", "model.image", "model.d"}


def test_atomics_are_a_choice(graphc_command: Command, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(SUMS)
    for options, there in ([], False), (["--atomics"], True):
        code, _, err = graphc_command("--target", "cuda", *options)
        assert code == 0, err
        assert ("GRAPHC_ATOMIC_ADD(out" in (tmp_path / "out" / "model.cu").read_text()) == there


@pytest.mark.parametrize("command", ("compile", "show"))
def test_precision_is_a_choice(graphc_command: Command, tmp_path: Path, command: str) -> None:
    (tmp_path / "model.py").write_text(PRODUCT)
    for options, there in ([], False), (["--precision", "tf32"], True):
        code, out, err = graphc_command("--target", "cuda", "--emit", "cu", *options, command=command)
        assert code == 0, err
        source = out if command == "show" else (tmp_path / "out" / "model.cu").read_text()
        assert ("rounded to tf32" in source) == there


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "cuda", "--emit", "obj"], ["'obj'", "cu, h, image, ptx, cubin, so"]),
        (["--target", "cuda", "--arch", "sm_9x"], ["'sm_9x' is no CUDA architecture"]),
        (["--atomics"], ["atomics=True is a choice for GPUs, not for 'cpu'"]),
        (["--precision", "tf32"], ["precision='tf32' is a choice for GPUs, not for 'cpu'"]),
        (["--target", "cuda", "--precision", "fp8"], ["'fp8' is not one of 'highest', 'tf32', 'bf16'"]),
        (["--target", "cuda", "--arch", "sm_75", "--precision", "tf32"], ["sm_75 has none: leave it out"]),
        (["--arch", "sm_90"], ["only --target cuda has architectures"]),
    ],
    ids=str,
)
def test_mistakes_are_told(graphc_command: Command, options: list[str], said: list[str]) -> None:
    code, _, err = graphc_command(*options)
    assert code == 2
    assert all(text in err for text in said), err


def test_the_source_is_a_stage_on_the_way_to_a_gpu(graphc_command: Command) -> None:
    code, out, _ = graphc_command("--target", "cuda", "--emit", "cu", command="show")
    assert code == 0 and "__global__" in out and "#include <cuda_runtime.h>" in out
    code, _, err = graphc_command("--target", "cuda", "--emit", "ll", command="show")
    assert code == 2 and "no stage 'll' on the way to target cuda, which goes by cu, ptx" in err
    code, _, err = graphc_command("--emit", "cu", command="show")
    assert code == 2 and "which goes by ll, asm" in err
