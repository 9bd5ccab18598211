"""Recurrent layers: RNN, LSTM, GRU, and their cells.

In: sequences (L, N, H), (N, L, H) with batch_first, or (L, H); sizes. Out: modules with PyTorch's parameter names, whose
time is unrolled in the graph. The products with the inputs of all time steps are one product before the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import GraphcError, ShapeError
from ..ir.location import here
from ..tensor import Tensor, cat, stack
from ..tensor.creation import zeros
from . import functional, init
from .linear import empty
from .module import Module

State = tuple[Tensor, ...]


def _rnn_tanh(x: Tensor, h: Tensor, state: State) -> State:
    return ((x + h).tanh(),)


def _rnn_relu(x: Tensor, h: Tensor, state: State) -> State:
    return ((x + h).relu(),)


def _lstm(x: Tensor, h: Tensor, state: State) -> State:
    """Gates in PyTorch's order: input, forget, cell, output."""
    i, f, g, o = (x + h).chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _gru(x: Tensor, h: Tensor, state: State) -> State:
    """Gates in PyTorch's order: reset, update, new."""
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), h.chunk(3, -1)
    reset, update = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    new = (xn + reset * hn).tanh()
    return ((1 - update) * new + update * state[0],)


_STEPS: dict[str, tuple[int, int, Callable[[Tensor, Tensor, State], State]]] = {  # kind -> (gates, states, step)
    "tanh": (1, 1, _rnn_tanh),
    "relu": (1, 1, _rnn_relu),
    "lstm": (4, 2, _lstm),
    "gru": (3, 1, _gru),
}


def _add_weights(module: Module, kind: str, into: int, hidden: int, bias: bool, suffix: str, dtype: Any) -> None:
    gates, bound = _STEPS[kind][0], 1 / math.sqrt(max(hidden, 1))
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates * hidden, into), "weight_hh": (gates * hidden, hidden)}
    if bias:
        shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
    for name, shape in shapes.items():
        setattr(module, name + suffix, init.uniform_(empty(shape, dtype), -bound, bound))


def _project(module: Module, which: str, x: Tensor, suffix: str) -> Tensor:
    bias = getattr(module, f"bias_{which}{suffix}", None)
    return functional.linear(x, getattr(module, f"weight_{which}{suffix}"), bias)


class _Cell(Module):
    kind = ""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = "float32") -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        _add_weights(self, self.kind, input_size, hidden_size, bias, "", dtype)

    def _step(self, x: Tensor, state: Any) -> State:
        count, step = _STEPS[self.kind][1:]
        if state is None:
            state = tuple(zeros((*x.shape[:-1], self.hidden_size), dtype=x.dtype) for _ in range(count))
        states = state if isinstance(state, tuple) else (state,)
        return step(_project(self, "ih", x, ""), _project(self, "hh", states[0], ""), states)

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        return self._step(x, hx)[0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", dtype: Any = "float32"
    ) -> None:
        self.__dict__["kind"] = _nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, dtype)


class LSTMCell(_Cell):
    """One step: (h, c) from x and the last (h, c)."""

    kind = "lstm"

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        return self._step(x, hx)


class GRUCell(_Cell):
    """One step: h from x and the last h."""

    kind = "gru"


def _nonlinearity(name: str) -> str:
    if name not in ("tanh", "relu"):
        raise GraphcError(f"nonlinearity must be 'tanh' or 'relu', not {name!r}", here())
    return name


class _Recurrent(Module):
    """Layers and directions of one kind of step over a whole sequence."""

    kind = ""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self._suffixes = ("", "_reverse") if bidirectional else ("",)
        for layer in range(num_layers):
            into = hidden_size * len(self._suffixes) if layer else input_size
            for suffix in self._suffixes:
                _add_weights(self, self.kind, into, hidden_size, bias, f"_l{layer}{suffix}", dtype)

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """(outputs of the last layer at all times, the last states of all layers and directions)."""
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: takes (L, N, {self.input_size}) or (L, {self.input_size}), got {x.shape}", here()
            )
        if x.ndim == 2:
            lifted = None if hx is None else tuple(s.unsqueeze(1) for s in _as_tuple(hx))
            result, states = self._run(x.unsqueeze(1), lifted)
            return result.squeeze(1), self._packed(tuple(s.squeeze(1) for s in states))
        result, states = self._run(x.transpose(0, 1) if self.batch_first else x, None if hx is None else _as_tuple(hx))
        return result.transpose(0, 1) if self.batch_first else result, self._packed(states)

    def _packed(self, states: State) -> Any:
        return states if len(states) > 1 else states[0]

    def _run(self, x: Tensor, given: State | None) -> tuple[Tensor, State]:
        count = _STEPS[self.kind][1]
        first = given or tuple(
            zeros((self.num_layers * len(self._suffixes), x.shape[1], self.hidden_size), dtype=x.dtype) for _ in range(count)
        )
        final: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in self._suffixes:
                start = tuple(s[len(final)] for s in first)
                result, state = self._sweep(x, start, f"_l{layer}{suffix}", suffix != "")
                outputs.append(result)
                final.append(state)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
        return x, tuple(stack([state[i] for state in final]) for i in range(count))

    def _sweep(self, x: Tensor, state: State, suffix: str, backward: bool) -> tuple[Tensor, State]:
        """One layer in one direction."""
        step = _STEPS[self.kind][2]
        projected = _project(self, "ih", x, suffix)
        results = []
        for t in reversed(range(x.shape[0])) if backward else range(x.shape[0]):
            state = step(projected[t], _project(self, "hh", state[0], suffix), state)
            results.append(state[0])
        return stack(results[::-1] if backward else results), state

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        shown = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        return text + "".join(f", {n}={getattr(self, n)}" for n, default in shown.items() if getattr(self, n) != default)


def _as_tuple(state: Any) -> State:
    return state if isinstance(state, tuple) else (state,)


class RNN(_Recurrent):
    """Plain recurrence with tanh or relu."""

    def __init__(self, *args: Any, nonlinearity: str = "tanh", **options: Any) -> None:
        self.__dict__["kind"] = _nonlinearity(nonlinearity)
        super().__init__(*args, **options)


class LSTM(_Recurrent):
    """Long short-term memory; states are (h, c)."""

    kind = "lstm"


class GRU(_Recurrent):
    """Gated recurrent units."""

    kind = "gru"
