"""What the compiler knows of a GPU.

In: an architecture name such as "sm_90", or none, and the options of whoever compiles. Out: a frozen `Gpu`, whose numbers the
mapping of loops to threads reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from graphc.errors import CompileError

DEFAULT = "sm_80"
_PROCESSORS = {"sm_75": 40, "sm_80": 108, "sm_86": 84, "sm_89": 128, "sm_90": 132, "sm_100": 148, "sm_120": 170}
# Products of 16-bit floats that a multiprocessor makes in a cycle by the mma instructions of warps; of tf32 half as many.
_TENSOR_PRODUCTS = {"sm_80": 1024, "sm_86": 512, "sm_89": 512, "sm_90": 1024, "sm_100": 1024, "sm_120": 512}
TENSOR_CORES = 80  # from sm_80 on they know all types that are used here
PRECISIONS = ("highest", "tf32", "bf16")


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose beyond what a program says. Raises CompileError for what is no choice.

    precision: what the operands of products of float32 may be rounded to, so that tensor cores multiply them; "highest" is
    float32. atomics: add to what many updates may name (scatter) as they come, so that sums are rounded differently from run
    to run.
    """

    precision: str = "highest"
    atomics: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise CompileError(f"precision={self.precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")

    def given(self) -> str:
        """The options that are not as they are where nobody says anything, as a call would write them."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return ", ".join(f"{name}={value!r}" for name, value in chosen.items())


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its architecture, the threads of a warp, of a usual block and at most of a team, bytes of shared memory that a
    block may declare, how many multiprocessors want work, products of 16-bit floats that the tensor cores of one make in a
    cycle (0: they are not used), and what the user chose."""

    arch: str
    warp: int = 32
    block: int = 256
    team: int = 512
    shared_bytes: int = 48 << 10
    processors: int = 108
    tensor_products: int = 0
    options: Options = DEFAULT_OPTIONS


def gpu(arch: str | None = None, options: Options = DEFAULT_OPTIONS) -> Gpu:
    """The GPU called `arch`. CompileError for a name that no compiler for CUDA would take, and for options it cannot follow."""
    arch = arch or DEFAULT
    if not re.fullmatch(r"sm_[0-9]{2,3}[af]?", arch):
        raise CompileError(f"{arch!r} is no CUDA architecture; expected one such as {', '.join(_PROCESSORS)}")
    number = int(re.sub(r"\D", "", arch))
    if number < 70:
        raise CompileError(f"{arch} is too old: the generated code needs sm_70 or newer")
    if number < TENSOR_CORES and options.precision != "highest":
        raise CompileError(f"{options.given()} takes tensor cores of sm_{TENSOR_CORES} or newer; {arch} has none: leave it out")
    plain = arch.rstrip("af")
    tensor = _TENSOR_PRODUCTS.get(plain, 512) if number >= TENSOR_CORES else 0
    return Gpu(arch, processors=_PROCESSORS.get(plain, 108), tensor_products=tensor, options=options)
