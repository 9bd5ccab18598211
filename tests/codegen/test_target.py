"""Descriptions of machines: names, the host, and caches that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc.codegen import target
from graphc.codegen.target import host, named
from graphc.dtype import float16, float32, float64, uint8
from graphc.errors import CompileError


def test_named_targets_say_what_they_load_under_masks() -> None:
    assert [named("x86-64-v4").has_masks(dtype) for dtype in (float64, float32, uint8)] == [True, True, True]
    assert [named("x86-64-v3").has_masks(dtype) for dtype in (float64, float32, uint8)] == [True, True, False]
    assert not named("x86-64-v2").has_masks(float32) and not named("aarch64").has_masks(float32)


def test_named_targets_count_their_lanes() -> None:
    assert named("x86-64").lanes(float32) == 4
    assert named("x86-64-v3").lanes(float64) == 4
    assert named("x86-64-v4").lanes(float16) == 32
    assert named("aarch64").arch == "aarch64"


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(CompileError, match=r"'z80' is no target; expected cpu or one of x86-64, .*wasm32"):
        named("z80")


def test_the_host_is_one_of_the_family_it_belongs_to() -> None:
    assert named("cpu") is named("host") is host()
    assert host().vector_bits >= 128 and host().cpu and host().l1_bytes >= 1 << 12
    assert host().vector_bits < 512 or host().features.endswith("-prefer-256-bit")


def test_processors_get_the_registers_they_have() -> None:
    avx512 = dict.fromkeys(("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"), True)
    assert target._generic("x86_64", avx512).vector_bits == 512
    assert target._generic("x86_64", avx512 | {"avx512vl": False}).vector_bits == 256
    assert target._generic("x86_64", {"avx2": True, "fma": False}).vector_bits == 128
    assert target._generic("arm64", {}).vector_registers == 32
    assert target._generic("s390x", {}).vector_bits == 128


def test_rates_of_caches_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu, faster in (("znver5", True), ("x86-64-v3", False)):
        monkeypatch.setattr(target.llvm, "get_host_cpu_name", lambda cpu=cpu: cpu)
        found, usual = host.__wrapped__(), named("x86-64-v3")
        assert (found.beyond_l2 > usual.beyond_l2, found.stream < usual.stream) == (faster, faster)


def test_caches_are_read_and_fall_back(tmp_path: Path) -> None:
    for name, parts in (
        ("index0", ("Instruction", "1", "32K")),
        ("index1", ("Data", "1", "48K")),
        ("index2", ("Unified", "2", "2M")),
    ):
        (tmp_path / name).mkdir()
        for part, text in zip(("type", "level", "size"), parts, strict=True):
            (tmp_path / name / part).write_text(text + "\n")
    assert target._cache_bytes(1, 7, str(tmp_path)) == 48 << 10
    assert target._cache_bytes(2, 7, str(tmp_path)) == 2 << 20
    assert target._cache_bytes(3, 7, str(tmp_path)) == 7
    (tmp_path / "index1" / "size").write_text("lots")
    assert target._cache_bytes(1, 7, str(tmp_path)) == 7
