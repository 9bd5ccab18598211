"""Files of torch.save: read as arrays, and refused whenever they hold anything but tensors."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import GraphcError

torch = pytest.importorskip("torch")


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def forged(path: Path, payload: bytes, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        for name, data in entries.items():
            archive.writestr(f"archive/data/{name}", data)
    return path


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


class Pickler(pickle.Pickler):
    """Writes what it is given in place of storages."""

    def persistent_id(self, value: Any) -> Any:
        return value.pid if isinstance(value, Storage) else None


class Storage:
    def __init__(self, *pid: Any) -> None:
        self.pid = pid


def tensor_pickle(offset: Any, size: Any, stride: Any, count: Any = 4, key: Any = "0", kind: Any = torch.FloatStorage) -> bytes:
    buffer = io.BytesIO()
    storage = Storage("storage", kind, key, "cpu", count)
    Pickler(buffer, 2).dump({"w": Calls(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})})
    return buffer.getvalue()


def test_every_dtype_and_layout_comes_back(tmp_path: Path) -> None:
    state = {
        str(kind): torch.arange(12).reshape(3, 4).to(kind)
        for kind in (torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8,
                     torch.uint8, torch.bool)
    }  # fmt: skip
    state |= {"turned": torch.arange(6.0).reshape(2, 3).t(), "part": torch.arange(9.0)[2:7:2], "scalar": torch.tensor(3.0)}
    state |= {"empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(torch.ones(2))}
    found = gc.load_state(saved(tmp_path / "state.pth", state))
    assert list(found) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.detach().numpy())
        assert found[name].dtype == tensor.detach().numpy().dtype
    half = gc.load_state(saved(tmp_path / "half.pth", {"b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}))["b"]
    assert half.dtype == gc.bfloat16.numpy and half.astype(float).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_a_network_loads_from_the_path(tmp_path: Path, layer: str) -> None:
    theirs, ours = getattr(torch.nn, layer)(3, 4, 2), getattr(nn, layer)(3, 4, 2)
    ours.load_state_dict(saved(tmp_path / "net.pth", theirs.state_dict()))
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, theirs.state_dict()[name].numpy())
    gc.save_state(ours.state_dict(), tmp_path / "net.safetensors")
    again = getattr(nn, layer)(3, 4, 2)
    assert again.load_state_dict(tmp_path / "net.safetensors") == ([], [])


def test_one_entry_of_a_checkpoint(tmp_path: Path) -> None:
    path = saved(tmp_path / "all.pth", {"model": {"w": torch.ones(2)}, "epoch": 3})
    assert gc.load_state(path, entry="model")["w"].tolist() == [1, 1]
    with pytest.raises(GraphcError, match=r"entry=.*'model'"):
        gc.load_state(path)
    with pytest.raises(GraphcError, match="no entry 'net'"):
        gc.load_state(path, entry="net")


def test_code_never_runs(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    for function, argument in ((os.system, f"touch {victim}"), (eval, f"open({str(victim)!r}, 'w')")):
        path = saved(tmp_path / "evil.pth", {"w": Calls(function, argument)})
        with pytest.raises(GraphcError, match="is not the data of a tensor"):
            gc.load_state(path)
        assert not victim.exists()


@pytest.mark.parametrize(
    "module", [torch.nn.Linear(2, 2), torch.device("cpu"), torch.Size([2])], ids=lambda m: type(m).__name__
)
def test_objects_are_refused(tmp_path: Path, module: Any) -> None:
    with pytest.raises(GraphcError, match=r"refused|not a state_dict"):
        gc.load_state(saved(tmp_path / "module.pth", module))


@pytest.mark.parametrize(
    "part, arguments",
    [
        ("beyond its storage", (0, (5,), (1,))),
        ("beyond its storage", (2, (3,), (1,))),
        ("beyond its storage", (0, (2, 2), (4, 1))),
        ("beyond its storage", (0, (1 << 40,), (0,))),
        ("whole numbers", (-1, (2,), (1,))),
        ("whole numbers", (0, (2,), (-1,))),
        ("whole numbers", (0, (2,), (1, 1))),
        ("whole numbers", (0, [2], (1,))),
        ("need more", (0, (2,), (1,), 1 << 40)),
        ("no key or no size", (0, (2,), (1,), -1)),
        ("no key or no size", (0, (2,), (1,), 4, 7)),
        ("damaged", (0, (2,), (1,), 4, "missing")),
        ("no storage", (0, (2,), (1,), 4, "0", "float")),
    ],
)  # fmt: skip
def test_impossible_tensors_are_refused(tmp_path: Path, part: str, arguments: tuple[Any, ...]) -> None:
    good = forged(tmp_path / "good.pth", tensor_pickle(1, (2,), (2,)), **{"0": np.arange(4, dtype=np.float32).tobytes()})
    assert gc.load_state(good)["w"].tolist() == [1, 3]
    path = forged(tmp_path / "bad.pth", tensor_pickle(*arguments), **{"0": bytes(16)})
    with pytest.raises(GraphcError, match=part):
        gc.load_state(path)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pth", {"w": torch.arange(100.0)}).read_bytes()
    path = tmp_path / "part.pth"
    for size in (6, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(GraphcError, match="damaged"):
            gc.load_state(path)
    path.write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(GraphcError, match="bare pickle"):
        gc.load_state(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1000))
    with pytest.raises(GraphcError, match="compressed"):
        gc.load_state(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something", b"else")
    with pytest.raises(GraphcError, match=r"no data\.pkl"):
        gc.load_state(path)


@pytest.mark.parametrize("header", [b"", b"{", (1 << 60).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"])
def test_damaged_safetensors_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(header)
    with pytest.raises(GraphcError, match="no safetensors file"):
        gc.load_state(path)


def test_near_misses_are_named() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(nn.StateError, match=r"0\.weight may be what is called 0\.weights there"):
        net.load_state_dict({"0.weights": np.zeros((2, 2)), "0.bias": np.zeros(2)})


def test_no_length_of_a_header_makes_safetensors_a_pickle(tmp_path: Path) -> None:
    path, first = tmp_path / "x.safetensors", set()
    for length in range(0, 256, 8):  # headers are padded to multiples of 8
        gc.save_state({"w" * (length + 1): np.arange(3)}, path)
        first.add(path.read_bytes()[0])
        assert gc.load_state(path)["w" * (length + 1)].tolist() == [0, 1, 2]
    assert 0x80 in first
