"""The layers that `models` uses, on JAX: just enough of PyTorch's names for the same models to be written once.

In: constructor arguments as in torch.nn. Out: modules with PyTorch's state_dict names; `torch_like` is the library that
builders get. Weights are attributes, so a traced function may put tracers in their place (`Module.load`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = Any


class Module:
    """Holds arrays and modules as attributes, in the order they were set."""

    training = False

    def forward(self, *inputs: Array) -> Array:
        raise NotImplementedError

    def __call__(self, *inputs: Array, **options: Any) -> Array:
        return self.forward(*inputs, **options)

    def variables(self, prefix: str = "") -> Iterator[tuple[Module, str, str]]:
        """(owner, attribute, qualified name) of every array."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.variables(f"{prefix}{name}.")
            elif isinstance(value, jax.Array):
                yield self, name, prefix + name

    def load(self, values: Mapping[str, Array]) -> None:
        for owner, attribute, name in list(self.variables()):
            setattr(owner, attribute, values[name])

    def train(self, mode: bool) -> None:
        self.training = mode
        for value in vars(self).values():
            if isinstance(value, Module):
                value.train(mode)


class Sequential(Module):
    def __init__(self, *layers: Module) -> None:
        self.layers = [str(i) for i in range(len(layers))]
        for name, layer in zip(self.layers, layers, strict=True):
            setattr(self, name, layer)

    def forward(self, x: Array) -> Array:
        for name in self.layers:
            x = getattr(self, name)(x)
        return x


class Linear(Module):
    def __init__(self, into: int, out: int) -> None:
        self.weight, self.bias = jnp.zeros((out, into)), jnp.zeros(out)

    def forward(self, x: Array) -> Array:
        return x @ self.weight.T + self.bias


class Embedding(Module):
    def __init__(self, count: int, width: int) -> None:
        self.weight = jnp.zeros((count, width))

    def forward(self, indices: Array) -> Array:
        return self.weight[indices]


class Conv2d(Module):
    def __init__(
        self, into: int, out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1, bias: bool = True
    ) -> None:
        self.stride, self.padding, self.groups = (stride, stride), [(padding, padding)] * 2, groups
        self.weight = jnp.zeros((out, into // groups, kernel, kernel))
        self.bias = jnp.zeros(out) if bias else None

    def forward(self, x: Array) -> Array:
        y = lax.conv_general_dilated(x, self.weight, self.stride, self.padding, feature_group_count=self.groups)
        return y if self.bias is None else y + self.bias[:, None, None]


class BatchNorm2d(Module):
    """Statistics of the batch in training; running ones otherwise, which are not updated."""

    def __init__(self, channels: int) -> None:
        self.weight, self.bias = jnp.zeros(channels), jnp.zeros(channels)
        self.running_mean, self.running_var = jnp.zeros(channels), jnp.zeros(channels)

    def forward(self, x: Array) -> Array:
        mean, var = (x.mean((0, 2, 3)), x.var((0, 2, 3))) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * lax.rsqrt(var + 1e-5)
        return x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]


class LayerNorm(Module):
    def __init__(self, width: int) -> None:
        self.weight, self.bias = jnp.zeros(width), jnp.zeros(width)

    def forward(self, x: Array) -> Array:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 1e-5) * self.weight + self.bias


class MaxPool2d(Module):
    def __init__(self, kernel: int, stride: int | None = None, padding: int = 0) -> None:
        self.window, self.strides = (1, 1, kernel, kernel), (1, 1, stride or kernel, stride or kernel)
        self.padding = [(0, 0), (0, 0), (padding, padding), (padding, padding)]

    def forward(self, x: Array) -> Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, self.window, self.strides, self.padding)


class AdaptiveAvgPool2d(Module):
    def __init__(self, size: int) -> None:
        assert size == 1, size

    def forward(self, x: Array) -> Array:
        return x.mean((2, 3), keepdims=True)


class LSTM(Module):
    """One layer in one direction, time first."""

    def __init__(self, into: int, hidden: int) -> None:
        self.weight_ih_l0, self.weight_hh_l0 = jnp.zeros((4 * hidden, into)), jnp.zeros((4 * hidden, hidden))
        self.bias_ih_l0, self.bias_hh_l0 = jnp.zeros(4 * hidden), jnp.zeros(4 * hidden)
        self.hidden = hidden

    def forward(self, x: Array) -> tuple[Array, tuple[Array, Array]]:
        def step(state: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = state
            i, f, g, o = jnp.split(row + h @ self.weight_hh_l0.T, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = jnp.zeros((x.shape[1], self.hidden))
        state, outputs = lax.scan(step, (start, start), x @ self.weight_ih_l0.T + self.bias_ih_l0 + self.bias_hh_l0)
        return outputs, state


def _layer(function: Any) -> type[Module]:
    """A module without weights that calls `function`."""
    return type("Layer", (Module,), {"forward": lambda self, x: function(x)})


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _attention(q: Array, k: Array, v: Array, is_causal: bool = False) -> Array:
    """Of (..., heads, positions, width)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2)
    if is_causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    return jax.nn.softmax(scores, -1) @ v


def _cross_entropy(logits: Array, labels: Array) -> Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits, -1), labels[:, None], -1)
    return -chosen.sum() / prod(labels.shape)


_FUNCTIONAL = SimpleNamespace(
    linear=lambda x, weight: x @ weight.T,
    softmax=jax.nn.softmax,
    gelu=_gelu,
    scaled_dot_product_attention=_attention,
    cross_entropy=_cross_entropy,
)
_LAYERS = (Module, Sequential, Linear, Embedding, Conv2d, BatchNorm2d, LayerNorm, MaxPool2d, AdaptiveAvgPool2d, LSTM)
_NN = SimpleNamespace(
    functional=_FUNCTIONAL,
    ReLU=_layer(jax.nn.relu),
    ReLU6=_layer(jax.nn.relu6),
    GELU=_layer(_gelu),
    Flatten=_layer(lambda x: x.reshape(x.shape[0], -1)),
    Identity=_layer(lambda x: x),
    **{layer.__name__: layer for layer in _LAYERS},
)
torch_like = SimpleNamespace(
    nn=_NN,
    matmul=jnp.matmul,
    permute=jnp.transpose,
    relu=jax.nn.relu,
    sigmoid=jax.nn.sigmoid,
    tanh=jnp.tanh,
    exp=jnp.exp,
    sqrt=jnp.sqrt,
    abs=jnp.abs,
)
