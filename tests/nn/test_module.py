"""Modules: names of variables, traversal, modes, state, containers, initial values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import GraphcError, GraphError, ShapeError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4))

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return self.layers(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)})
        self.scale = nn.Parameter(np.ones(4, np.float32))

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        x = self.block(x) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x)


def names(module: nn.Module) -> list[str]:
    return [p.name for p in module.parameters()]


def test_variables_are_named_after_their_place() -> None:
    net = Net()
    assert names(net) == [name for name, _ in net.named_parameters()]
    assert names(net)[:3] == ["scale", "block.layers.0.weight", "block.layers.0.bias"]
    assert "blocks.1.layers.2.weight" in names(net) and "heads.b.bias" in names(net)
    assert [b.name for b in net.buffers()][:3] == [
        f"block.layers.2.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")
    ]


def test_names_follow_composition_before_and_after() -> None:
    inner = nn.Sequential(nn.Linear(2, 2))
    assert names(inner) == ["0.weight", "0.bias"]
    outer = nn.Module()
    outer.body = inner
    assert names(inner) == ["body.0.weight", "body.0.bias"]
    inner.append(nn.Linear(2, 2, bias=False))  # attached later: the path is known
    assert names(inner)[-1] == "body.1.weight"
    inner[1].extra = nn.Parameter(np.zeros(1, np.float32))
    assert names(outer)[-1] == "body.1.extra"


def test_a_shared_parameter_has_its_first_name_and_appears_once() -> None:
    net = nn.Module()
    net.embedding, net.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    net.head.weight = net.embedding.weight
    assert names(net) == ["embedding.weight"]
    assert list(net.state_dict()) == ["embedding.weight", "head.weight"]
    holder = nn.Sequential(net)
    assert names(holder) == ["0.embedding.weight"]


def test_optimiser_state_follows_the_name() -> None:
    layer = nn.Linear(2, 2, bias=False)
    momentum = layer.weight.derive("momentum_buffer", np.zeros((2, 2), np.float32))
    nn.Sequential(layer)
    assert momentum.name == "0.weight.momentum_buffer"


def test_traversal() -> None:
    net = Net()
    assert [name for name, _ in net.named_children()] == ["block", "blocks", "heads"]
    assert len(list(net.modules())) == 20 and next(iter(net.modules())) is net
    assert net.get_submodule("blocks.0.layers") is net.blocks[0].layers
    with pytest.raises(AttributeError, match="no module 'x'"):
        net.get_submodule("blocks.x")
    seen: list[nn.Module] = []
    assert net.apply(seen.append) is net and seen[-1] is net and len(seen) == 20


def test_attributes() -> None:
    net = Net()
    with pytest.raises(AttributeError, match="Net has no attribute 'missing'"):
        net.missing  # noqa: B018
    del net.scale
    assert "scale" not in dict(net.named_parameters()) and "block" in dir(net)
    net.block = 3
    assert net.block == 3 and "block" not in dict(net.named_children())
    layer = nn.Linear(2, 2)
    layer.bias = None
    assert layer.bias is None and names(layer) == ["weight"]
    layer.register_buffer("table", np.zeros(3, np.float32), persistent=False)
    assert layer.table.shape == (3,) and "table" not in layer.state_dict() and len(list(layer.buffers())) == 1

    class Late(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(GraphError, match=r"super\(\).__init__"):
        Late()
    with pytest.raises(GraphError, match="defines no forward"):
        nn.Module()(gc.zeros(1))
    with pytest.raises(GraphError, match="is no Module"):
        net.add_module("x", 3)  # type: ignore[arg-type]


def test_modes_reach_every_module() -> None:
    net = Net()
    x = gc.placeholder((3, 4))
    updates = [v for v in gc.function([x], net(x)).graph("f").values() if v.op.name == "update"]
    assert len(updates) == 9  # three batch norms with mean, variance and count
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert not [v for v in gc.function([x], net(x)).graph("f").values() if v.op.name == "update"]
    assert all(m.training for m in net.train().modules())


def test_state_goes_round_through_memory_and_file(tmp_path: Path) -> None:
    a, b = Net(), Net()
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert all((x == y).all() for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    gc.save_state(a.state_dict(), tmp_path / "net.safetensors")
    loaded = gc.load_state(tmp_path / "net.safetensors")
    assert {k: (v.shape, v.dtype) for k, v in loaded.items()} == {k: (v.shape, v.dtype) for k, v in a.state_dict().items()}
    for state, said in (({"w": "b"}, "'w' is 'b'"), ([1], "not list"), ({3: np.ones(1)}, "3 is array")):
        with pytest.raises(GraphcError, match=said):
            gc.save_state(state, tmp_path / "none")  # type: ignore[arg-type]
    with pytest.raises(GraphcError, match="cannot write"):
        gc.save_state(a.state_dict(), tmp_path / "none" / "net.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]
    (tmp_path / "bad").write_bytes(b"not a state")
    with pytest.raises(GraphcError, match="no safetensors file"):
        gc.load_state(tmp_path / "bad")


def test_a_state_is_a_copy() -> None:
    layer = nn.Linear(2, 2)
    layer.state_dict()["weight"][:] = 7
    assert not (layer.weight.initial == 7).any()


def test_states_that_do_not_match_change_nothing() -> None:
    layer, before = nn.Linear(2, 2), None
    before = layer.state_dict()
    with pytest.raises(nn.StateError, match=r"missing: bias; unexpected: extra.*strict=False"):
        layer.load_state_dict({"weight": np.ones((2, 2)), "extra": np.ones(1)})
    with pytest.raises(ShapeError, match=r"bias has shape \(2,\), the given array \(3,\)"):
        layer.load_state_dict({"weight": np.ones((2, 2)), "bias": np.ones(3)})
    assert all((before[k] == v).all() for k, v in layer.state_dict().items())
    assert layer.load_state_dict({"weight": np.ones((2, 2)), "extra": 0}, strict=False) == (["bias"], ["extra"])
    assert (layer.weight.initial == 1).all()
    with pytest.raises(nn.StateError, match=r"arrays by name.* not list"):
        layer.load_state_dict([1, 2])  # type: ignore[arg-type]
    with pytest.raises(nn.StateError, match="weight is 'abc', not an array"):
        layer.load_state_dict({"weight": "abc", "bias": np.ones(2)})
    with pytest.raises(GraphError, match="takes arrays"):
        layer.load_state_dict({"weight": gc.zeros(2, 2), "bias": np.ones(2)})


def test_containers() -> None:
    row = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.ReLU()})
    assert list(row.state_dict()) == ["first.weight", "first.bias"] and row[1] is row.second and row[-1] is row[1]
    row = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(row[:2]) == 2 and row[:2][0] is row[0]
    row[2] = nn.Linear(3, 5)
    assert row[2].out_features == 5
    row.insert(1, nn.Tanh())
    assert [type(m).__name__ for m in row] == ["Linear", "Tanh", "ReLU", "Linear"] and names(row)[-1] == "3.bias"
    del row[1]
    assert names(row)[-1] == "2.bias"
    with pytest.raises(IndexError, match="has 3 modules"):
        row[3]
    table = nn.ModuleDict({"a": nn.ReLU()})
    table["b"] = nn.Tanh()
    assert list(table) == ["a", "b"] and "b" in table and len(table) == 2 and len(list(table.items())) == 2
    del table["a"]
    assert list(table.keys()) == ["b"] and len(list(table.values())) == 1
    weights = nn.ParameterList([nn.Parameter(np.zeros(1, np.float32))] * 1)
    assert len(weights) == 1 and weights[0].name == "0"


def test_default_initial_values() -> None:
    gc.manual_seed(3)
    layers = {nn.Linear(400, 300): 400, nn.Conv2d(8, 100, 5): 200}
    for layer, fan in layers.items():
        bound = 1 / math.sqrt(fan)
        for variable in (layer.weight, layer.bias):
            assert abs(variable.initial).max() <= bound and abs(variable.initial).max() > 0.9 * bound
        assert layer.weight.initial.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert nn.Embedding(100, 100).weight.initial.std() == pytest.approx(1, rel=0.05)


def spread(fill: Any, shape: tuple[int, ...] = (300, 200)) -> float:
    return float(fill(nn.Parameter(np.zeros(shape, np.float32))).initial.std())


def test_distributions() -> None:
    init = nn.init
    assert spread(init.xavier_uniform_) == pytest.approx(math.sqrt(2 / 500), rel=0.03)
    assert spread(lambda v: init.xavier_normal_(v, 2.0)) == pytest.approx(2 * math.sqrt(2 / 500), rel=0.03)
    assert spread(lambda v: init.kaiming_normal_(v, nonlinearity="relu")) == pytest.approx(math.sqrt(2 / 200), rel=0.03)
    fan_out = spread(lambda v: init.kaiming_uniform_(v, mode="fan_out", nonlinearity="tanh"))
    assert fan_out == pytest.approx(5 / 3 / math.sqrt(300), rel=0.03)
    weight = init.trunc_normal_(nn.Parameter(np.zeros((50, 50))), 0.0, 1.0, -1.0, 1.0).initial
    assert abs(weight).max() <= 1 and weight.std() > 0.4
    sparse = init.sparse_(nn.Parameter(np.zeros((10, 4))), 0.3).initial
    assert ((sparse == 0).sum(0) == 3).all()


def test_structured_values() -> None:
    init = nn.init
    for shape in ((5, 3), (3, 5), (4, 2, 3)):
        q = init.orthogonal_(nn.Parameter(np.zeros(shape)), 2.0).initial.reshape(shape[0], -1)
        gram = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-9)
    assert (init.eye_(nn.Parameter(np.zeros((2, 3)))).initial == np.eye(2, 3)).all()
    assert init.dirac_(nn.Parameter(np.zeros((4, 2, 3, 3))), 2).initial[:, :, 1, 1].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert (init.ones_(nn.Parameter(np.zeros(2))).initial == 1).all() and (
        init.constant_(nn.Parameter([1.0]), 3).initial == 3
    ).all()
    for bad in (init.eye_, init.orthogonal_, init.dirac_, init.xavier_uniform_):
        with pytest.raises(ShapeError):
            bad(nn.Parameter(np.zeros(3)))
    with pytest.raises(GraphcError, match="fan_in"):
        init.kaiming_normal_(nn.Parameter(np.zeros((2, 2))), mode="fan")
    with pytest.raises(GraphcError, match="no gain is known"):
        init.calculate_gain("swish")


def test_other_dtypes() -> None:
    net = Net().to("float64")
    assert {v.dtype for v in net.state_dict().values()} == {np.dtype("float64"), np.dtype("int64")}
    assert names(net)[:2] == ["scale", "block.layers.0.weight"]
    assert nn.Linear(2, 2, dtype="bfloat16").weight.dtype is gc.bfloat16
