"""graphc: a static-graph deep-learning compiler.

Declare a model as a graph of tensors, differentiate it, compile it ahead of time to native code: see README.md.
What not every program needs (`nn`, `optim`, `data`, `train`, `quantization`, `compile`, `load`, files of states) is fetched
when first asked for, so that `import graphc` loads neither LLVM nor the passes, nor a library that is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# fmt: off
# isort: off
from .config import manual_seed
from .dtype import DType, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from .dtype import bool_ as bool, float16 as half, float32 as float, float64 as double
from .dtype import int16 as short, int32 as int, int64 as long
from .errors import GraphcError
from .function import Function, function, grad
from .tensor import (
    Tensor, Variable, as_tensor, cat, constant, einsum, from_numpy, is_tensor, no_grad, placeholder, result_type, stack,
    stop_gradient, variable, where,
)
from .tensor import functions as _functions
from .tensor.creation import (
    arange, empty, empty_like, eye, full, full_like, linspace, logspace, meshgrid, one_hot, ones, ones_like, tril_indices,
    triu_indices, zeros, zeros_like,
)
from .tensor.functions import *  # noqa: F403
from .tensor.joining import (
    atleast_1d, atleast_2d, atleast_3d, block_diag, broadcast_shapes, broadcast_tensors, cartesian_prod, column_stack,
    combinations, concat, concatenate, dstack, hstack, row_stack, vstack,
)
from .tensor import constant as tensor  # PyTorch's name; `from graphc.tensor import ...` still finds the package
from .tensor.random import (
    bernoulli, multinomial, normal, rand, rand_like, randint, randint_like, randn, randn_like, randperm,
)
# isort: on
# fmt: on

if TYPE_CHECKING:
    from . import data, nn, optim, quantization, train
    from .driver import compile
    from .nn.serialization import load_state, save_state
    from .runtime.loader import load
    from .tuning import tune

__version__ = "0.1.0"

_LIBRARIES = ("nn", "optim", "data", "train", "quantization")
_LATE = {
    "compile": "graphc.driver",
    "load": "graphc.runtime.loader",
    "load_state": "graphc.nn.serialization",
    "save_state": "graphc.nn.serialization",
    "tune": "graphc.tuning",
}


def __getattr__(name: str) -> Any:
    if name in _LIBRARIES:
        return import_module(f"graphc.{name}")
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'graphc' has no attribute {name!r}")


# fmt: off
__all__ = [
    "DType", "Function", "GraphcError", "Tensor", "Variable", "arange", "as_tensor", "atleast_1d", "atleast_2d",
    "atleast_3d", "bernoulli", "bfloat16", "block_diag", "bool", "bool_", "broadcast_shapes", "broadcast_tensors",
    "cartesian_prod", "cat", "column_stack", "combinations", "compile", "concat", "concatenate", "constant", "data",
    "double", "dstack", "einsum", "empty", "empty_like", "eye", "float", "float16", "float32", "float64", "from_numpy",
    "full", "full_like", "function", "grad", "half", "hstack", "int", "int8", "int16", "int32", "int64", "is_tensor",
    "linspace", "load", "load_state", "logspace", "long", "manual_seed", "meshgrid", "multinomial", "nn", "no_grad",
    "normal", "one_hot", "ones", "ones_like", "optim", "placeholder", "quantization", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "result_type", "row_stack", "save_state", "short", "stack",
    "stop_gradient", "tensor", "train", "tril_indices", "triu_indices", "tune", "uint8", "variable", "vstack", "where", "zeros",
    "zeros_like",
]
# fmt: on
__all__ += [name for name in vars(_functions) if not name.startswith("_")]
