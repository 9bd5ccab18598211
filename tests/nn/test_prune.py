"""nn.utils.prune: masks, by numbers and against PyTorch's, and that training leaves what is pruned alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.errors import GraphcError
from graphc.nn.utils import prune

WEIGHT = np.array([[0.5, -0.1, 0.3], [-0.7, 0.2, -0.4]], np.float32)


def layer() -> nn.Linear:
    net = nn.Linear(3, 2)
    net.load_state_dict({"weight": WEIGHT, "bias": np.array([0.05, -0.6], np.float32)})
    return net


def weight(net: nn.Module) -> np.ndarray:
    return gc.compile(f=gc.function([], net.weight), threads=1).f()


def test_the_smallest_go_first_and_then_the_next() -> None:
    net = layer()
    assert prune.l1_unstructured(net, "weight", amount=2) is net
    np.testing.assert_array_equal(weight(net), np.float32([[0.5, 0, 0.3], [-0.7, 0, -0.4]]))
    prune.l1_unstructured(net, "weight", 0.5)  # of the four that are left
    np.testing.assert_array_equal(weight(net), np.float32([[0.5, 0, 0], [-0.7, 0, 0]]))
    assert list(net.state_dict()) == ["bias", "weight_orig", "weight_mask"]
    np.testing.assert_array_equal(net.weight_orig.initial, WEIGHT)


def test_several_parameters_are_pruned_as_one() -> None:
    net = nn.Sequential(layer(), layer())
    net[1].weight.initial = 10 * WEIGHT
    prune.global_unstructured([(net[0], "weight"), (net[1], "weight"), (net[0], "bias")], prune.L1Unstructured, amount=0.45)
    np.testing.assert_array_equal(net[0].weight_mask.initial, [[0, 0, 0], [1, 0, 0]])
    assert net[1].weight_mask.initial.all() and net[0].bias_mask.initial.tolist() == [0, 1]
    assert prune.is_pruned(net) and prune.is_pruned(net[0]) and not prune.is_pruned(nn.Sequential(layer()))


def test_scores_and_masks_may_be_given() -> None:
    net = prune.l1_unstructured(layer(), "weight", 3, importance_scores=np.arange(6).reshape(2, 3))
    assert net.weight_mask.initial.tolist() == [[0, 0, 0], [1, 1, 1]]
    prune.custom_from_mask(net, "weight", np.array([[True, True, True], [True, False, True]]))
    assert net.weight_mask.initial.tolist() == [[0, 0, 0], [1, 0, 1]]


def test_chance_follows_the_seed() -> None:
    masks = []
    for seed in (1, 1, 2):
        net = nn.Linear(20, 30)
        gc.manual_seed(seed)
        masks.append(prune.random_unstructured(net, "weight", 0.25).weight_mask.initial)
    assert all(mask.sum() == 450 for mask in masks)
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()


def test_training_leaves_zeros_and_moves_the_others() -> None:
    net = prune.l1_unstructured(layer(), "weight", 3)
    x, y = gc.placeholder((4, 3)), gc.placeholder((4, 2))
    loss = nn.functional.mse_loss(net(x), y)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    program = gc.compile(step=gc.function([x, y], loss, updates=optimizer.minimize(loss)), read=gc.function([], net.weight))
    rng = np.random.default_rng(0)
    before = program.read()
    for _ in range(3):
        program.step(*(rng.normal(size=t.shape).astype(np.float32) for t in (x, y)))
    after, mask = program.read(), program.state["weight_mask"]
    assert (after[mask == 0] == 0).all() and (after != before)[mask == 1].all() and mask.sum() == 3
    net.load_state_dict(program.state_dict(), strict=False)
    prune.remove(net, "weight")
    np.testing.assert_array_equal(net.weight.initial, after)


def test_removing_makes_a_parameter_again() -> None:
    net = prune.l1_unstructured(layer(), "weight", 2)
    twin = copy.deepcopy(net)
    left = weight(net)
    assert prune.remove(net, "weight") is net and not prune.is_pruned(net)
    assert list(net.state_dict()) == ["bias", "weight"] and isinstance(net.weight, nn.Parameter)
    np.testing.assert_array_equal(net.weight.initial, left)
    np.testing.assert_array_equal(weight(twin), left)
    twin.weight = nn.Parameter(WEIGHT)
    assert not prune.is_pruned(twin)


def test_whole_channels_go() -> None:
    net = prune.ln_structured(layer(), "weight", amount=1, n=2, dim=1)  # norms 0.86, 0.22, 0.5
    assert net.weight_mask.initial.tolist() == [[1, 0, 1], [1, 0, 1]]
    prune.ln_structured(net, "weight", amount=0.5, n=2, dim=-1)  # of the two that are left
    assert net.weight_mask.initial.tolist() == [[1, 0, 0], [1, 0, 0]]
    prune.random_structured(net, "weight", amount=1, dim=0)
    assert sorted(net.weight_mask.initial.tolist()) == [[0, 0, 0], [1, 0, 0]]
    assert prune.identity(layer(), "bias").bias_mask.initial.tolist() == [1, 1]


@pytest.mark.parametrize(("n", "dim", "amounts"), [(1, 0, (2, 0.5)), (2, 1, (0.4,)), (float("inf"), -1, (1, 1))])
def test_channels_are_those_of_torch(n: float, dim: int, amounts: tuple[float, ...]) -> None:
    torch = pytest.importorskip("torch")
    their = pytest.importorskip("torch.nn.utils.prune")
    theirs, ours = torch.nn.Conv2d(5, 6, 3), nn.Conv2d(5, 6, 3)
    ours.load_state_dict(theirs.state_dict())
    for amount in amounts:
        their.ln_structured(theirs, "weight", amount, n, dim)
        prune.ln_structured(ours, "weight", amount, n, dim)
    np.testing.assert_array_equal(ours.weight_mask.initial, theirs.weight_mask.numpy())


def test_masks_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    their = pytest.importorskip("torch.nn.utils.prune")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(48, 5))
    ours = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 5))
    ours.load_state_dict(theirs.state_dict())
    for net, lib in ((theirs, their), (ours, prune)):
        lib.l1_unstructured(net[0], "weight", amount=7)
        lib.global_unstructured([(net[0], "weight"), (net[2], "weight"), (net[2], "bias")], lib.L1Unstructured, amount=0.35)
        lib.l1_unstructured(net[2], "weight", amount=0.2)
    expected = {name: array.numpy() for name, array in theirs.state_dict().items()}
    state = ours.state_dict()
    assert list(state) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(state[name], array)
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 6)).astype(np.float32)
    image = gc.placeholder(x.shape)
    found = gc.compile(f=gc.function([image], ours(image))).f(x)
    np.testing.assert_allclose(found, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    for net, lib in ((theirs, their), (ours, prune)):
        for part, name in ((net[0], "weight"), (net[2], "weight"), (net[2], "bias")):
            lib.remove(part, name)
    for name, array in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], array.numpy())


REFUSED: list[tuple[str, Any]] = [
    ("no parameter 'kernel' of its own (it has weight, bias)", lambda: prune.l1_unstructured(layer(), "kernel", 1)),
    ("no parameter 'weight'", lambda: prune.l1_unstructured(nn.utils.weight_norm(layer()), "weight", 1)),
    ("the amount 7 must lie between 0 and 6, which are left", lambda: prune.l1_unstructured(layer(), "weight", 7)),
    ("the amount -1", lambda: prune.random_unstructured(layer(), "weight", -1)),
    ("the amount 1.5 must lie between 0 and 1.0", lambda: prune.random_unstructured(layer(), "weight", 1.5)),
    ("not 'all'", lambda: prune.l1_unstructured(layer(), "weight", "all")),
    ("got no parameters", lambda: prune.global_unstructured([], prune.L1Unstructured, amount=1)),
    ("such as prune.L1Unstructured", lambda: prune.global_unstructured([(layer(), "weight")], "l1", amount=1)),
    ("the mask of weight (2, 3) have shape (3, 2)", lambda: prune.custom_from_mask(layer(), "weight", np.ones((3, 2)))),
    ("the importance scores of weight", lambda: prune.l1_unstructured(layer(), "weight", 1, np.ones(6))),
    ("two or more dimensions, not of 2", lambda: prune.ln_structured(layer(), "weight", 1, 2, dim=2)),
    ("channels of bias (2,) are slices", lambda: prune.random_structured(layer(), "bias", 1, dim=0)),
    ("'weight' of Linear is not pruned", lambda: prune.remove(layer(), "weight")),
]


@pytest.mark.parametrize(("part", "action"), REFUSED, ids=[part for part, _ in REFUSED])
def test_refusals(part: str, action: Any) -> None:
    with pytest.raises(GraphcError) as caught:
        action()
    assert part in str(caught.value) and __file__ in str(caught.value)
