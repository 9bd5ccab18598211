"""Calls of compiled programs: what they take, what they refuse, what they give, and their state."""

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from nets import affine, buffer, counter

from graphc.codegen import abi
from graphc.codegen.target import host
from graphc.dtype import FLOATS, DType, bool_, float32, int64, uint8
from graphc.errors import CallError, GraphcError, MemoryLimitError
from graphc.export import Compilation
from graphc.ir.kernel import ARENA, INPUT, OUTPUT, Buffer, KernelFunction, KernelProgram, Launch
from graphc.runtime.arrays import conform
from graphc.runtime.manifest import Port

TWOS = np.full(6, 2, np.float32)
SCALE = np.arange(6, dtype=np.float32)


@pytest.fixture
def program():
    with counter().load() as made:
        yield made


def test_functions_share_variables_and_updates_are_in_place(program):
    first = program.step(TWOS, TWOS)
    second = program.step(TWOS, lr=TWOS)
    assert list(first) == ["y", "total"]
    np.testing.assert_array_equal(first["total"], np.full(6, 4))
    np.testing.assert_array_equal(second["total"], np.full(6, 8))
    np.testing.assert_array_equal(program.state["total"], np.full(6, 8))
    np.testing.assert_array_equal(program.predict(TWOS), 2 * SCALE + 0.5)


def test_outputs_are_fresh_arrays(program):
    first, second = program.predict(TWOS), program.predict(TWOS)
    first[:] = 0
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(second, 2 * SCALE + 0.5)


def test_inputs_by_name_in_any_order(program):
    np.testing.assert_array_equal(program.step(lr=SCALE, x=TWOS)["y"], 2 * SCALE + 0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.full(12, 2, np.float32)[::2],
        lambda: np.full(6, 2, ">f4"),
        lambda: np.full((6, 2), 2, np.float32)[:, 0],
        lambda: np.frombuffer(b"\0" + TWOS.tobytes(), np.float32, 6, 1),
        lambda: [2.0] * 6,
        lambda: (2, 2, 2, 2, 2, True + 1),
    ],
    ids=["strided", "big-endian", "column", "misaligned", "list", "tuple"],
)
def test_any_layout_of_the_same_numbers_gives_the_same_result(program, make):
    np.testing.assert_array_equal(program.predict(make()), 2 * SCALE + 0.5)


def test_read_only_and_subclass_inputs_are_taken(program):
    frozen = TWOS.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(program.predict(frozen), 2 * SCALE + 0.5)
    np.testing.assert_array_equal(program.predict(TWOS.view(np.recarray)), 2 * SCALE + 0.5)


def test_a_view_of_the_state_may_be_an_input(program):
    program.state["total"] = SCALE
    np.testing.assert_array_equal(program.step(program.state["total"], TWOS)["total"], 3 * SCALE)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda p: p.step(TWOS), ["step", "'lr'", "float32[6]"]),
        (lambda p: p.step(TWOS, TWOS, TWOS), ["step", "2 inputs", "got 3"]),
        (lambda p: p.step(TWOS, lrs=TWOS), ["no input 'lrs'", "did you mean 'lr'"]),
        (lambda p: p.step(TWOS, x=TWOS), ["'x' was given twice"]),
        (lambda p: p.step(TWOS, TWOS.astype(np.float64)), ["step: input 'lr': expected float32[6], got float64[6]", "astype"]),
        (lambda p: p.predict(TWOS[:5]), ["predict: input 'x': expected float32[6], got float32[5]"]),
        (lambda p: p.predict(TWOS[:, None]), ["got float32[6, 1]"]),
        (lambda p: p.predict(np.float32(2)), ["got float32[]"]),
        (lambda p: p.predict([2.0] * 5), ["got float32[5]"]),
        (lambda p: p.predict([[1.0], [2.0, 3.0]]), ["is no array"]),
        (lambda p: p.predict(["2"] * 6), ["expected float32[6], got a list"]),
        (lambda p: p.predict([1e300] * 6), ["cannot hold"]),
        (lambda p: p.predict([2**24 + 1] * 6), ["cannot hold"]),
        (lambda p: p.predict("hello"), ["got <U5[]", "not made of real numbers"]),
        (lambda p: p.predict(np.array([None] * 6)), ["got an array of Python objects"]),
        (lambda p: p.predict(None), ["NoneType"]),
        (lambda p: p.predict(object()), ["object"]),
        (lambda p: p.predict(TWOS.astype(">f8")), ["got float64[6]"]),
    ],
)
def test_a_wrong_call_says_what_was_expected_and_touches_nothing(program, call, words):
    before = program.state_dict()
    with pytest.raises(CallError) as caught:
        call(program)
    for word in words:
        assert word in str(caught.value)
    for name, value in program.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    "value, dtype, fits",
    [
        (1.5, float32, True),
        (1, float32, True),
        (True, float32, True),
        (1.5, int64, False),
        (3, int64, True),
        (2**63, int64, False),
        (256, uint8, False),
        (255, uint8, True),
        (-1, uint8, False),
        (1, bool_, False),
        (False, bool_, True),
        (float("nan"), float32, True),
        (float("inf"), float32, True),
        (np.float64(1.5), float32, False),
        (np.float32(1.5), float32, True),
        (1j, float32, False),
        (10**30, int64, False),
    ],
)
def test_python_numbers_are_converted_when_nothing_is_lost(value, dtype: DType, fits: bool):
    port = Port("x", dtype, ())
    if fits:
        result = conform(value, port, "f")
        assert result.dtype == dtype.numpy
        np.testing.assert_array_equal(result, np.asarray(value))
    else:
        with pytest.raises(CallError, match="f: input 'x'"):
            conform(value, port, "f")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_float_type_crosses_the_border(dtype):
    kernel = affine(5, dtype)
    ports = [Buffer(name, dtype, (5,), INPUT) for name in "xab"]
    out = Buffer("y", dtype, (5,), OUTPUT)
    function = KernelFunction("f", tuple(ports), (out,), (Launch(kernel, (*ports, out)),))
    with Compilation(KernelProgram((function,), (), (), {}), "net", host()).load() as program:
        x = np.arange(5).astype(dtype.numpy)
        result = program.f(x, x, x)
        assert result.dtype == dtype.numpy
        np.testing.assert_array_equal(result.astype(np.float64), np.arange(5.0) ** 2 + np.arange(5))


def test_state_is_a_view_and_a_mapping(program):
    view = program.state["scale"]
    view[:] = 7
    np.testing.assert_array_equal(program.predict(TWOS), np.full(6, 14.5))
    assert program.state["scale"] is view
    assert set(program.state) == {"scale", "total"} and len(program.state) == 2
    with pytest.raises(KeyError, match="did you mean 'scale'"):
        program.state["scael"]


def test_state_dict_copies_and_loads_back(program):
    program.step(TWOS, TWOS)
    saved = program.state_dict()
    program.step(TWOS, TWOS)
    np.testing.assert_array_equal(saved["total"], np.full(6, 4))
    program.load_state_dict(saved)
    np.testing.assert_array_equal(program.state["total"], np.full(6, 4))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.pop("total"), ["no value for 'total'"]),
        (lambda s: s.update(totl=s.pop("total")), ["no variable 'totl' (did you mean 'total'?)", "no value for 'total'"]),
        (lambda s: s.update(total=np.zeros(5, np.float32)), ["'total': expected float32[6], got float32[5]"]),
        (lambda s: s.update(total=np.zeros(6, np.float64)), ["'total': expected float32[6], got float64[6]"]),
    ],
)
def test_a_state_that_does_not_fit_is_refused_whole(program, change, words):
    state = {name: value + 1 for name, value in program.state_dict().items()}
    change(state)
    before = program.state_dict()
    with pytest.raises(CallError) as caught:
        program.load_state_dict(state)
    for word in words:
        assert word in str(caught.value)
    for name, value in program.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_partial_state_loads_when_not_strict(program):
    program.load_state_dict({"total": SCALE}, strict=False)
    np.testing.assert_array_equal(program.state["total"], SCALE)


def test_repr_and_dir_list_the_functions(program):
    assert "step(x: float32[6], lr: float32[6]) -> {y: float32[6], total: float32[6]}" in repr(program)
    assert "predict(x: float32[6]) -> float32[6]" in repr(program.predict)
    assert {"step", "predict"} <= set(dir(program)) and set(program.functions) == {"step", "predict"}
    with pytest.raises(AttributeError, match="did you mean 'predict'"):
        program.predct  # noqa: B018


@pytest.mark.parametrize("name", ["save", "state", "_net"])
def test_a_function_cannot_take_the_name_of_an_attribute(name):
    base = counter()
    renamed = tuple(
        KernelFunction(name if f.name == "predict" else f.name, f.inputs, f.outputs, f.launches) for f in base.program.functions
    )
    program = KernelProgram(renamed, base.program.variables, base.program.constants, base.program.offsets, 128, 64)
    with pytest.raises(GraphcError, match=f"'{name}'"):
        Compilation(program, "net", host()).load()


def test_a_closed_program_refuses_calls_and_keeps_its_state():
    program = counter().load()
    program.close()
    program.close()
    with pytest.raises(CallError, match="closed"):
        program.predict(TWOS)
    np.testing.assert_array_equal(program.state["scale"], SCALE)


def test_programs_are_independent_and_freed():
    one, two = counter().load(), counter().load()
    one.step(TWOS, TWOS)
    np.testing.assert_array_equal(two.state["total"], np.zeros(6))
    view, net = one.state["total"], weakref.ref(one._net)
    predict = two.predict
    del one, two
    gc.collect()
    assert net() is None
    np.testing.assert_array_equal(view, np.full(6, 4))
    np.testing.assert_array_equal(predict(TWOS), 2 * SCALE + 0.5)


def test_calls_from_many_threads_wait_for_each_other(program):
    def work():
        for _ in range(50):
            program.step(TWOS, TWOS)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(program.state["total"], np.full(6, 4 * 50 * 4))


def test_too_much_memory_is_an_error_with_the_bytes():
    base = counter()
    huge = buffer("huge", (1,), ARENA)
    program = KernelProgram(
        base.program.functions, base.program.variables, base.program.constants, base.program.offsets | {huge: 64}, 128, 1 << 60
    )
    with pytest.raises(MemoryLimitError, match=str((1 << 60) + abi.HEADER_SIZE + 128 + 64)):
        Compilation(program, "net", host(), base.structures).load()


def test_the_interpreter_exits_while_workers_sleep():
    code = "from nets import ring; import numpy as np; p = ring().load(3); p.run(np.zeros(1 << 16, np.float32)); print('done')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "done\n" and done.returncode == 0, done.stderr
