"""Training from a PyTorch state on real digits: the compiled step follows PyTorch's losses, whatever the optimiser.

Both sides start from one state_dict and see the same batches; nothing is copied between them afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import digits_mlp
import lenet
import numpy as np
import overview
import pytest

import graphc as gc
from graphc import data, nn, optim
from graphc.runtime.program import Program

torch = pytest.importorskip("torch")

STEPS = 100
BATCH = 32
TOLERANCE = 1e-4

Optimizer = Callable[[Any, Any], Any]  # (torch.optim or graphc.optim, parameters) -> optimiser

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": lambda room, p: room.SGD(p, lr=0.05),
    "momentum": lambda room, p: room.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-4),
    "adam": lambda room, p: room.Adam(p, lr=1e-3),
    "rmsprop": lambda room, p: room.RMSprop(p, lr=1e-3),
}
# Rounding that tips one maximum of a pooling window over sends two trainings apart: at the steps above, PyTorch's float32
# losses of LeNet leave its own float64 losses. So LeNet is held to them in float64; in float32 it is held to smaller steps,
# where one of three starts may still be torn apart so.
CALM: dict[str, Optimizer] = {
    "sgd": lambda room, p: room.SGD(p, lr=0.03),
    "momentum": lambda room, p: room.SGD(p, lr=0.005, momentum=0.9, weight_decay=1e-4),
    "adam": lambda room, p: room.Adam(p, lr=1e-4),
    "rmsprop": lambda room, p: room.RMSprop(p, lr=5e-5),
}


def torch_mlp() -> Any:
    """With the names of digits_mlp.Net."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = torch.nn.Linear(784, 128), torch.nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            return self.fc2(torch.relu(self.fc1(x.flatten(1))))

    return Net()


def torch_lenet() -> Any:
    """With the names of lenet.LeNet."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = torch.nn.Conv2d(1, 6, 5), torch.nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = (torch.nn.Linear(i, o) for i, o in ((400, 120), (120, 84), (84, 10)))

        def forward(self, x: Any) -> Any:
            pool = torch.nn.functional.max_pool2d
            x = pool(torch.relu(self.conv2(pool(torch.relu(self.conv1(x)), 2))), 2).flatten(1)
            return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))

    return Net()


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any], int]] = {
    "mlp": (digits_mlp.Net, torch_mlp, 28),
    "lenet": (lenet.LeNet, torch_lenet, 32),
}


def batches(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """STEPS shuffled batches of normalised digits."""
    normalize = data.transforms.Normalize(0.5, 0.5)
    plain = data.Digits(train=True, size=size)
    loader = data.DataLoader(data.TensorDataset(normalize(plain.arrays[0]), plain.arrays[1]), BATCH, shuffle=True, seed=0)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    while len(found) < STEPS:
        found += list(loader)
    return found[:STEPS]


def torch_losses(network: Any, optimizer: Optimizer, samples: Any, dtype: Any) -> np.ndarray:
    steps = optimizer(torch.optim, network.parameters())
    result = []
    for images, labels in samples:
        steps.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(torch.from_numpy(images).to(dtype)), torch.from_numpy(labels))
        loss.backward()
        steps.step()
        result.append(loss.item())
    return np.array(result)


def graphc_program(net: nn.Module, optimizer: Optimizer, shape: tuple[int, ...], dtype: gc.DType) -> Program:
    x = gc.placeholder(shape, dtype, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    updates = optimizer(optim, net.parameters()).minimize(loss)
    return gc.compile(train_step=gc.function([x, y], loss, updates=updates))


def distances(network: str, optimizer: Optimizer, dtype: str, starts: int = 1) -> list[float]:
    """The largest relative difference between losses, for each of several PyTorch states to start from."""
    ours, theirs, size = NETWORKS[network]
    samples = batches(size)
    net = ours().to(dtype)
    program = graphc_program(net, optimizer, samples[0][0].shape, getattr(gc, dtype))
    fresh = program.state_dict()
    result = []
    for seed in range(starts):
        torch.manual_seed(seed)
        reference = theirs().to(getattr(torch, dtype))
        state = {name: value.numpy() for name, value in reference.state_dict().items()}
        program.load_state_dict({**fresh, **state})
        losses = np.array([float(program.train_step(images.astype(dtype), labels)) for images, labels in samples])
        expected = torch_losses(reference, optimizer, samples, getattr(torch, dtype))
        assert expected.min() < expected[0] - 0.02, "nothing was learned, so nothing was compared"
        result.append(float(abs(losses / expected - 1).max()))
    return result


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("network", "dtype"), [("mlp", "float32"), ("mlp", "float64"), ("lenet", "float64")])
def test_losses_follow_pytorch(network: str, dtype: str, optimizer: str) -> None:
    assert max(distances(network, OPTIMIZERS[optimizer], dtype)) < TOLERANCE


@pytest.mark.parametrize("optimizer", CALM)
def test_losses_of_lenet_follow_pytorch_in_float32(optimizer: str) -> None:
    assert sorted(distances("lenet", CALM[optimizer], "float32", starts=3))[1] < TOLERANCE


def test_a_module_starts_from_a_pytorch_state() -> None:
    reference, net = torch_lenet(), lenet.LeNet()
    net.load_state_dict(reference.state_dict())
    assert [p.name for p in net.parameters()] == list(reference.state_dict())
    for name, value in reference.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value.numpy())


def torch_pictures(network: str) -> Any:
    """The twins of overview.Regressor and overview.TwoConvolutions."""

    class Regressor(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(1, 32, 3, 1), torch.nn.Linear(32 * 15 * 15, 10)

        def forward(self, x: Any) -> Any:
            return self.fc(torch.nn.functional.max_pool2d(torch.relu(self.conv(x)), 2).flatten(1))

    class TwoConvolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = torch.nn.Conv2d(1, 20, 5), torch.nn.Conv2d(20, 20, 5)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.conv2(torch.relu(self.conv1(x))))

    return {"Regressor": Regressor, "TwoConvolutions": TwoConvolutions}[network]()


@pytest.mark.parametrize("network", ["Regressor", "TwoConvolutions"])
def test_networks_of_the_tour_follow_pytorch(network: str) -> None:
    torch.manual_seed(0)
    reference, net = torch_pictures(network), getattr(overview, network)()
    net.load_state_dict(reference.state_dict())
    losses = overview.fit_noise(net, steps=10, batch=8)
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.normal(size=(8, 1, 32, 32)).astype(np.float32))
    target = torch.from_numpy(generator.normal(size=tuple(reference(images).shape)).astype(np.float32))
    steps = torch.optim.SGD(reference.parameters(), lr=overview.NOISE_LR)
    expected = []
    for _ in losses:
        steps.zero_grad()
        value = torch.nn.functional.mse_loss(reference(images), target)
        value.backward()
        steps.step()
        expected.append(value.item())
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE)
