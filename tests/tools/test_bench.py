"""The benchmark: processes that agree, numbers that are complete, and errors that help. Nothing here asserts a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench import main
from benchmark import contest as contests
from benchmark import machine, report, with_graphc, workloads
from benchmark.contest import FRAMEWORKS, Contest, Dead, Entry, Worker, missing
from benchmark.profile import folded, measure
from click.testing import CliRunner

from graphc.codegen.llvm.build import compile_module
from graphc.codegen.target import host, named

TINY, TINY_TRAIN = workloads.named("tiny"), workloads.named("tiny_train")
QUICK = ["--threads", "1", "--rounds", "2", "--seconds", "0.005"]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "REPEATS", 2)


def test_every_installed_framework_runs_and_agrees(tmp_path: Path, quick_limits: None) -> None:
    installed = [name for name in FRAMEWORKS if not missing(name) and name != "torch_compile"]
    file = tmp_path / "results.json"
    code, output = run("--workload", "tiny,tiny_train", *QUICK, "--json", str(file))
    assert code == 0 and "tiny_train" in output
    document = json.loads(file.read_text())
    assert document["machine"]["vector_bits"] > 0 and document["limits"]["1"]["gflops"] > 0
    inference, training = document["results"]
    assert list(inference["frameworks"]) == installed
    assert list(training["frameworks"]) == [name for name in installed if FRAMEWORKS[name].trains]
    for result in (inference, training):
        assert result["limit_ms"] > 0 and result["share_of_limit"] > 0 and isinstance(result["noisy"], bool)
        assert (result["ratio"] is None) == (len(result["frameworks"]) == 1)
        for entry in result["frameworks"].values():
            assert "error" not in entry, entry
            assert [len(entry[f"{clock}_ms"]) for clock in contests.CLOCKS] == [2, 2, 2]
            assert all(a <= b for a, b in zip(entry["fastest_ms"], entry["wall_ms"], strict=True))
            assert entry["ms"] > 0 and entry["ready_s"] > 0 and entry["rss_peak_bytes"] > 0
        assert result["frameworks"]["graphc"]["arena_bytes"] >= result["frameworks"]["graphc"]["arena_lower_bound"]


def test_unknown_names_get_help() -> None:
    code, output = run("--workload", "lenett_b1", *QUICK)
    assert code == 2 and "did you mean 'lenet_b1'?" in output and "gemm_512_nn" in output
    code, output = run("--peers", "tensorflow", *QUICK)
    assert code == 2 and "onnxruntime" in output
    for threads in ("0", "two", "1,,2"):
        code, output = run("--threads", threads)
        assert code == 2 and "1,2" in output


def test_patterns_choose_in_the_order_of_the_table() -> None:
    assert [w.name for w in workloads.chosen(["mlp_train", "mlp_b*"])] == ["mlp_b1", "mlp_b64", "mlp_train"]
    assert {"tiny", "tiny_train"}.isdisjoint(w.name for w in workloads.chosen(["*"]))
    with pytest.raises(workloads.UnknownWorkload, match="no workload is called 'nothing\\*'"):
        workloads.chosen(["mlp*", "nothing*"])


def test_missing_packages_are_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch, quick_limits: None) -> None:
    monkeypatch.setitem(FRAMEWORKS, "openvino", contests.Framework("no_such_package"))
    code, output = run("--workload", "tiny", "--peers", "openvino", *QUICK)
    assert code == 0 and "openvino is left out: no_such_package is not installed" in output


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    worker = Worker("graphc", "no_such_workload", 1, tmp_path)
    with pytest.raises(Dead, match="no_such_workload"):
        worker.answer(60)
    worker.end()


def test_who_computes_something_else_is_not_timed(tmp_path: Path) -> None:
    result = Contest(TINY, 1, {name: Entry(name) for name in ("graphc", "torch", "openvino")})
    right = np.array([1.0, 2.0], np.float32)
    for name, y in (("graphc", right * np.float32(1.00001)), ("torch", right), ("openvino", right + 1)):
        np.savez(tmp_path / f"{name}.npz", y)
    contests._compare(result, tmp_path)
    assert not result.entries["graphc"].error
    assert result.entries["openvino"].error == "differs from torch: output 0 by 5.0e-01 of its largest value"


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ([np.ones(3)], ""),
        ([np.array([1, 1, 1 + 1e-5])], ""),
        ([np.array([1, 1, 1.1])], "output 0"),
        ([np.array([1, 1, np.nan])], "output 0"),
        ([np.ones(4)], "shapes"),
        ([np.ones(3), np.ones(3)], "shapes"),
    ],
)
def test_differences(arrays: list[np.ndarray], problem: str) -> None:
    found = contests.difference(arrays, [np.ones(3)], 1e-4)
    assert found.startswith(problem) and bool(found) == bool(problem)


def test_noise_is_told() -> None:
    quiet = Entry("graphc", [1.0, 1.01, 0.99, 1.0, 3.0], facts={"seconds": 1.0, "flops": 1e9})
    noisy = Entry("torch", [1.0, 2.0, 3.0, 4.0, 5.0])
    assert quiet.spread("wall") < contests.NOISY < noisy.spread("wall")
    assert (quiet.noisy_rounds("wall"), noisy.noisy_rounds("wall")) == (1, 4)
    result = Contest(TINY, 1, {"graphc": quiet, "torch": noisy})
    limits = report.Limits(flops=2e9, bytes=1e9)
    assert limits.seconds(result) == 0.5
    rows = report._row(result, ["torch"], limits, "wall")
    assert rows[1:3] == ["1000.0", "~3000.0"]
    assert "torch: 67%" in report._caption([result], "wall") and "graphc:" not in report._caption([result], "wall")


def test_ratios_compare_rounds_side_by_side() -> None:
    """The machine was twice as slow in the second round, for everybody."""
    result = Contest(TINY, 1, {"graphc": Entry("graphc", [1.0, 2.0, 1.0]), "torch": Entry("torch", [3.0, 6.0, 3.0])})
    assert result.ratio("wall") == 3.0
    assert Contest(TINY, 1, {"graphc": Entry("graphc", [1.0])}).ratio("wall") is None
    assert report.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_work_is_counted() -> None:
    first, second = 2 * 2 * 5 * 7, 2 * 2 * 7 * 3
    net = with_graphc.build(TINY)
    function = with_graphc.declare(TINY, net)
    assert with_graphc.flops(function, []) == first + second
    assert with_graphc.moved(function, net) == 4 * (10 + 6 + 35 + 7 + 21 + 3)
    net = with_graphc.build(TINY_TRAIN)
    function = with_graphc.declare(TINY_TRAIN, net)
    trained = [parameter.value for parameter in net.parameters()]
    assert with_graphc.flops(function, trained) == 2 * first + 3 * second  # the first input needs no gradient


def test_numbers_depend_on_names_and_shapes_alone() -> None:
    assert all((a == b).all() for a, b in zip(TINY.arrays(), TINY.arrays(), strict=True))
    shapes = {"a.weight": (3, 4), "b.weight": (4,), "b.running_var": (4,), "b.num_batches_tracked": ()}
    values = workloads.weights(shapes)
    assert {name: value.shape for name, value in values.items()} == shapes
    assert (values["b.running_var"] > 0).all() and values["b.num_batches_tracked"] == 0
    assert (values["a.weight"] == workloads.weights({"a.weight": (3, 4)})["a.weight"]).all()


@pytest.mark.parametrize("fma", [True, False])
def test_the_loop_of_multiply_adds_stays_whole(fma: bool) -> None:
    """Chains that the compiler finds equal would become one, and the measured limit too high."""
    target = host() if fma and host().has_fma else replace(named("x86-64"), name="test")
    text = str(compile_module(machine.multiply_adds(4, 12, target), target, "ll"))
    loop = text[text.index("loop:") : text.index("done:")]
    assert loop.count("@llvm.fma" if target.has_fma else "fmul") == 12


def test_profiles_take_programs_apart() -> None:
    parts, whole = measure(TINY_TRAIN, 1, 0.005)
    assert 2 * 2 * 7 * 3 in [folded(part.launch.kernel.body) * part.launch.kernel.task.extent for part in parts]
    assert len(parts) > 1 and whole > 0 and all(part.seconds > 0 for part in parts)
    code, output = run("--profile", "--workload", "tiny", *QUICK)
    assert code == 0 and "dot_general" in output
