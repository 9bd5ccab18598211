"""Checkpoints: exact, atomic, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import graphc as gc
from graphc.errors import CallError, GraphcError
from graphc.train import atomic, load_checkpoint, save_checkpoint
from graphc.train.checkpoint import KEY


class Variables:
    """What checkpoints want of a program."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays = dict(arrays)

    def state_dict(self) -> Mapping[str, np.ndarray]:
        return self.arrays

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        if {n: v.shape for n, v in values.items()} != {n: v.shape for n, v in self.arrays.items()}:
            raise CallError("the state does not fit")
        self.arrays = dict(values)


def example() -> Variables:
    rng = np.random.default_rng(0)
    return Variables(
        weight=rng.standard_normal((3, 5)).astype(np.float32).T,  # not contiguous
        half=rng.standard_normal(7).astype(ml_dtypes.bfloat16),
        f16=rng.standard_normal(2).astype(np.float16),
        f64=np.array([np.nan, np.inf, -0.0]),
        counter=np.array(2**62 + 1),
        flags=np.array([True, False]),
        none=np.zeros((0, 4), np.int8),
    )


def damage(path: Path, header: Any, data: bytes = bytes(16)) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tensor(*shape: int, at: tuple[int, int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(at)}


def test_every_bit_comes_back(tmp_path: Path) -> None:
    path, variables = tmp_path / "a.safetensors", example()
    meta = {"step": 3, "rows": [{"loss": 0.1, "worst": float("nan")}], "text": "\u00e4\n"}
    save_checkpoint(path, variables, meta)
    found = load_checkpoint(path)
    assert found.meta["rows"][0]["loss"] == 0.1 and found.meta["text"] == "\u00e4\n" and found.path == path
    for name, array in variables.arrays.items():
        assert found.state[name].dtype == array.dtype and found.state[name].shape == array.shape
        assert found.state[name].tobytes() == array.tobytes(), name
    other = Variables(**{name: np.zeros_like(array) for name, array in variables.arrays.items()})
    found.restore(other)
    assert other.arrays["counter"] == 2**62 + 1
    contents = path.read_bytes()
    save_checkpoint(path, variables, meta)
    assert path.read_bytes() == contents and os.listdir(tmp_path) == ["a.safetensors"]
    assert load_file(path)["weight"].shape == (5, 3)  # a safetensors file like any other


def test_a_checkpoint_of_another_program(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", example())
    with pytest.raises(GraphcError, match="of another program: the state does not fit"):
        load_checkpoint(tmp_path / "a").restore(Variables(weight=np.zeros(3)))
    x = gc.placeholder((2,), gc.float32, name="x")
    total = gc.variable(np.zeros(2, np.float32), name="total")
    program = gc.compile(add=gc.function([x], total + x, updates={total: total + x}))
    save_checkpoint(tmp_path / "b", Variables(total=np.zeros(3, np.float32), seed=np.array(0)))
    with pytest.raises(GraphcError, match=r"'total': expected float32\[2\], got float32\[3\]"):
        load_checkpoint(tmp_path / "b").restore(program)


def test_every_cut_and_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, Variables(a=np.arange(6, dtype=np.float32)), {"step": 1})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(GraphcError, match=r"run\.safetensors"):
            load_checkpoint(path)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            found = load_checkpoint(path)
        except GraphcError as error:
            assert "run.safetensors" in str(error)
        else:  # spaces after the header may be anything that JSON allows
            assert (found.state["a"] == np.arange(6)).all() and found.meta == {"step": 1}


BAD = {
    "huge header": (lambda p: p.write_bytes(struct.pack("<Q", 1 << 60) + b"{}"), "absurd size"),
    "large header": (lambda p: p.write_bytes(struct.pack("<Q", 200 << 20) + b"{}"), "absurd size"),
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"weight": list(range(99))})), "pickled files"),
    "empty": (lambda p: p.write_bytes(b""), "truncated"),
    "no json": (lambda p: damage(p, b"{nope"), "header is damaged"),
    "no text": (lambda p: damage(p, b"\xff\xfe{}"), "header is damaged"),
    "overlapping": (lambda p: damage(p, {"a": tensor(2, at=(0, 8)), "b": tensor(3, at=(4, 16))}), "overlap"),
    "gap": (lambda p: damage(p, {"a": tensor(2, at=(0, 8)), "b": tensor(1, at=(12, 16))}), "leave gaps"),
    "outside": (lambda p: damage(p, {"a": tensor(2, at=(0, 8)), "b": tensor(4, at=(8, 24))}), "truncated"),
    "more": (lambda p: damage(p, {"a": tensor(2, at=(0, 8))}), "belong to no tensor"),
    "shape": (lambda p: damage(p, {"a": tensor(5, at=(0, 16))}), "does not fit its bytes"),
    "negative": (lambda p: damage(p, {"a": tensor(-4, at=(0, 16))}), "header is damaged"),
    "overflow": (lambda p: damage(p, {"a": tensor(1 << 40, 1 << 40, at=(0, 16))}), "absurdly large"),
    "type": (lambda p: damage(p, {"a": tensor(16, at=(0, 16), dtype="F8_E4M3")}), "F8_E4M3, which no variable has"),
    "deep": (lambda p: damage(p, b"[" * 100_000), "damaged"),
    "a plain state": (lambda p: save_file({"a": np.zeros(2)}, p), "no checkpoint of a training"),
    "no label": (lambda p: save_file({"a": np.zeros(2)}, p, {KEY: "[]"}), "no checkpoint of a training"),
    "newer": (lambda p: save_file({"a": np.zeros(2)}, p, {KEY: '{"version": 9, "digest": "", "meta": "{}"}'}), "version 9"),
    "forged": (lambda p: save_file({"a": np.zeros(2)}, p, {KEY: '{"version": 1, "digest": "", "meta": "{}"}'}), "digest"),
    "missing": (lambda p: None, "cannot read"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    make(tmp_path / "bad.safetensors")
    with pytest.raises(GraphcError, match=message) as caught:
        load_checkpoint(tmp_path / "bad.safetensors")
    assert "bad.safetensors" in str(caught.value)


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, example(), {"step": 1})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(GraphcError, match=r"cannot write .*a\.safetensors: No space left"):
        save_checkpoint(path, example(), {"step": 2})
    assert load_checkpoint(path).meta == {"step": 1} and os.listdir(tmp_path) == ["a.safetensors"]
    with pytest.raises(GraphcError, match="cannot write"):
        save_checkpoint(tmp_path / "no" / "such", example())
    with pytest.raises(GraphcError, match="JSON"):
        save_checkpoint(path, example(), {"step": np.zeros(2)})
