"""The C header, and C programs that use a library through it."""

import shutil
import subprocess

import numpy as np
import pytest
from nets import affine, buffer, counter, ring

from graphc.codegen.header import emit_header
from graphc.dtype import DTYPES
from graphc.ir.kernel import INPUT, OUTPUT, VARIABLE, KernelFunction, KernelProgram, Launch

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

MAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

int main(void) {
  void *memory = aligned_alloc(64, net_size());
  float x[6] = {2, 2, 2, 2, 2, 2}, y[6], total[6];
  net *n = (net *)memory;
  int i, calls;
  if (net_init(memory, 0) != NET_ERROR_THREADS || net_init(memory, 2) != NET_OK) return 1;
  for (calls = 0; calls < 3; calls++)
    if (net_step(n, x, x, y, total) != NET_OK) return 2;
  for (i = 0; i < 6; i++) printf("%g %g %g\n", (double)y[i], (double)total[i], (double)net_var_total(n)[i]);
  if (net_predict(n, x, NULL) != NET_ERROR_NULL) return 3;
  if (net_close(n) != NET_OK || net_predict(n, x, y) != NET_ERROR_NOT_READY) return 4;
  free(memory);
  return 0;
}
"""


def every_type() -> KernelProgram:
    """A function and a variable of each dtype, with names that are nasty in C."""
    functions, variables, offsets = [], [], {}
    for i, dtype in enumerate(DTYPES):
        ports = [buffer(name, (2, 3), INPUT, dtype=dtype) for name in ("for", "a.b", "net")]
        out = buffer("a_b", (2, 3), OUTPUT, dtype=dtype)
        functions.append(KernelFunction(f"f{i}", tuple(ports), (out,), (Launch(affine(6, dtype), (*ports, out)),)))
        variable = buffer(f"layer {i}*/.weight", (), VARIABLE, np.zeros((), dtype.numpy), dtype)
        variables.append(variable)
        offsets[variable] = 64 * i
    return KernelProgram(tuple(functions), tuple(variables), (), offsets, 64 * len(variables))


def compiles(folder, suffix, *flags):
    (folder / "use.h").write_text(emit_header(every_type(), "nasty"))
    source = folder / f"use{suffix}"
    source.write_text('#include "use.h"\n#include "use.h"\nint main(void) { return nasty_size() == 0; }\n')
    strict = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "-o", str(folder / "use.o"))
    return subprocess.run(["cc", *flags, *strict, str(source)], capture_output=True, text=True, timeout=60)


@needs_cc
def test_c99_takes_it_without_a_warning(tmp_path):
    done = compiles(tmp_path, ".c", "-std=c99")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_cpp_takes_it_without_a_warning(tmp_path):
    done = compiles(tmp_path, ".cpp", "-x", "c++", "-std=c++11")
    assert done.returncode == 0, done.stderr


@needs_cc
def test_a_c_program_runs_what_python_saved(tmp_path):
    twos = np.full(6, 2, np.float32)
    with counter().load() as program:
        program.step(twos, twos)
        program.save(tmp_path / "net.so")
    (tmp_path / "main.c").write_text(MAIN)
    build = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c", "./net.so", "-o", "main", "-Wl,-rpath,."]
    built = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{2 * i + 0.5:g} 16 16" for i in range(6)]


def test_everything_a_caller_needs_is_said():
    text = emit_header(counter().program, "net")
    for part in (
        "aligned to 64",
        "1 <= threads <= 256",
        "NET_ERROR_BUSY",
        "in  x: float32[6]",
        "out y: float32[6]",
        "net_var_scale",
    ):
        assert part in text
    assert "int32_t ring_run(ring *net,\n    const float *x,\n    float *y);" in emit_header(ring().program, "ring")
