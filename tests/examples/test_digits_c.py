"""The C program trains and predicts with the exported library, and its losses are those of Python, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import digits_mlp
import pytest

import graphc as gc
from graphc import data
from graphc.cli.models import load_model
from graphc.driver import Stages

SOURCE = Path(digits_mlp.__file__).with_name("digits.c")
EPOCHS = 4
COMPILER = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    digits_mlp.run(EPOCHS, export=folder)
    return folder


def build(folder: Path, *arguments: str) -> Path:
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    command = [str(COMPILER), *flags, str(SOURCE), *arguments, "-o", str(folder / "digits")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    return folder / "digits"


def output(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_compiler
@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_c_trains_to_the_same_bits(exported: Path, threads: str) -> None:
    program = build(exported, f"-I{exported}", str(exported / "digits.so"), f"-Wl,-rpath,{exported}")
    expected = (exported / "losses_python.txt").read_text()
    assert expected.count("loss 0x1.") == EPOCHS * 22
    assert output(program, str(exported / "digits.bin"), threads) == expected


@needs_compiler
def test_an_object_file_links_as_well(exported: Path, tmp_path: Path) -> None:
    model = load_model(Path(digits_mlp.__file__))
    compilation = Stages(model.functions, name="digits").compilation
    for kind, name in (("obj", "digits.o"), ("h", "digits.h")):
        (tmp_path / name).write_bytes(compilation.emit(kind))
    program = build(tmp_path, f"-I{tmp_path}", str(tmp_path / "digits.o"), "-pthread", "-lm")
    assert output(program, str(exported / "digits.bin")) == (exported / "losses_python.txt").read_text()


@needs_compiler
def test_c_refuses_what_it_cannot_use(exported: Path) -> None:
    program = build(exported, f"-I{exported}", str(exported / "digits.so"), f"-Wl,-rpath,{exported}")
    for arguments, code in (([], 2), ([str(exported / "missing.bin")], 2), ([str(exported / "digits.bin"), "0"], 1)):
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == code and done.stderr


def test_the_loaded_artifact_trains_to_the_same_bits(exported: Path) -> None:
    learn, test = (data.Digits(train=part, size=28) for part in (True, False))
    program = gc.load(exported / "digits.so")
    images, labels = learn.arrays
    steps = digits_mlp.order(len(learn), EPOCHS, seed=0)
    losses = [float(program.train_step(images[numbers], labels[numbers])) for numbers in steps]
    right = round(digits_mlp.accuracy(program, test, digits_mlp.BATCH) * len(test))
    assert digits_mlp.report(losses, right, len(test)) == (exported / "losses_python.txt").read_text()


def test_the_example_is_a_model_and_trains_nothing_when_it_is_loaded() -> None:
    model = load_model(Path(digits_mlp.__file__))
    assert set(model.functions) == {"train_step", "predict"}
    assert {Path(source).name for source in model.sources} >= {"digits_mlp.py"}
