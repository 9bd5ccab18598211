"""The check on a GPU, as far as it goes without one: nothing that fails or hangs keeps the rest from being looked at."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from gpu_check import _tried, run_part


def test_a_part_that_takes_too_long_is_given_up() -> None:
    (row,) = run_part("training", "cpu", 0, 0.2)
    assert row.right is False and row.said == "not done after 0 s"


def test_a_part_that_breaks_down_is_told() -> None:
    (row,) = run_part("speed", "cpu", 0, 100)
    assert row.right is False and "ended with 1: Error: PyTorch finds no GPU" in row.said


def test_a_row_that_fails_is_a_row() -> None:
    row = _tried("speed", "gemm", lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    assert (row.part, row.what, row.right) == ("speed", "gemm", False) and row.said.startswith("ZeroDivisionError: ")
