"""Dynamic quantisation, after torch.ao.quantization: linear layers with weights of 8 bits, for inference.

In: a module, with the values that the next compilation starts from (a trained program's come in by `net.load_state_dict(
program.state_dict(), strict=False)`). Out: a copy whose Linear layers hold int8 weights and one scale, quantise their input
when they run, sum products in int32, and give floats. No data is needed for calibration. Other layers stay as they are.
A quantised program is smaller, not faster: there are no kernels that multiply int8 directly.

    small = gc.quantization.quantize_dynamic(net.eval(), {nn.Linear}, dtype=gc.int8)
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from .dtype import dtype as dtype_of
from .dtype import float32, int8, int32
from .errors import DTypeError, GraphError
from .ir.location import here
from .nn import Linear, Module, MultiheadAttention, functional
from .nn.parameter import Buffer
from .tensor import Tensor, Variable, where

LEVELS = 255  # steps of 8 bits


class DynamicQuantizedLinear(Module):
    """y = x W^T + b, where W is int8 times `weight_scale`, and x is quantised over the range it has in this call.

    State: `weight` (out, in) int8, `weight_scale` float32 scalar, `bias` as it was.
    """

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        weight, bias = linear.weight, linear.bias
        if not isinstance(weight, Variable) or not isinstance(bias, Variable | None):
            raise GraphError(
                "quantize_dynamic: weight or bias of a layer is computed; make it a parameter first, by nn.utils.prune.remove "
                "or nn.utils.remove_weight_norm",
                here(),
            )
        if weight.dtype is not float32:
            raise DTypeError(f"quantize_dynamic: takes float32 weights, {weight.name} is {weight.dtype}", here())
        self.in_features, self.out_features = linear.in_features, linear.out_features
        levels, scale = quantize_weight(weight.initial)
        self.register_buffer("weight", Buffer(levels))
        self.register_buffer("weight_scale", Buffer(scale))
        self.register_buffer("bias", None if bias is None else Buffer(bias.initial))

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype is not float32:
            raise DTypeError(f"{self!r}: takes float32, got {input.dtype}; add .float()", here())
        levels, scale = quantize_input(input)
        sums = functional.linear(levels, self.weight.to(int32))
        result: Tensor = sums.float() * (scale * self.weight_scale)
        return result if self.bias is None else result + self.bias

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, dtype=int8, bias={self.bias is not None}"


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8, scale): weight = int8 * scale, with one scale and zero in the middle, as PyTorch's observer of weights has it."""
    largest = np.abs(weight).max(initial=0)
    scale = np.maximum(np.float32(largest) / np.float32(LEVELS / 2), np.finfo(np.float32).eps)
    return np.clip(np.rint(weight * (1 / scale)), -128, 127).astype(np.int8), np.asarray(scale)


def quantize_input(x: Tensor) -> tuple[Tensor, Tensor]:
    """(int32, scale): x = int32 * scale; 256 levels over the range of all elements, stretched to hold 0, which is exact."""
    low, high = x.amin().clamp(max=0.0), x.amax().clamp(min=0.0)
    scale = (high - low) / LEVELS
    scale = where(scale == 0, 0.1, scale)  # where all elements are 0, any will do
    zero = (-low / scale).round()
    return ((x * (1 / scale)).round() + zero).clamp(0, LEVELS).sub(zero).to(int32), scale


def quantize_dynamic(
    model: Module, qconfig_spec: Iterable[type | str] | None = None, dtype: Any = int8, inplace: bool = False
) -> Module:
    """A copy of the module (or itself, `inplace`) with its linear layers quantised.

    qconfig_spec: {nn.Linear} (the default), or names of linear layers, or of modules around them. Projections that
    MultiheadAttention multiplies by itself stay. Raises GraphError for another type of layer, for a name there is none of, and
    for weights that are computed (pruned, normalised); DTypeError for other dtypes.
    """
    if dtype_of(dtype) is not int8:
        raise DTypeError(f"quantize_dynamic: the weights become int8; {dtype_of(dtype)} is not supported", here())
    spec = _checked(model, {Linear} if qconfig_spec is None else set(qconfig_spec))
    target = model if inplace else copy.deepcopy(model)
    return _quantized(target, "", Linear in spec, spec, {})


def _checked(model: Module, spec: set[Any]) -> set[Any]:
    for item in spec:
        if item is not Linear and not isinstance(item, str):
            raise GraphError(f"quantize_dynamic: {item!r} cannot be quantised; nn.Linear and names of modules can", here())
    names = [name for name, _ in model.named_modules()]
    for item in spec:
        if isinstance(item, str) and item not in names:
            near = get_close_matches(item, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise GraphError(f"quantize_dynamic: {type(model).__name__} has no module {item!r}{hint}", here())
    return spec


def _quantized(module: Module, path: str, chosen: bool, spec: set[Any], done: dict[Module, Module]) -> Module:
    """What takes the place of a module. chosen: whether it stands inside what the spec names; done: what others became."""
    chosen = chosen or path in spec
    if module in done or isinstance(module, MultiheadAttention):
        return done.get(module, module)
    if type(module) is Linear:
        done[module] = DynamicQuantizedLinear(module) if chosen else module
        return done[module]
    done[module] = module
    for name, child in list(module.named_children()):
        new = _quantized(child, f"{path}.{name}" if path else name, chosen, spec, done)
        if new is not child:
            module.add_module(name, new)
    return module
