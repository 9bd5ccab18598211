"""The networks of the examples against networks written here from torch's functions over a state with torchvision's keys.

What is called `layer1.0.downsample.1.running_var` and where it is used is said twice, here and in the examples, and both
must compute the same; the numbers of parameters are those that torchvision publishes with its weights.
"""

from __future__ import annotations

from math import prod
from typing import Any

import mobilenet
import numpy as np
import pytest
import resnet

import graphc as gc
from graphc import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional
State = dict[str, Any]

PUBLISHED = [
    (lambda: resnet.ResNet(*resnet.KINDS["resnet18"]), 11_689_512, 122),
    (lambda: resnet.ResNet(*resnet.KINDS["resnet34"]), 21_797_672, 218),
    (lambda: resnet.ResNet(*resnet.KINDS["resnet50"]), 25_557_032, 320),
    (lambda: mobilenet.MobileNetV2(), 3_504_872, 314),
]


@pytest.mark.parametrize(("build", "parameters", "entries"), PUBLISHED)
def test_the_whole_networks_have_the_published_size(build: Any, parameters: int, entries: int) -> None:
    net = build()
    assert sum(prod(p.shape) for p in net.parameters()) == parameters
    assert len(net.state_dict()) == entries


def conv_bn(state: State, conv: str, bn: str, x: Any, stride: int = 1, groups: int = 1) -> Any:
    """A convolution that keeps the size at stride 1, and batch norm by its running statistics."""
    weight = state[f"{conv}.weight"]
    x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)
    mean, var, scale, shift = (state[f"{bn}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, scale, shift, False)


def resnet_forward(state: State, x: Any, layers: tuple[int, ...], convolutions: int) -> Any:
    """torchvision's ResNet; the stride is that of the 3 x 3 convolution of a bottleneck."""
    x = F.max_pool2d(F.relu(conv_bn(state, "conv1", "bn1", x, 2)), 3, 2, 1)
    for stage, count in enumerate(layers, 1):
        for block in range(count):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = x
            for number in range(1, convolutions + 1):
                own = stride if number == convolutions - 1 else 1
                y = conv_bn(state, f"{at}.conv{number}", f"{at}.bn{number}", y, own)
                y = F.relu(y) if number < convolutions else y
            if f"{at}.downsample.0.weight" in state:
                x = conv_bn(state, f"{at}.downsample.0", f"{at}.downsample.1", x, stride)
            x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def mobilenet_forward(state: State, x: Any) -> Any:
    """torchvision's MobileNetV2: 19 features, of which 17 are inverted residuals."""
    strides = {2: 2, 4: 2, 7: 2, 14: 2}
    x = F.relu6(conv_bn(state, "features.0.0", "features.0.1", x, 2))
    for number in range(1, 18):
        at, y = f"features.{number}.conv", x
        if number > 1:
            y = F.relu6(conv_bn(state, f"{at}.0.0", f"{at}.0.1", y))
        deep, last = (0, 1) if number == 1 else (1, 2)
        y = F.relu6(conv_bn(state, f"{at}.{deep}.0", f"{at}.{deep}.1", y, strides.get(number, 1), y.shape[1]))
        y = conv_bn(state, f"{at}.{last}", f"{at}.{last + 1}", y)
        x = x + y if x.shape == y.shape else y
    x = F.relu6(conv_bn(state, "features.18.0", "features.18.1", x))
    return F.linear(x.mean((2, 3)), state["classifier.1.weight"], state["classifier.1.bias"])


def random_state(net: nn.Module) -> dict[str, np.ndarray]:
    """Statistics and scales as after a training, where those of a new network are zeros and ones."""
    rng = np.random.default_rng(0)
    state = net.state_dict()
    for name, array in state.items():
        if name.endswith(("running_mean", "bias")):
            state[name] = rng.normal(0, 0.1, array.shape).astype(array.dtype)
        elif name.endswith("running_var") or array.ndim == 1:
            state[name] = rng.uniform(0.5, 1.5, array.shape).astype(array.dtype)
    return state


CASES = {
    "resnet18": (
        lambda: resnet.ResNet(*resnet.KINDS["resnet18"], num_classes=7, width=8),
        lambda state, x: resnet_forward(state, x, (2, 2, 2, 2), 2),
    ),
    "resnet50": (
        lambda: resnet.ResNet(*resnet.KINDS["resnet50"], num_classes=7, width=4),
        lambda state, x: resnet_forward(state, x, (3, 4, 6, 3), 3),
    ),
    "mobilenet": (lambda: mobilenet.MobileNetV2(7, 0.25), mobilenet_forward),
}


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_state_predicts_what_it_does_in_torch(name: str) -> None:
    build, theirs = CASES[name]
    net = build()
    state = random_state(net)
    assert net.load_state_dict(state) == ([], [])
    net.eval()
    x = gc.placeholder((2, 3, 45, 64), gc.float32, name="x")
    program = gc.compile(predict=gc.function([x], net(x)))
    images = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    with torch.no_grad():
        expected = theirs({key: torch.tensor(array) for key, array in state.items()}, torch.tensor(images)).numpy()
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(program.predict(images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
