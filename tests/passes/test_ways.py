"""Operands that are padded: read in place inside of bounds, or made first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from programs import check_kernels, optimised

from graphc.codegen.peel import peel
from graphc.dtype import DType, float16, float32
from graphc.interp.kernel import initial_state, run_function, run_kernel
from graphc.ir.expr import Load
from graphc.ir.graph import Graph
from graphc.ir.kernel import Launch, evaluated, walk
from graphc.ir.kernel_verify import verify_kernel
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, make
from graphc.ops.convolve import conv_general
from graphc.ops.pieces import pad
from graphc.ops.source import placeholder, variable
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine

MACHINES = [Machine(16, 16), Machine(32, 16), Machine(64, 32), Machine(16, 16, l1=256, l2=512), Machine(4, 4, 1 << 40, 1 << 40)]
LAST = {"lhs_spec": (0, 3, 1, 2), "out_spec": (0, 3, 1, 2)}  # channels last
WIDE = Machine(64, 32)


def tensor(name: str, *shape: int, dtype: DType = float32) -> Value:
    return placeholder(name, TensorType(dtype, shape))


def conv(
    x: Value,
    outs: int,
    taps: Sequence[int],
    padding: Sequence[tuple[int, int]],
    stride: int = 1,
    groups: int = 1,
    frozen: bool = False,
) -> Value:
    w = tensor("w", outs, x.shape[3] // groups, *taps, dtype=x.dtype)
    if frozen:
        w = constant(np.random.default_rng(2).standard_normal(w.shape).astype(w.dtype.numpy))
    return conv_general(x, w, strides=(stride, stride), padding=padding, feature_groups=groups, **LAST)


def graph(y: Value, updates: tuple[tuple[Value, Value], ...] = ()) -> Graph:
    plain = Graph("f", (), (y,), updates)
    return optimised(Graph("f", tuple(v for v in plain.values() if v.op.name == "placeholder"), (y,), updates))


def launches(y: Value, machine: Machine = WIDE) -> tuple[Launch, ...]:
    (function,) = lower([fuse(graph(y))], machine).functions
    return function.launches


def names(y: Value, machine: Machine = WIDE) -> list[str]:
    return [launch.kernel.name for launch in launches(y, machine)]


PADDINGS = (((1, 1), (1, 1)), ((2, 0), (0, 1)), ((0, 3), (2, 2)))


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_convolutions_with_padding(machine: Machine) -> None:
    cases = ((17, 17, 1), (18, 1, 2), (3, 1, 1))
    for (channels, groups, stride), padding in zip(cases, PADDINGS, strict=True):
        x = tensor("x", 1, 5, 7, channels)
        for frozen in (False, True):
            y = conv(x, 17 if groups == 17 else 9, (3, 3), padding, stride, groups, frozen)
            check_kernels(graph(y), machine, calls=1)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_kernels_with_fewer_guards_compute_the_same_bits(machine: Machine) -> None:
    rng = np.random.default_rng(1)
    for (size, taps, stride), padding in product((((3, 4), (3, 3), 1), ((9, 5), (2, 5), 2), ((1, 7), (3, 1), 1)), PADDINGS):
        x = tensor("x", 1, *size, 20)
        ways = (conv(x, 20, taps, padding, stride, 20), conv(x, 20, taps, padding, stride, 20, True),
                conv(x, 20, taps, padding, stride, frozen=True))  # fmt: skip
        for launch in (launch for y in ways for launch in launches(y, machine)):
            verify_kernel(peeled := peel(launch.kernel))
            before = [rng.standard_normal(buffer.size).astype(np.float32) for buffer in launch.args]
            after = [array.copy() for array in before]
            run_kernel(launch.kernel, before)
            run_kernel(peeled, after)
            assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_convolution_reads_between_its_borders_in_place() -> None:
    x, around = tensor("x", 1, 14, 14, 64), ((1, 1), (1, 1))
    for y in (conv(x, 64, (3, 3), around, groups=64), conv(x, 32, (3, 3), around)):
        assert names(y) == ["conv_general_pack", "conv_general"]  # panels of weights
        assert not any(buffer.shape[1:3] == (16, 16) for launch in launches(y) for buffer in launch.args)


def test_a_test_of_every_lane_does_not_pay() -> None:
    """Few channels: lanes run along the pixels, of which some are padding."""
    x = tensor("x", 8, 2, 30, 30)
    y = conv_general(x, tensor("w", 6, 2, 5, 5), strides=(1, 1), padding=((2, 2), (2, 2)))
    assert names(y) == ["conv_general_lhs", "conv_general"]


def test_what_is_computed_before_it_is_padded_is_made() -> None:
    grown = pad(make("tanh", tensor("x", 1, 14, 14, 64)), (0, 1, 1, 0), (0, 1, 1, 0))
    assert len(launches(conv(grown, 32, (3, 3), ((0, 0), (0, 0))))) > 1


def test_other_numbers_than_zeros_are_made() -> None:
    for value, made in ((0, False), (1, True)):
        grown = pad(tensor("x", 1, 14, 14, 64), (0, 1, 1, 0), (0, 1, 1, 0), value=value)
        assert ("conv_general_lhs" in names(conv(grown, 32, (3, 3), ((0, 0), (0, 0))))) is made


def test_a_variable_is_read_before_its_contraction_updates_it() -> None:
    held = variable("h", np.random.default_rng(0).standard_normal((1, 6, 6, 32)).astype(np.float32))
    y = conv(held, 32, (3, 3), ((1, 1), (1, 1)), groups=32)
    for machine in MACHINES:
        check_kernels(graph(full(TensorType(float32, (1,)), 0), ((held, y),)), machine, calls=2)


def test_zeros_around_are_not_multiplied_by_finite_constants() -> None:
    """If the weights were infinite after all, no result would be NaN."""
    for outs, frozen, whole in ((64, True, True), (64, False, False), (20, True, True)):
        y = conv(tensor("x", 1, 14, 14, 32), outs, (3, 3), ((1, 1), (1, 1)), stride=2, frozen=frozen)
        *_, launch = launches(y)
        arrays = [np.full(buffer.size, value, np.float32) for buffer, value in zip(launch.args, (1, np.inf, 0), strict=True)]
        peeled = peel(launch.kernel)
        run_kernel(peeled, arrays)
        assert np.isinf(arrays[2]).all() == whole
        guarded = [e for e in evaluated(*walk(peeled.body)) if isinstance(e, Load) and e.guard is not None]
        assert (not guarded) == whole


def test_infinite_weights_meet_the_zeros_around() -> None:
    """Zero times infinity is no number, beyond the border too."""
    w = np.ones((32, 1, 3, 3), np.float32)
    w[3, 0, 0, 0] = np.inf
    y = conv_general(tensor("x", 1, 3, 4, 32), constant(w), strides=(1, 1), padding=((1, 1), (1, 1)), feature_groups=32, **LAST)
    program = lower([fuse(graph(y))], WIDE)
    (found,) = run_function(program, "f", [np.ones((1, 3, 4, 32), np.float32)], initial_state(program))
    assert np.isnan(found[0, :, :, 3]).sum() == 6  # the first row and column
    assert np.isnan(found).sum() == 6
    (launch,) = program.functions[0].launches
    assert peel(launch.kernel) is not launch.kernel


def test_halves_are_read_in_place_too() -> None:
    y = conv(tensor("x", 1, 9, 9, 32, dtype=float16), 32, (3, 3), ((1, 1), (1, 1)), groups=32)
    assert "conv_general_lhs" not in names(y)
    check_kernels(graph(y), WIDE, calls=1)
