"""The benchmark: processes that agree, numbers that are complete, and errors that help. Nothing here asserts a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench import main
from benchmark import contest as contests
from benchmark import layers, machine, report, results, with_graphc, workloads
from benchmark.contest import FRAMEWORKS, missing
from benchmark.machine import Limits
from benchmark.prepared import CHANNELS_LAST
from benchmark.processes import Dead, Worker
from benchmark.profile import alike, measure
from benchmark.results import Contest, Entry
from click.testing import CliRunner

from graphc.codegen.llvm.build import compile_module
from graphc.codegen.target import host, named

TINY, TINY_TRAIN = workloads.named("tiny"), workloads.named("tiny_train")
QUICK = ["--threads", "1", "--rounds", "2", "--seconds", "0.005"]
LIMITS = [Limits(flops=2e9, bytes=1e9)] * 2


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
    assert document["machine"]["vector_bits"] > 0
    inference, training = document["results"]
    assert list(inference["frameworks"]) == installed
    assert list(training["frameworks"]) == [name for name in installed if FRAMEWORKS[name].trains]
    for result in (inference, training):
        assert len(result["limits"]) == 2 and all(each["flops"] > 0 < each["bytes"] for each in result["limits"])
        assert result["limit_ms"] > 0 and result["share_of_limit"] > 0
        assert (result["ratio"] is None) == (len(result["frameworks"]) == 1)
        for entry in result["frameworks"].values():
            assert not entry["error"], entry
            seconds = entry["seconds"]
            assert [len(seconds[clock]) for clock in results.CLOCKS] == [2, 2, 2]
            assert all(a <= b for a, b in zip(seconds["fastest"], seconds["wall"], strict=True))
            assert entry["ms"] > 0 and entry["facts"]["seconds"] > 0 and entry["facts"]["rss_peak"] > 0
        facts = result["frameworks"]["graphc"]["facts"]
        assert facts["arena_bytes"] >= facts["arena_lower_bound"]


def test_unknown_names_get_help() -> None:
    code, output = run("--workload", "lenett_b1", *QUICK)
    assert code == 2 and "did you mean 'lenet_b1'?" in output and "gemm_512_nn" in output
    code, output = run("--peers", "tensorflow", *QUICK)
    assert code == 2 and "onnxruntime" in output
    for threads in ("0", "two", "1,,2"):
        code, output = run("--threads", threads)
        assert code == 2 and "1,2" in output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--resume"], "--resume goes on with the file of --json"),
        (["--clock", "cpu", "--threads", "2"], "says nothing about several"),
        ([__file__], "files are for --merge"),
        (["--json", "no/such/out.json"], "there is no folder no/such"),
        (["--merge", __file__], "is no file of --json"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], problem: str) -> None:
    code, output = run(*arguments)
    assert code == 2 and problem in output


def test_patterns_choose_in_the_order_of_the_table() -> None:
    assert [w.name for w in workloads.chosen(["mlp_train", "mlp_b*"])] == ["mlp_b1", "mlp_b64", "mlp_train"]
    assert {"tiny", "tiny_train"}.isdisjoint(w.name for w in workloads.chosen(["*"]))
    assert workloads.chosen(["networks", "layers"]) == workloads.chosen(["*"])
    with pytest.raises(workloads.UnknownWorkload, match="no workload is called 'nothing\\*'"):
        workloads.chosen(["mlp*", "nothing*"])


def test_missing_packages_are_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch, quick_limits: None) -> None:
    monkeypatch.setitem(FRAMEWORKS, "openvino", contests.Framework("no_such_package"))
    code, output = run("--workload", "tiny", "--peers", "openvino", *QUICK)
    assert code == 0 and "openvino is left out: no_such_package is not installed" in output


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    worker = Worker("graphc", "", "no_such_workload", 1, tmp_path)
    with pytest.raises(Dead, match="no_such_workload"):
        worker.answer(60)
    worker.end()


def test_who_computes_something_else_is_not_timed() -> None:
    result = Contest(TINY, 1, LIMITS, {name: Entry(name) for name in ("graphc", "torch", "openvino")})
    right = np.array([1.0, 2.0], np.float32)
    contests._compare(result, {"graphc": [right * np.float32(1.00001)], "torch": [right], "openvino": [right + 1]})
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
    assert quiet.spread("wall") < results.NOISY < noisy.spread("wall")
    assert (quiet.noisy_rounds("wall"), noisy.noisy_rounds("wall")) == (1, 4)
    result = Contest(TINY, 1, LIMITS[:1] * 5, {"graphc": quiet, "torch": noisy})
    assert result.least_seconds() == [0.5] * 5 and result.share_of_limit("wall") == 0.5
    assert list(report._cells(result, ["torch"], "wall"))[:2] == ["1000.0", "~3000.0"]
    assert "torch: 67%" in report._caption([result], "wall") and "graphc:" not in report._caption([result], "wall")


def test_ratios_compare_rounds_side_by_side() -> None:
    """The machine was twice as slow in the second round, for everybody."""
    result = Contest(TINY, 1, LIMITS, {"graphc": Entry("graphc", [1.0, 2.0, 1.0]), "torch": Entry("torch", [3.0, 6.0, 3.0])})
    assert result.ratio("wall") == 3.0
    ours, limits = Entry("graphc", [1.0, 2.0], facts={"flops": 1e9}), [Limits(flops, 1.0) for flops in (2e9, 1e9)]
    assert Contest(TINY, 1, limits, {"graphc": ours}).share_of_limit("wall") == 0.5
    assert "behind" not in report._caption([result], "wall")
    assert Contest(TINY, 1, LIMITS, {"graphc": Entry("graphc", [1.0])}).ratio("wall") is None
    slow = Contest(TINY, 1, LIMITS, {"graphc": Entry("graphc", [4.0, 4.0]), "torch": Entry("torch", [2.0, 2.0])})
    assert "behind the best peer: tiny 0.50" in report._caption([slow], "wall")
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
    found = measure(TINY_TRAIN, 1, 0.005)
    parts = found.parts
    assert 2 * 2 * 7 * 3 in [part.folds for part in parts]
    assert len(parts) > 1 and found.seconds > 0 and all(part.seconds > 0 and part.bytes > 0 for part in parts)
    twice = alike([*parts, *parts])
    assert sum(map(len, twice)) == 2 * len(parts) and all(len(group) % 2 == 0 for group in twice)
    code, output = run("--profile", "--workload", "tiny", *QUICK)
    assert code == 0 and "dot_general" in output and "compiled in" in output


def rounds(name: str, seconds: float) -> Entry:
    return Entry(
        name,
        [seconds] * 2,
        [seconds] * 2,
        [seconds] * 2,
        {"seconds": 1.0, "cpu_seconds": 1.0, "arena_bytes": 8.0, "arena_lower_bound": 8.0},
    )


def test_runs_are_merged_and_the_last_counts(tmp_path: Path) -> None:
    first = [Contest(TINY, n, LIMITS, {"graphc": rounds("graphc", 1.0 / n), "torch": rounds("torch", 2.0)}) for n in (2, 1)]
    second = [Contest(TINY, 1, LIMITS, {"graphc": rounds("graphc", 4.0)}), Contest(TINY_TRAIN, 1, LIMITS, {})]
    files = [tmp_path / "first.json", tmp_path / "second.json"]
    for file, contests_ in zip(files, (first, second), strict=True):
        report.write(contests_, {"cpu": "one"}, "wall", file)
    read, machine_ = report.read(files[0])
    assert read == first and machine_ == {"cpu": "one"}
    assert len(files[0].read_text().splitlines()) == len(first) + 2  # a line each
    assert results.merged([*first, *second]) == [second[0], second[1], first[0]]
    together = tmp_path / "both.json"
    code, output = run("--merge", *map(str, files), "--json", str(together))
    assert code == 0 and "1 thread," in output and "2 threads," in output and "x 1 thread" in output
    assert "2 threads multiply 1.0 times as fast as 1" in output  # LIMITS are the same for both
    assert report._shortage(6.0, 4, 2.0) and not report._shortage(6.0, 4, 0.0) and not report._shortage(7.5, 4, 2.0)
    assert report.read(together)[0] == [second[0], second[1], first[0]]
    report.write(second, {"cpu": "another"}, "wall", files[1])
    code, output = run("--merge", *map(str, files))
    assert code == 2 and "different machines" in output


def test_resumed_runs_keep_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_limits: None) -> None:
    held: list[str] = []

    def hold(workload: workloads.Workload, threads: int, names: list[str], *_: object) -> Contest:
        held.append(workload.name)
        return Contest(workload, threads, LIMITS, {name: rounds(name, 1.0) for name in names})

    monkeypatch.setattr("bench.contest", hold)
    file = tmp_path / "out.json"
    arguments = ["--peers", "graphc", *QUICK, "--json", str(file), "--resume"]
    for workload in ("tiny", "tiny,tiny_train", "tiny"):
        code, output = run("--workload", workload, *arguments)
        assert code == 0
    assert held == ["tiny", "tiny_train"] and len(report.read(file)[0]) == 2
    assert "tiny_train" in output  # the table shows the whole file


def test_the_fastest_variant_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, variant: str) -> None:
            self.variant, self.ended = variant, False

        def answer(self, patience: float) -> dict[str, float]:
            if self.variant == "broken":
                raise Dead("no such layout")
            return {"seconds": len(self.variant)}

        def round(self, seconds: float, patience: float) -> dict[str, float]:
            return {"fastest": 1.0 if self.variant == CHANNELS_LAST else 2.0}

        def sleep(self) -> None: ...

        def end(self) -> None:
            self.ended = True

    started: list[Fake] = []

    def start(name: str, variant: str) -> Fake:
        started.append(Fake(variant))
        return started[-1]

    picture = replace(TINY, layout=workloads.FREE)
    entry = Entry("torch")
    best = contests._prepared(entry, picture, start, contests.Rules())  # type: ignore[arg-type]
    assert best is started[1] and entry.variant == CHANNELS_LAST and entry.facts == {"seconds": len(CHANNELS_LAST)}
    assert [fake.ended for fake in started] == [True, False] and not entry.error
    monkeypatch.setattr(contests.Framework, "variants", lambda self, workload: ("broken",))
    assert contests._prepared(entry, picture, start, contests.Rules()) is None and entry.error == "no such layout"  # type: ignore[arg-type]


def test_convolutions_are_those_of_the_networks() -> None:
    """Multiply-adds of the published networks: 1.8 and 4.1 thousand million (ResNet), 300 million (MobileNetV2)."""

    def work(convolutions: list[layers.Convolution]) -> float:
        return sum(c.out * (c.size // c.stride) ** 2 * c.into // c.groups * c.kernel**2 for c in convolutions) / 1e9

    mobile = list(layers._mobilenet_v2())
    assert work(mobile) == pytest.approx(0.3, rel=0.02) and len(mobile) == 52
    names = [layer.name for layer in layers.CONVOLUTIONS]
    assert len(set(names)) == len(names) and {"depthwise3x3_960_7", "conv1x1_64to256_56_b8", "conv7x7_3to64_224_s2"} < set(
        names
    )


def test_free_layouts_hold_the_same_numbers() -> None:
    layer = workloads.named("conv1x1_64to64_56")
    (free,), (given,) = layer.arrays(), with_graphc.given(layer)
    (plain,) = replace(layer, layout=workloads.FIRST).arrays()
    assert (free == plain).all() and not free.flags.c_contiguous
    assert given.flags.c_contiguous and (given == plain.transpose(workloads.TO_LAST)).all()
    net = with_graphc.build(layer)
    assert with_graphc.declare(layer, net).outputs[0].shape == (1, 56, 56, 64)
