"""The C header of a program for a GPU.

In: a planned program, its plan and its name. Out: text that C99 and C++ compilers take without CUDA's own headers, in which
the whole interface is explained.
"""

from __future__ import annotations

from graphc.ir.kernel import ALIGNMENT, KernelProgram

from .. import abi, header
from .plan import Plan

MORE = ("void *stream",)  # parameters behind the arrays
HOST_ARRAYS = 1  # a flag of NAME_init
MISALIGNED = 6
CUDA_ERROR = 1000  # plus the number of a cudaError_t
ERRORS: dict[int, tuple[str, str]] = {
    abi.NULL_POINTER: abi.ERRORS[abi.NULL_POINTER],
    abi.MISALIGNED: ("ALIGNMENT", f"the device memory of a net must be aligned to {ALIGNMENT} bytes"),
    abi.NOT_READY: abi.ERRORS[abi.NOT_READY],
    abi.BUSY: abi.ERRORS[abi.BUSY],
    MISALIGNED: ("ARRAY_ALIGNMENT", "arrays on the device must be aligned to 16 bytes"),
    CUDA_ERROR: ("CUDA", "codes from here on: this plus the number of a cudaError_t"),
}

_INTRODUCTION = """\
/* {name}: a program for NVIDIA GPUs, compiled by graphc.
 *
 *     {name} *net = malloc({name}_size());
 *     cudaMalloc(&device, {name}_device_size());
 *     if ({name}_init(net, device, image, 0, stream) == {NAME}_OK) {{ ... {name}_close(net); }}
 *
 * A net is two blocks of the caller's memory: {name}_size() bytes of the host, and {name}_device_size() bytes ({size}) of
 * the device, aligned to {alignment}, which hold the variables, constants and scratch memory. `image` are the constants and
 * initial state, the contents of the file {name}.image ({image} bytes), read during the call only; a library that graphc
 * linked ({name}.so) holds them itself, and takes NULL. Nothing else is allocated but the CUDA graphs of captured calls,
 * which {name}_close frees.
 *
 * With flags = 0 arrays lie on the device, aligned to 16 bytes, and calls return before the stream has run them. With
 * flags = {NAME}_HOST_ARRAYS they lie on the host: they are copied, and a call returns when its results are there.
 * `stream` is a cudaStream_t, NULL the default stream. A call with the arrays of the call before replays a captured graph.
 * One call at a time runs on a net; another gets {NAME}_ERROR_BUSY at once. All calls of a net take one stream, or streams that
 * the caller brings into order: they share its memory. Results do not depend on the stream, nor on which GPU it is on,
 * but for products that tensor cores add up (the source names them): generations of GPUs round such sums differently.
 *
 * Arrays are dense and row-major. Outputs must not overlap inputs, each other, or the net.
 */
"""


def emit_header(program: KernelProgram, plan: Plan, name: str) -> str:
    """The text of NAME.h."""
    upper = name.upper()
    introduction = _INTRODUCTION.format(
        name=name, NAME=upper, alignment=ALIGNMENT, size=plan.memory.size, image=abi.layout(program).image_size
    )
    body = [
        f"typedef struct {name} {name};\n",
        header.codes(upper, ERRORS),
        f"enum {{ {upper}_HOST_ARRAYS = {HOST_ARRAYS} }};\n",
        _life(name),
        *(header.function_text(f, name, MORE) for f in program.functions),
        *header.variables(program, name),
    ]
    return header.guarded(upper, introduction, body)


def _life(name: str) -> str:
    return (
        "/* Bytes of host memory and of device memory that a net takes. */\n"
        f"size_t {name}_size(void);\n"
        f"size_t {name}_device_size(void);\n\n"
        "/* Make a net of both, with the variables as `image` has them. */\n"
        f"int32_t {name}_init(void *memory, void *device, const void *image, int32_t flags, void *stream);\n\n"
        "/* Free the captured graphs. The memory is the caller's again; the variables in it stay readable. */\n"
        f"int32_t {name}_close({name} *net);\n"
    )
