"""Products of matrices, and the schedules that machines get for them."""

from __future__ import annotations

from graphc.passes.machine import Machine
from graphc.passes.schedule import Problem
from graphc.passes.schedule import choose as choose_for
from graphc.passes.tiles import STORED, Loop, Origins, Schedule

MACHINES = [Machine(size, registers) for size in (16, 32, 64) for registers in (16, 32)]


def choose(
    loops: tuple[Loop, ...], width: int, machine: Machine, origins: Origins = (STORED, STORED), results: int = 1
) -> Schedule:
    return choose_for(Problem(loops, width, machine, origins, results))


def product(m: int, k: int, n: int, a_transposed: bool = False, b_transposed: bool = False) -> tuple[Loop, ...]:
    """The loops of c[m, n] = a[m, k] b[k, n], with either operand stored the other way round."""
    a, b = ((1, m) if a_transposed else (k, 1)), ((1, k) if b_transposed else (n, 1))
    return Loop(m, a[0], 0, n, False), Loop(n, 0, b[1], 1, False), Loop(k, a[1], b[0], 0, True)
