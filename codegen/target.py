"""What the compiler knows about a machine it compiles for.

In: nothing (the machine graphc runs on), or a name such as "x86-64-v3". Out: a frozen `Target`. Schedules and emitters
read its numbers and never ask which machine it is; sizes that cannot be found out get conservative defaults.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from graphc.dtype import DType
from graphc.errors import CompileError

_CACHES = "/sys/devices/system/cpu/cpu0/cache"


@dataclass(frozen=True, slots=True)
class Target:
    """A machine: how LLVM names it, its vector registers, and its memory.

    `features` is LLVM's comma-separated list; `page_bytes` is the largest page the system may use (memory that is
    protected or mapped is aligned to it); `l2_bytes` counts the share of one core, and `beyond_l2` the bytes a cycle that come
    from behind it; a load takes `stream` cycles more where much comes from there. `tune` names the processor for which
    LLVM orders the instructions of register tiles that leave few registers, if not `cpu`: for some it moves loads so far ahead
    of their use that sums have to wait in memory.
    """

    name: str
    triple: str
    cpu: str = ""
    features: str = ""
    vector_bits: int = 128
    vector_registers: int = 16
    has_fma: bool = False
    l1_bytes: int = 32 << 10
    l2_bytes: int = 256 << 10
    page_bytes: int = 4096
    tune: str = ""
    beyond_l2: float = 4.0
    stream: float = 0.12

    @property
    def arch(self) -> str:
        """The first part of the triple: x86_64, aarch64, riscv64, wasm32."""
        return self.triple.split("-", 1)[0]

    @property
    def has_half(self) -> bool:
        """Whether it converts between float16 and float32; F16C came to x86-64 with AVX."""
        return self.arch in ("aarch64", "arm64") or (self.arch == "x86_64" and self.vector_bits >= 256)

    @property
    def masks_by_sign(self) -> bool:
        """Whether the signs of a vector's lanes say which of another are loaded or stored, as with AVX and AVX2."""
        return self.arch == "x86_64" and self.vector_bits == 256

    def has_masks(self, dtype: DType) -> bool:
        """Whether one instruction loads some lanes of a vector and leaves memory behind the others alone."""
        return self.arch == "x86_64" and self.vector_bits >= (512 if dtype.bits < 32 else 256)

    def lanes(self, dtype: DType) -> int:
        """How many elements of `dtype` one vector register holds."""
        return max(1, self.vector_bits // dtype.bits)


# `beyond_l2` and `stream` of processors whose caches were found to be faster than most, by LLVM's names.
_RATES = {"znver5": (12.0, 0.025)}

_LINUX_X86 = "x86_64-unknown-linux-gnu"

_NAMED = {
    target.name: target
    for target in (
        Target("x86-64", _LINUX_X86, "x86-64"),
        Target("x86-64-v2", _LINUX_X86, "x86-64-v2"),
        Target("x86-64-v3", _LINUX_X86, "x86-64-v3", vector_bits=256, has_fma=True),
        Target(
            "x86-64-v4", _LINUX_X86, "x86-64-v4", "-prefer-256-bit", 512, 32, True, 32 << 10, 1 << 20, tune="sapphirerapids"
        ),
        Target(
            "aarch64", "aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32, True, 64 << 10, 512 << 10, 65536, "neoverse-v2"
        ),
        Target("riscv64", "riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c,+v", 128, 32, True),
        Target("wasm32", "wasm32-unknown-unknown", "generic", "+simd128", 128, 16, False, page_bytes=65536),
    )
}


def named(spec: str) -> Target:
    """The target called `spec`; "cpu" and "host" are the machine graphc runs on. CompileError for an unknown name."""
    if spec in ("cpu", "host"):
        return host()
    if spec not in _NAMED:
        raise CompileError(f"{spec!r} is no target; expected cpu or one of {', '.join(_NAMED)}")
    return _NAMED[spec]


@cache
def host() -> Target:
    """The machine graphc runs on."""
    cpu, found = llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features())
    features = [f"{'+' if present else '-'}{name}" for name, present in sorted(found.items())]
    triple = llvm.get_process_triple()
    generic = _generic(triple.split("-", 1)[0], found)
    if generic.vector_bits == 512:
        features.append("-prefer-256-bit")
    beyond_l2, stream = _RATES.get(cpu, (generic.beyond_l2, generic.stream))
    return replace(
        generic,
        name="cpu",
        triple=triple,
        cpu=cpu,
        features=",".join(features),
        l1_bytes=_cache_bytes(1, generic.l1_bytes),
        l2_bytes=_cache_bytes(2, generic.l2_bytes),
        page_bytes=max(mmap.PAGESIZE, generic.page_bytes),
        beyond_l2=beyond_l2,
        stream=stream,
    )


def _generic(arch: str, features: dict[str, bool]) -> Target:
    """The named target whose vector registers a processor with `features` has."""
    if arch == "x86_64":
        # AVX-512 is used only whole: float, byte, quadword and short-vector forms.
        if all(features.get(f"avx512{part}") for part in ("f", "bw", "dq", "vl")):
            return _NAMED["x86-64-v4"]
        return _NAMED["x86-64-v3" if features.get("avx2") and features.get("fma") else "x86-64"]
    family = {"arm64": "aarch64"}.get(arch, arch)
    return _NAMED.get(family, Target("generic", "unknown"))


def _cache_bytes(level: int, default: int, root: str = _CACHES) -> int:
    """The size of the data cache of `level`, from what Linux says about core 0."""
    for index in sorted(Path(root).glob("index*")):
        try:
            kind, found, size = ((index / part).read_text().strip() for part in ("type", "level", "size"))
        except OSError:
            continue
        if found == str(level) and kind in ("Data", "Unified"):
            return _bytes(size, default)
    return default


def _bytes(text: str, default: int) -> int:
    """ "48K" -> 49152; `default` for what is no size."""
    number, unit = text[:-1], {"K": 10, "M": 20, "G": 30}.get(text[-1:])
    return int(number) << unit if unit is not None and number.isdigit() else default
