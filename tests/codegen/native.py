"""Runs kernels as native code on memory that is fenced in.

In: kernels and arrays. Out: the arrays after the run. Each array ends (or starts) exactly at a page that may not be
touched, and the bytes on its other side are compared afterwards, so an access outside is a crash or a failure.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

import numpy as np

from graphc.codegen.expand import expand_kernel
from graphc.codegen.llvm.build import Jit, compile_module
from graphc.codegen.llvm.emit import KernelText, emit_kernel
from graphc.codegen.llvm.words import speaker
from graphc.codegen.target import Target, host
from graphc.interp.kernel import run_kernel
from graphc.ir.kernel import Kernel

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_CANARY = 0x5C


class Fenced:
    """A copy of `array` between a forbidden page and canaries."""

    def __init__(self, array: np.ndarray, at_end: bool) -> None:
        pages = -(-max(array.nbytes, 1) // PAGE)
        self.map = mmap.mmap(-1, (pages + 2) * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        inside = np.frombuffer(self.map, np.uint8)[PAGE : (pages + 1) * PAGE]
        inside[:] = _CANARY
        start = pages * PAGE - array.nbytes if at_end else 0
        self.array = inside[start : start + array.nbytes].view(array.dtype)
        self.array[:] = array
        self.rest = [inside[:start], inside[start + array.nbytes :]]
        for fence in (base, base + (pages + 1) * PAGE):
            assert _libc.mprotect(ctypes.c_void_p(fence), PAGE, 0) == 0
        self.fences = (base, base + (pages + 1) * PAGE)

    def check(self) -> None:
        assert all((part == _CANARY).all() for part in self.rest), "a kernel wrote beside its array"

    def __del__(self) -> None:
        for fence in self.fences:
            _libc.mprotect(ctypes.c_void_p(fence), PAGE, mmap.PROT_READ | mmap.PROT_WRITE)


def module_text(texts: Sequence[KernelText], params: Sequence[int]) -> str:
    """A module with an exported function run_SYMBOL for every kernel."""
    lines = sorted(frozenset().union(*(text.declarations for text in texts)))
    for text, count in zip(texts, params, strict=True):
        args = ", ".join([*(f"ptr %p{i}" for i in range(count)), "i64 %begin, i64 %end"])
        lines.append(text.text)
        lines.append(f"define void @run_{text.symbol}({args}) {{\n  call void @{text.symbol}({args})\n  ret void\n}}")
    return "\n".join(lines)


def text_of(kernels: Sequence[Kernel], target: Target) -> str:
    """The module of the kernels k0, k1 ..., in words of the target."""
    texts = [emit_kernel(expand_kernel(kernel, speaker(target)), f"k{i}", target) for i, kernel in enumerate(kernels)]
    return module_text(texts, [len(kernel.params) for kernel in kernels])


def assembly(kernel: Kernel, target: Target) -> str:
    """What the target runs for the kernel."""
    text = compile_module(text_of([kernel], target), target, "asm")
    assert isinstance(text, str)
    return text


def run_native(
    kernels: Sequence[Kernel], arrays: Sequence[Sequence[np.ndarray]], target: Target | None = None, at_end: bool = True
) -> list[list[np.ndarray]]:
    """All tasks of each kernel over copies of its arrays, all compiled as one module."""
    jit = Jit([text_of(kernels, target or host())], target or host())
    results = []
    for i, (kernel, given) in enumerate(zip(kernels, arrays, strict=True)):
        fenced = [Fenced(array, at_end) for array in given]
        pointers = [ctypes.c_void_p(f.array.ctypes.data) for f in fenced]
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(given), ctypes.c_int64, ctypes.c_int64)
        function(jit.address(f"run_k{i}"))(*pointers, 0, kernel.task.extent)
        for f in fenced:
            f.check()
        results.append([f.array.copy() for f in fenced])
    return results


def check_native(
    kernels: Sequence[Kernel],
    arrays: Sequence[Sequence[np.ndarray]],
    tolerance: float = 0,
    target: Target | None = None,
) -> None:
    """Native code computes what the slow interpreter does, with the arrays before and behind a forbidden page."""
    expected = [[array.copy() for array in given] for given in arrays]
    for kernel, given in zip(kernels, expected, strict=True):
        run_kernel(kernel, given)
    for at_end in (True, False):
        for kernel, got, want in zip(kernels, run_native(kernels, arrays, target, at_end), expected, strict=True):
            for param, a, b in zip(kernel.params, got, want, strict=True):
                assert_same(a, b, tolerance, f"{kernel.name}: {param.name}")


def assert_same(got: np.ndarray, want: np.ndarray, tolerance: float, what: str) -> None:
    """Equal, NaN to NaN; floats within `tolerance`, and with equal signs where it is 0."""
    if got.dtype.kind not in "biu":
        got, want = got.astype(np.float64), want.astype(np.float64)
        if tolerance == 0:
            numbers = ~np.isnan(want)
            np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]), err_msg=what)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=what)
    else:
        np.testing.assert_array_equal(got, want, err_msg=what)
