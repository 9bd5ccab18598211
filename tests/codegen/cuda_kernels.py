"""Kernels of one tensor function, as the CUDA target gets them, and what their mapping computes.

In: outputs built from placeholders. Out: kernels in the target's words; both sides of a mapping run on the interpreter,
since a mapped kernel is a kernel still.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import graphc as gc
from graphc.codegen.cuda.roles import Mapped
from graphc.codegen.cuda.target import gpu
from graphc.codegen.cuda.tidy import tidy
from graphc.codegen.cuda.words import says
from graphc.codegen.expand import expand_kernel
from graphc.driver import Stages
from graphc.interp.kernel import run_kernel
from graphc.ir.expr import Array
from graphc.ir.kernel import For, Kernel, walk

GPU = gpu("sm_90")


def x(*shape: int, dtype: gc.DType = gc.float32, name: str = "x") -> gc.Tensor:
    return gc.placeholder(shape, dtype, name=name)


def kernels_of(inputs: Sequence[gc.Tensor], output: gc.Tensor) -> list[Kernel]:
    """The kernels of one function, tidy and in words of CUDA."""
    stages = Stages({"f": gc.function(list(inputs), output)}, "cuda")
    return [tidy(expand_kernel(launch.kernel, says)) for launch in stages.planned.functions[0].launches]


def kernel_of(inputs: Sequence[gc.Tensor], output: gc.Tensor) -> Kernel:
    """The only kernel of a function."""
    (kernel,) = kernels_of(inputs, output)
    return kernel


def both_sides(kernel: Kernel, mapped: Mapped, whole: bool = False) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What a kernel and its mapping leave in their params, from the same arrays; of whole numbers where that is asked for."""
    rng = np.random.default_rng(0)
    drawn = [3 * rng.standard_normal(param.size) for param in kernel.params]
    given = [(np.rint(d) if whole else d).astype(param.dtype.numpy) for d, param in zip(drawn, kernel.params, strict=True)]
    results = []
    for side in (kernel, mapped.kernel):
        arrays = [array.copy() for array in given]
        run_kernel(side, arrays, backwards=side is mapped.kernel)
        results.append([array.astype(np.float64) for array in arrays])
    return results[0], results[1]


def kinds(mapped: Mapped) -> set[str]:
    return {stmt.kind for stmt in walk(mapped.kernel.body) if isinstance(stmt, For)}


def run_all(kernels: Sequence[Kernel], params: Sequence[Array], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The result, which is the last param, of kernels that have some of the params each."""
    memory = dict(zip(params, (array.copy() for array in arrays), strict=True))
    for kernel in kernels:
        run_kernel(kernel, [memory[param] for param in kernel.params])
    return memory[params[-1]]
