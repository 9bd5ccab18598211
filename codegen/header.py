"""The C header of a compiled program.

In: a planned KernelProgram and its name. Out: text that C99 and C++ compilers take without a warning, in which the whole
interface is explained: no other document is needed to call the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.ir.kernel import ALIGNMENT, Buffer, KernelFunction, KernelProgram

from . import abi

_ENCODED = {"bool": "0 or 1", "float16": "IEEE binary16 bits", "bfloat16": "upper 16 bits of a float"}

_INTRODUCTION = """\
/* {name}: a program compiled by graphc.
 *
 *     {name} *net = aligned_alloc({alignment}, {name}_size());
 *     if ({name}_init(net, threads) == {NAME}_OK) {{ ... {name}_close(net); }}
 *     free(net);
 *
 * A net is one block of the caller's memory: {name}_size() bytes ({size}), aligned to {alignment}. It holds the variables,
 * scratch memory and the pool of threads. Nothing else is allocated, ever, and there are no globals: any number of nets
 * live side by side. A net must not be moved or copied while it is initialised.
 *
 * Threads: {name}_init starts threads - 1 workers (1 <= threads <= {max_threads}; the caller is one of them), fewer where the
 * system refuses. Results do not depend on their number, bit for bit. One call at a time runs on a net; another gets
 * {NAME}_ERROR_BUSY at once. In a forked child a net works on the calling thread alone.
 *
 * Arrays are dense and row-major, aligned to their elements. Outputs must not overlap inputs, each other, or the net.
 * Every function gives {NAME}_OK or one of the codes below; when it is not OK, nothing was computed. ({name}_python is what
 * Python calls where this library is loaded by graphc; it is not for C, and nothing here needs Python.)
 */
"""


def emit_header(program: KernelProgram, name: str) -> str:
    """The text of NAME.h."""
    upper = name.upper()
    introduction = _INTRODUCTION.format(
        name=name, NAME=upper, alignment=ALIGNMENT, size=abi.layout(program).size, max_threads=abi.MAX_THREADS
    )
    body = [
        f"typedef struct {name} {name};\n",
        codes(upper, abi.ERRORS),
        _life(name),
        *(function_text(function, name) for function in program.functions),
        *variables(program, name),
    ]
    return guarded(upper, introduction, body)


def guarded(upper: str, introduction: str, body: list[str]) -> str:
    """A header of these parts, for C and C++, that may be included twice."""
    parts = [
        introduction,
        f"#ifndef {upper}_H\n#define {upper}_H\n\n#include <stddef.h>\n#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        *body,
        f"#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {upper}_H */\n",
    ]
    return "\n".join(parts)


def codes(upper: str, errors: Mapping[int, tuple[str, str]]) -> str:
    """The enumeration of what functions return."""
    rows = [(f"{upper}_OK", 0, "")]
    rows += [(f"{upper}_ERROR_{word}", code, f" /* {text} */") for code, (word, text) in errors.items()]
    lines = [f"  {name} = {code}{',' if i + 1 < len(rows) else ''}{comment}" for i, (name, code, comment) in enumerate(rows)]
    return "\n".join(["enum {", *lines, "};\n"])


def _life(name: str) -> str:
    return (
        "/* Bytes of memory that a net takes. */\n"
        f"size_t {name}_size(void);\n\n"
        "/* Make a net of `memory`, with the variables in the state in which the program was saved. */\n"
        f"int32_t {name}_init(void *memory, int32_t threads);\n\n"
        "/* End the workers. The memory is the caller's again; the variables in it stay readable. */\n"
        f"int32_t {name}_close(void *net);\n"
    )


def parameters(
    function: KernelFunction, name: str, more: Sequence[str] = (), locals_: Sequence[str] = ()
) -> tuple[list[str], tuple[str, ...]]:
    """The C parameters of a function, `more` behind the arrays, and the names of those that are arrays; no array is named
    like one of `locals_`."""
    buffers = function.inputs + function.outputs
    taken = ("net", name, *locals_, *(param.split()[-1].lstrip("*") for param in more))
    names = abi.c_names((buffer.name for buffer in buffers), taken)
    params = [f"{name} *net"]
    for buffer, c_name in zip(buffers, names, strict=True):
        constness = "const " if buffer in function.inputs else ""
        params.append(f"{constness}{abi.c_type(buffer.dtype)} *{c_name}")
    return [*params, *more], names


def function_text(function: KernelFunction, name: str, more: Sequence[str] = ()) -> str:
    """The declaration of a function, with the types of its arrays."""
    params, names = parameters(function, name, more)
    rows = [
        f" *   {'in ' if buffer in function.inputs else 'out'} {c_name}: {_type(buffer)}"
        for buffer, c_name in zip(function.inputs + function.outputs, names, strict=True)
    ]
    head = f"int32_t {name}_{function.name}("
    return "\n".join([f"/* {function.name}", *rows, " */", head + ",\n    ".join(params) + ");\n"])


def variables(program: KernelProgram, name: str) -> list[str]:
    """One accessor for each variable: where it lies in an initialised net."""
    names = abi.c_names(v.name for v in program.variables)
    return [
        f"/* {_comment(buffer.name)}: {_type(buffer)} */\n"
        f"{abi.c_type(buffer.dtype)} *{abi.variable_symbol(name, c_name)}({name} *net);\n"
        for buffer, c_name in zip(program.variables, names, strict=True)
    ]


def _type(buffer: Buffer) -> str:
    encoding = _ENCODED.get(buffer.dtype.name)
    shape = "".join(f"[{size}]" for size in buffer.shape) or " scalar"
    return f"{buffer.dtype}{shape}" + (f" ({encoding})" if encoding else "")


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("\n", " ").replace("\\", "/")
