"""The command line: files it writes, text it shows, and the exit codes of everything that can go wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import cli
from graphc.cli import commands
from graphc.cli.arrays import read_inputs
from graphc.cli.models import UserError, load_model
from graphc.cli.stages import RUNNABLE, STAGES
from graphc.runtime.loader import verify

MODEL = """
import numpy as np
import graphc as gc
from numbers_of_mine import FACTOR

x = gc.placeholder((4, 3), gc.float32, name="x")
k = gc.placeholder((4,), gc.int64, name="k")
weight = gc.variable(np.ones((4, 3), np.float32), name="weight")
step = gc.function([x], {"loss": (x * weight).sum(), "rows": x.sum(1)}, updates={weight: weight + x})
scaled = gc.function([x, k], [x * FACTOR, k + 1])
slope = gc.function([x], gc.grad((x * x).sum(), x))
_hidden = gc.function([x], x)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "numbers_of_mine.py").write_text("FACTOR = 2.0\n")
    (folder / "model.py").write_text(MODEL)
    np.save(folder / "x.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    return folder / "model.py"


@pytest.fixture
def graphc_command(capsys):
    """Runs a command in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()  # what a fixture said that was made meanwhile
        with pytest.raises(SystemExit) as left:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


@pytest.fixture(scope="module")
def artifact(model):
    with pytest.raises(SystemExit) as left:
        cli.main(["compile", str(model), "-o", str(model.parent / "built")])
    assert left.value.code == 0
    return model.parent / "built" / "model.so"


# ------------------------------------------------------------------------------------------------------------- compile


def test_compile_writes_library_header_and_dependencies(model, artifact):
    assert {path.name for path in artifact.parent.iterdir()} == {"model.so", "model.h", "model.d"}
    assert "int32_t model_step(model *net," in artifact.with_suffix(".h").read_text()
    dependencies = artifact.with_suffix(".d").read_text()
    assert str(model) in dependencies and "numbers_of_mine.py" in dependencies and "numpy" not in dependencies
    program = graphc.load(artifact)
    assert set(program.functions) == {"step", "scaled", "slope"}


def test_compile_writes_what_was_asked_for(graphc_command, model, tmp_path):
    code, out, _ = graphc_command(
        "compile", model, "-o", tmp_path / "new" / "folder", "--name", "mine", "--emit", "obj,ll,asm,h"
    )
    assert code == 0
    names = {"mine.o", "mine.ll", "mine.s", "mine.h"}
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == names
    assert {Path(line).name for line in out.split()} == names


def test_the_default_number_of_threads_is_kept(graphc_command, model, tmp_path):
    code, _, err = graphc_command("compile", model, "-o", tmp_path, "--threads", "3")
    assert code == 0, err
    assert verify(tmp_path / "model.so").threads == 3


def test_compile_for_another_machine(graphc_command, model, tmp_path):
    code, _, err = graphc_command("compile", model, "-o", tmp_path, "--target", "aarch64", "--emit", "obj")
    assert code == 0, err
    assert (tmp_path / "model.o").read_bytes()[18] == 183  # EM_AARCH64


# ----------------------------------------------------------------------------------------------------------------- run


@pytest.mark.parametrize("which", ["model", "artifact"])
def test_run_calls_a_function(graphc_command, request, model, tmp_path, which):
    program = request.getfixturevalue(which)
    x = model.parent / "x.npy"
    code, out, err = graphc_command("run", program, "step", "--input", f"x={x}", "--output", tmp_path)
    assert code == 0, err
    np.testing.assert_array_equal(np.load(tmp_path / "loss.npy"), np.float32(66))
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), [3, 12, 21, 30])
    assert out.split() == [str(tmp_path / "loss.npy"), str(tmp_path / "rows.npy")]


@pytest.mark.parametrize("stage", RUNNABLE)
def test_run_interprets_at_every_stage(graphc_command, model, tmp_path, stage):
    x = model.parent / "x.npy"
    code, _, err = graphc_command("run", model, "step", "-i", f"x={x}", "-o", tmp_path, "--emit", stage)
    assert code == 0, err
    np.testing.assert_array_equal(np.load(tmp_path / "loss.npy"), np.float32(66))
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), [3, 12, 21, 30])


def test_run_prints_results_and_takes_literals(graphc_command, model, artifact):
    code, out, _ = graphc_command("run", artifact, "scaled", "-i", f"x={model.parent / 'x.npy'}", "-i", "k=[1, 2, 3, 4]")
    assert code == 0 and "[2 3 4 5]" in out and "float32[4, 3]" in out


# ---------------------------------------------------------------------------------------------------------------- show


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_shows(graphc_command, model, stage):
    code, out, err = graphc_command("show", model, "--emit", stage)
    assert code == 0, err
    assert "step" in out and len(out) > 50


def test_without_a_stage_the_passes_are_listed(graphc_command, model):
    code, out, err = graphc_command("show", model, "--function", "scaled")
    assert code == 0, err
    for word in ("autodiff", "fuse", "kernels", "place", "scaled", "KiB"):
        assert word in out
    assert "step" not in out


# ------------------------------------------------------------------------------------------------------ bench, tune and doctor


def test_bench_times_every_function(graphc_command, artifact):
    code, out, _ = graphc_command("bench", artifact, "--seconds", "0.02", "--threads", "1")
    assert code == 0 and "step" in out and "scaled" in out and "median" in out


def test_what_tune_measures_is_what_compile_and_bench_read(graphc_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ("import graphc as gc", "x = gc.placeholder((31, 33), gc.float32, name='x')", "f = gc.function([x], x @ x.mT)")
    (tmp_path / "product.py").write_text("\n".join(lines))
    code, out, _ = graphc_command("tune", "product.py", "--seconds", "0.01", "--threads", "1")
    assert code == 0 and "dot_general float32[31, 31]" in out and "product.schedules.json" in out
    assert graphc_command("compile", "product.py", "--schedules", "product.schedules.json")[0] == 0
    assert "product.schedules.json" in (tmp_path / "product.d").read_text()
    assert graphc_command("bench", "product.py", "--seconds", "0.01", "--schedules", "product.schedules.json")[0] == 0
    code, _, err = graphc_command("bench", "product.py", "--schedules", "product.py")
    assert code == 2 and "schedules: product.py: not JSON" in err


def test_doctor_says_what_there_is(graphc_command):
    code, out, _ = graphc_command("doctor")
    assert code == 0
    for word in ("processor", "threads", "linkers", "llvmlite", "L1"):
        assert word in out


def test_version_and_help(graphc_command):
    assert graphc.__version__ in graphc_command("--version")[1]
    assert "compile" in graphc_command("--help")[1]


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "graphc", "show"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "MODEL" in done.stderr and not done.stdout


# -------------------------------------------------------------------------------------------------------------- mistakes

BROKEN = {
    "raises": ("def f():\n    return 1 / 0\n\nf()\n", ["line 4", "f()", "ZeroDivisionError"]),
    "syntax": ("x = (\n", ["SyntaxError", "line 1"]),
    "binary": ("x = 1\0\n", ["binary.py", "null bytes"]),
    "exits": ("import sys\nsys.exit(3)\n", ["ended the program", "3"]),
    "empty": ("x = 1\n", ["binds no gc.function"]),
    "shapes": (
        "import graphc as gc\nx = gc.placeholder((2, 3), name='x')\ny = x.reshape(4, 4)\n",
        ["line 3", "y = x.reshape(4, 4)", "ShapeError"],
    ),
}


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_shows_its_own_lines(graphc_command, tmp_path, monkeypatch, name, relative):
    text, words = BROKEN[name]
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    code, out, err = graphc_command("compile", path.name if relative else path, "-o", tmp_path)
    assert code == 2 and out == ""
    for word in words:
        assert word in err
    assert "graphc/cli" not in err and "importlib" not in err
    assert [p.name for p in tmp_path.iterdir() if p.name != "__pycache__"] == [path.name]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["compile", "missing.py"], ["there is no file missing.py"]),
        (["compile", "ARTIFACT", "-o", "TMP"], ["is no Python file"]),
        (["show", "ARTIFACT"], ["is no Python file"]),
        (["compile", "MODEL", "-o", "X"], ["is a file; -o names a folder"]),
        (["compile", "MODEL", "--emit", "exe"], ["'exe'", "so, obj"]),
        (["compile", "MODEL", "--target", "z80"], ["'z80' is no target"]),
        (["compile", "MODEL", "--name", "my net", "-o", "TMP"], ["'my net'", "C identifier"]),
        (["compile", "MODEL", "-o", "MODEL/inside"], ["cannot make the folder"]),
        (["run", "missing.so", "step"], ["missing.so"]),
        (["run", "X", "step"], ["not written by graphc"]),
        (["run", "ARTIFACT", "stop"], ["no function 'stop'", "step, scaled"]),
        (["run", "ARTIFACT", "step"], ["no value for 'x'"]),
        (["run", "ARTIFACT", "step", "-i", "x=missing.npy"], ["missing.npy", "not a readable"]),
        (["run", "ARTIFACT", "step", "-i", "x=word"], ["no such file"]),
        (["run", "ARTIFACT", "step", "-i", "x"], ["expected name=file.npy"]),
        (["run", "ARTIFACT", "step", "-i", "x=1", "-i", "x=2"], ["given twice"]),
        (["run", "ARTIFACT", "step", "-i", "x=MODEL"], ["not a readable .npy"]),
        (["run", "ARTIFACT", "step", "-i", "x=NPZ"], ["it holds 1 arrays; np.save writes a file of a single one"]),
        (["run", "ARTIFACT", "step", "-i", "x=[1, 2]"], ["expected float32[4, 3], got float32[2]"]),
        (["run", "ARTIFACT", "step", "-i", "x=X", "-o", "MODEL"], ["is a file; -o names a folder"]),
        (["show", "MODEL", "--emit", "soup"], ["no stage 'soup'", "kernels"]),
        (["run", "MODEL", "step", "-i", "x=X", "--emit", "asm"], ["nothing runs at 'asm'"]),
        (["run", "MODEL", "step", "-i", "x=1", "--emit", "graph"], ["expected float32[4, 3]"]),
        (["run", "ARTIFACT", "step", "-i", "x=X", "--emit", "graph"], ["is no model"]),
        (["run", "MODEL", "slope", "-i", "x=X", "--emit", "graph"], ["before autodiff"]),
        (["show", "MODEL", "-f", "stop"], ["no function 'stop'"]),
        (["bench", "MODEL", "--threads", "0"], ["--threads"]),
        (["tune", "MODEL", "--seconds", "0"], ["--seconds"]),
        (["tune", "MODEL", "-o", "TMP/no/x.json"], ["there is no folder"]),
        (["compile", "MODEL", "-o", "TMP", "--schedules", "TMP/none.json"], ["cannot read", "none.json"]),
        (["bake"], ["No such command"]),
        (["compile"], ["MODEL"]),
    ],
)
def test_mistakes_are_told_and_give_two(graphc_command, model, artifact, tmp_path, arguments, words):
    places = {"MODEL": model, "ARTIFACT": artifact, "X": model.parent / "x.npy", "TMP": tmp_path, "NPZ": tmp_path / "x.npz"}
    np.savez(places["NPZ"], x=np.ones((4, 3), np.float32))

    def fill(text):
        for word, path in places.items():
            if text == word or text.endswith(f"={word}") or text.startswith(f"{word}/"):
                return text.replace(word, str(path))
        return text

    code, _, err = graphc_command(*map(fill, arguments))
    assert code == 2, err
    for word in words:
        assert word in err
    assert "Traceback" not in err


def test_a_damaged_artifact_is_refused(graphc_command, artifact, tmp_path):
    raw = bytearray(artifact.read_bytes())
    raw[len(raw) // 2] ^= 4
    (tmp_path / "bad.so").write_bytes(raw)
    code, _, err = graphc_command("run", tmp_path / "bad.so", "step")
    assert code == 2 and "damaged" in err


def test_our_own_defects_give_one_with_a_trace(graphc_command, model, monkeypatch):
    def broken(*_, **__):
        raise AssertionError("a law was broken")

    monkeypatch.setattr(commands, "Stages", broken)
    code, _, err = graphc_command("compile", model)
    assert code == 1 and "a law was broken" in err and "defect of graphc" in err


def test_a_model_leaves_no_trace_in_the_process(model):
    before = list(sys.path)
    loaded = load_model(model)
    assert sys.path == before and list(loaded.functions) == ["step", "scaled", "slope"]
    assert not [name for name in sys.modules if name.startswith("__graphc_model__")]


def test_literals_and_files_are_told_apart(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(2))
    read = read_inputs([f"a={tmp_path / 'a.npy'}", "b=1.5", "c=[1, 2]"])
    assert read["b"] == 1.5 and read["c"] == [1, 2] and read["a"].shape == (2,)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UserError, match="readable"):
        read_inputs([f"a={tmp_path / 'objects.npy'}"])
