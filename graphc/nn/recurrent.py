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
from ..tensor import Tensor, cat, stack, where
from ..tensor.creation import zeros
from . import functional, init
from .linear import empty
from .module import Module
from .utils.rnn import PackedSequence

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


def _add_weights(
    module: Module, kind: str, into: int, hidden: int, bias: bool, suffix: str, dtype: Any, projected: int = 0
) -> None:
    gates, bound = _STEPS[kind][0], 1 / math.sqrt(max(hidden, 1))
    out = projected or hidden
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates * hidden, into), "weight_hh": (gates * hidden, out)}
    if bias:
        shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
    if projected:
        shapes |= {"weight_hr": (projected, hidden)}
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
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: takes (N, {self.input_size}) or ({self.input_size}), got {x.shape}", here()
            )
        if state is None:
            state = tuple(zeros((*x.shape[:-1], self.hidden_size), dtype=x.dtype) for _ in range(count))
        states = state if isinstance(state, tuple) else (state,)
        return step(_project(self, "ih", x, ""), _project(self, "hh", states[0], ""), states)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        return self._step(input, hx)[0]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")
        return text if self.kind != "relu" else f"{text}, nonlinearity=relu"


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

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        return self._step(input, hx)


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
        proj_size: int = 0,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        if proj_size and (self.kind != "lstm" or not 0 < proj_size < hidden_size):
            raise GraphcError(
                f"{type(self).__name__}: proj_size is for LSTM only, and below hidden_size {hidden_size}; got {proj_size}",
                here(),
            )
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional, self.proj_size = batch_first, dropout, bidirectional, proj_size
        self._suffixes = ("", "_reverse") if bidirectional else ("",)
        for layer in range(num_layers):
            into = (proj_size or hidden_size) * len(self._suffixes) if layer else input_size
            for suffix in self._suffixes:
                _add_weights(self, self.kind, into, hidden_size, bias, f"_l{layer}{suffix}", dtype, proj_size)

    def forward(self, input: Any, hx: Any = None, lengths: Tensor | None = None) -> tuple[Any, Any]:
        """(outputs of the last layer at all times, the last states of all layers and directions).

        lengths: (N,) integers; a sequence ends after as many steps: outputs behind are 0, the last state is that of its
        end, and the reverse direction starts there. A PackedSequence brings its lengths, and gives a PackedSequence.
        """
        if isinstance(input, PackedSequence):
            result, states = self._run(input.data, None if hx is None else _as_tuple(hx), input.lengths)
            return PackedSequence(result, input.lengths), self._packed(states)
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: takes (L, N, {self.input_size}) or (L, {self.input_size}), got {input.shape}", here()
            )
        if input.ndim == 2:
            lifted = None if hx is None else tuple(s.unsqueeze(1) for s in _as_tuple(hx))
            result, states = self._run(input.unsqueeze(1), lifted, lengths)
            return result.squeeze(1), self._packed(tuple(s.squeeze(1) for s in states))
        given = None if hx is None else _as_tuple(hx)
        result, states = self._run(input.transpose(0, 1) if self.batch_first else input, given, lengths)
        return result.transpose(0, 1) if self.batch_first else result, self._packed(states)

    def _packed(self, states: State) -> Any:
        return states if len(states) > 1 else states[0]

    def _sizes(self) -> tuple[int, ...]:
        """The widths of the states: h is what leaves a step, c what an LSTM keeps."""
        return (self.proj_size or self.hidden_size, self.hidden_size)[: _STEPS[self.kind][1]]

    def _run(self, x: Tensor, given: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        rows, batch = self.num_layers * len(self._suffixes), x.shape[1]
        first = given or tuple(zeros((rows, batch, size), dtype=x.dtype) for size in self._sizes())
        for state, size in zip(first, self._sizes(), strict=True):
            if state.shape != (rows, batch, size):
                raise ShapeError(f"{type(self).__name__}: a state must be {(rows, batch, size)}, got {state.shape}", here())
        final: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in self._suffixes:
                start = tuple(s[len(final)] for s in first)
                result, last = self._sweep(x, start, f"_l{layer}{suffix}", suffix != "", lengths)
                outputs.append(result)
                final.append(last)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
        return x, tuple(stack([state[i] for state in final]) for i in range(len(first)))

    def _sweep(self, x: Tensor, state: State, suffix: str, backward: bool, lengths: Tensor | None) -> tuple[Tensor, State]:
        """One layer in one direction."""
        step = _STEPS[self.kind][2]
        projected, bias = _project(self, "ih", x, suffix), getattr(self, f"bias_hh{suffix}", None)
        if self.kind != "gru" and bias is not None:  # where both products are added, so are both biases, once for all times
            projected, bias = projected + bias, None
        results = []
        for t in reversed(range(x.shape[0])) if backward else range(x.shape[0]):
            hidden = functional.linear(state[0], getattr(self, f"weight_hh{suffix}"), bias)
            new = step(projected[t], hidden, state)
            if self.proj_size:
                new = (functional.linear(new[0], getattr(self, f"weight_hr{suffix}")), new[1])
            if lengths is None:
                state = new
                results.append(new[0])
            else:
                inside = (lengths > t).unsqueeze(1)
                state = tuple(where(inside, a, b) for a, b in zip(new, state, strict=True))
                results.append(where(inside, new[0], 0))
        return stack(results[::-1] if backward else results), state

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
        return text + "".join(f", {n}={getattr(self, n)}" for n, default in defaults.items() if getattr(self, n) != default)


def _as_tuple(state: Any) -> State:
    return tuple(state) if isinstance(state, tuple | list) else (state,)


class RNN(_Recurrent):
    """Plain recurrence with tanh or relu."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
    ) -> None:
        self.__dict__["kind"] = _nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype)


class LSTM(_Recurrent):
    """Long short-term memory; states are (h, c). proj_size: h is projected to as many features."""

    kind = "lstm"


class GRU(_Recurrent):
    """Gated recurrent units."""

    kind = "gru"
