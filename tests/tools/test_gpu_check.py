"""The check on GPUs, on a machine that may have none: it judges, and it says what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

import gpu_check
import torch
from registry import COMPUTED, forward_graph


def test_a_right_program_is_judged_right_and_a_wrong_one_wrong() -> None:
    op = next(op for op in COMPUTED if op.name == "exp")
    sample = next(iter(op.samples()))
    graphs = [forward_graph("f0", op, sample)]
    right = gpu_check._judged("exp", "cpu", graphs, [sample.arrays], lambda n, results: None)
    assert right.right and right.numbers == {"samples": 1, "wrong": 0}

    def judge(n: int, results: list[np.ndarray]) -> None:
        np.testing.assert_array_equal(results[0], results[0] + 1)

    wrong = gpu_check._judged("exp", "cpu", graphs, [sample.arrays], judge)
    assert wrong.right is False and "sample 0" in wrong.said


def test_training_is_compared_with_the_cpu_and_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "STEPS", 20)
    file = tmp_path / "check.json"
    done = CliRunner().invoke(gpu_check.main, ["training", "--target", "cpu", "--seed", "3", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert [row["what"] for row in json.loads(file.read_text())["rows"]] == ["digits_mlp", "lenet"]


def test_products_are_judged_by_what_is_promised() -> None:
    tensors = [torch.randn(40, 30), torch.randn(30, 50)]
    result = (tensors[0].double() @ tensors[1].double()).numpy()
    rounded = result * (1 + 2.0**-9)
    assert gpu_check._is_as_promised(result.astype(np.float32), tensors, 0.0)
    assert gpu_check._is_as_promised(rounded, tensors, gpu_check.PRODUCT_ERRORS["bfloat16"])
    assert not gpu_check._is_as_promised(rounded, tensors, 0.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("arguments", ([], ["speed", "--target", "cpu"]), ids=str)
def test_without_a_gpu_it_says_so(arguments: list[str]) -> None:
    done = CliRunner().invoke(gpu_check.main, arguments)
    assert done.exit_code == 1 and "PyTorch finds no GPU here" in done.output
