"""graphc: a static-graph deep-learning compiler.

Declare a model as a graph of tensors, differentiate it, compile it ahead of time to native code: see README.md.
What not every program needs (`compile`, `load`, `data`, `train`, `quantization`, files of states) is fetched when first
asked for, so that `import graphc` loads neither LLVM nor the passes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# fmt: off
# isort: off
from . import nn, optim
from .config import manual_seed
from .dtype import DType, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from .dtype import bool_ as bool
from .errors import GraphcError
from .function import Function, function, grad
from .tensor import (
    Tensor, Variable, as_tensor, cat, constant, einsum, placeholder, result_type, stack, stop_gradient, variable, where,
)
from .tensor.creation import arange, eye, full, full_like, linspace, meshgrid, one_hot, ones, ones_like, zeros, zeros_like
from .tensor.functions import (
    abs, acos, add, addmm, all, amax, amin, any, argmax, argmin, argsort, asin, atan, atan2, bitwise_and, bitwise_not,
    bitwise_or, bitwise_xor, bmm, broadcast_to, ceil, chunk, clamp, clip, cos, cosh, count_nonzero, cumsum, diagonal, div,
    divide, dot, eq, erf, erfc, exp, exp2, expm1, flatten, flip, floor, floor_divide, fmod, frac, gather, ge, gelu, gt,
    index_select, isfinite, isinf, isnan, le, lerp, log, log1p, log2, log10, log_softmax, logical_and, logical_not,
    logical_or, logical_xor, logsigmoid, logsumexp, lt, masked_fill, matmul, max, maximum, mean, min, minimum, mm, moveaxis,
    movedim, mul, multiply, mv, nan_to_num, narrow, ne, neg, norm, numel, outer, permute, pow, prod, reciprocal, relu,
    remainder, repeat_interleave, reshape, roll, round, rsqrt, scatter, scatter_add, scatter_reduce, sigmoid, sign, silu, sin,
    sinh, softmax, softplus, sort, split, sqrt, square, squeeze, std, sub, subtract, sum, swapaxes, t, take, take_along_dim,
    tan, tanh, topk, trace, transpose, tril, triu, true_divide, trunc, unbind, unflatten, unsqueeze, var,
)
from .tensor.random import bernoulli, normal, rand, rand_like, randint, randn, randn_like, randperm
# isort: on
# fmt: on

if TYPE_CHECKING:
    from . import data, quantization, train
    from .driver import compile
    from .nn.serialization import load_state, save_state
    from .runtime.loader import load

__version__ = "0.1.0"

_LATE = {
    "compile": "graphc.driver",
    "load": "graphc.runtime.loader",
    "load_state": "graphc.nn.serialization",
    "save_state": "graphc.nn.serialization",
}


def __getattr__(name: str) -> Any:
    if name in ("data", "quantization", "train"):
        return import_module(f"graphc.{name}")
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'graphc' has no attribute {name!r}")


# fmt: off
__all__ = [
    "DType", "Function", "GraphcError", "Tensor", "Variable", "abs", "acos", "add", "addmm", "all", "amax", "amin", "any",
    "arange", "argmax", "argmin", "argsort", "as_tensor", "asin", "atan", "atan2", "bernoulli", "bfloat16", "bitwise_and",
    "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "bool", "bool_", "broadcast_to", "cat", "ceil", "chunk", "clamp",
    "clip", "compile", "constant", "cos", "cosh", "count_nonzero", "cumsum", "data", "diagonal", "div", "divide", "dot",
    "einsum", "eq", "erf", "erfc", "exp", "exp2", "expm1", "eye", "flatten", "flip", "float16", "float32", "float64", "floor",
    "floor_divide", "fmod", "frac", "full", "full_like", "function", "gather", "ge", "gelu", "grad", "gt", "index_select",
    "int8", "int16", "int32", "int64", "isfinite", "isinf", "isnan", "le", "lerp", "linspace", "load", "load_state", "log",
    "log1p", "log2", "log10", "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor", "logsigmoid",
    "logsumexp", "lt", "manual_seed", "masked_fill", "matmul", "max", "maximum", "mean", "meshgrid", "min", "minimum", "mm",
    "moveaxis", "movedim", "mul", "multiply", "mv", "nan_to_num", "narrow", "ne", "neg", "nn", "norm", "normal", "numel",
    "one_hot", "ones", "ones_like", "optim", "outer", "permute", "placeholder", "pow", "prod", "quantization", "rand",
    "rand_like", "randint", "randn", "randn_like", "randperm", "reciprocal", "relu", "remainder", "repeat_interleave",
    "reshape", "result_type", "roll", "round", "rsqrt", "save_state", "scatter", "scatter_add", "scatter_reduce", "sigmoid",
    "sign", "silu", "sin", "sinh", "softmax", "softplus", "sort", "split", "sqrt", "square", "squeeze", "stack", "std",
    "stop_gradient", "sub", "subtract", "sum", "swapaxes", "t", "take", "take_along_dim", "tan", "tanh", "topk", "trace",
    "train", "transpose", "tril", "triu", "true_divide", "trunc", "uint8", "unbind", "unflatten", "unsqueeze", "var",
    "variable", "where", "zeros", "zeros_like",
]
# fmt: on
