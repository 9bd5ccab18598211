"""The direct way into compiled functions: what takes it, that it leaks nothing, and that all others go the careful way."""

import gc
import inspect
import struct
import sys
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
from nets import counter, ring

from graphc.codegen import abi
from graphc.codegen.target import host
from graphc.dtype import DTYPES, DType, float32
from graphc.errors import CallError
from graphc.export import Compilation
from graphc.ir.expr import Array, Var, load
from graphc.ir.kernel import INPUT, OUTPUT, Buffer, Kernel, KernelFunction, KernelProgram, Launch, Store
from graphc.runtime import direct
from graphc.runtime import program as programs

pytestmark = pytest.mark.skipif(not direct.holds(), reason="this interpreter keeps objects in another way")

TWOS = np.full(6, 2, np.float32)
SCALE = np.arange(6, dtype=np.float32)
X = np.arange(1 << 16, dtype=np.float32)
TESTS = Path(__file__).parent.parent


@pytest.fixture
def program():
    with counter().load() as made:
        yield made


@pytest.fixture
def careful_calls(monkeypatch):
    """The arguments of every call that goes the careful way."""
    calls = []
    real = programs.Careful.__call__
    monkeypatch.setattr(programs.Careful, "__call__", lambda self, *a, **k: (calls.append((a, k)), real(self, *a, **k))[1])
    return calls


def copies(shape: tuple[int, ...], dtype: DType, structure: str | tuple[str, ...], outputs: int = 2) -> Compilation:
    """f(x) -> x, `outputs` times."""
    x = Buffer("x", dtype, shape, INPUT)
    out = [Buffer(f"y{i}", dtype, shape, OUTPUT) for i in range(outputs)]
    i = Var("i", x.size)
    a, b = Array("a", dtype, x.size), Array("b", dtype, x.size)
    copy = Kernel("copy", (a, b), i, (Store(b, i, load(a, i)),))
    function = KernelFunction("f", (x,), tuple(out), tuple(Launch(copy, (x, y)) for y in out))
    return Compilation(KernelProgram((function,), (), (), {}), "net", host(), {"f": structure})


# --------------------------------------------------------------------------------------------------------- which way is taken


def test_what_fits_never_reaches_the_careful_way(program, careful_calls):
    method = program.predict.func
    gc.collect()
    assert isinstance(method, types.BuiltinFunctionType)
    assert (method.__name__, method.__doc__) == ("predict", "predict(x: float32[6]) -> float32[6]")
    assert str(inspect.signature(program.predict)) == "(*inputs, **named)"
    np.testing.assert_array_equal(program.predict(TWOS), 2 * SCALE + 0.5)
    frozen = TWOS.copy()
    frozen.flags.writeable = False
    assert list(program.step(frozen, np.array([[2.0] * 6], np.float32)[0])) == ["y", "total"]
    assert careful_calls == []


@pytest.mark.parametrize(
    "value",
    [
        np.full(12, 2, np.float32)[::2],
        np.full(6, 2, ">f4"),
        np.frombuffer(b"\0" + TWOS.tobytes(), np.float32, 6, 1),
        TWOS.view(np.recarray),
        memoryview(TWOS),
        [2.0] * 6,
    ],
    ids=["strided", "big-endian", "misaligned", "subclass", "memoryview", "list"],
)
def test_what_does_not_fit_as_it_is_goes_the_careful_way_and_gives_the_same(program, careful_calls, value):
    np.testing.assert_array_equal(program.predict(value), 2 * SCALE + 0.5)
    assert len(careful_calls) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        TWOS[:5],
        TWOS[:, None],
        TWOS.reshape(2, 3),
        np.float32(2),
        TWOS.astype(np.float64),
        TWOS.view(np.int32),
        np.zeros(0, np.float32),
        np.array([object()] * 6),
        None,
        6,
        "2" * 6,
        bytes(24),
        np.ndarray,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_is_refused(program, wrong):
    before, calls = sys.getrefcount(wrong), 100
    for _ in range(calls):
        with pytest.raises(CallError, match="predict: input 'x': expected float32"):
            program.predict(wrong)
    others = calls // 2 if wrong is None else 0  # who let go of it, or took it, meanwhile: other threads hold None, too
    assert abs(sys.getrefcount(wrong) - before) <= others


@pytest.mark.parametrize("arguments, names", [((), {}), ((TWOS, TWOS), {}), ((), {"y": TWOS}), ((TWOS,), {"x": TWOS})])
def test_wrong_numbers_and_names_are_refused(program, arguments, names):
    with pytest.raises(CallError):
        program.predict(*arguments, **names)


def test_names_go_the_careful_way(program, careful_calls):
    np.testing.assert_array_equal(program.predict(x=TWOS), 2 * SCALE + 0.5)
    assert [named for _, named in careful_calls] == [{"x": TWOS}]


def test_views_of_the_state_are_copied(program, careful_calls):
    program.state["total"] = SCALE
    np.testing.assert_array_equal(program.step(program.state["total"], TWOS)["total"], 3 * SCALE)
    assert len(careful_calls) == 1


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 1, 2)])
def test_any_shape(careful_calls, shape):
    with copies(shape, float32, "bare", 1).load() as program:
        x = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
        result = program.f(x)
        assert result.shape == shape and result.flags.writeable and result.flags.owndata
        np.testing.assert_array_equal(result, x)
    assert careful_calls == []


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(careful_calls, dtype):
    with copies((2, 3), dtype, "bare", 1).load() as program:
        x = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype.numpy)
        result = program.f(x)
        assert result.dtype == dtype.numpy
        np.testing.assert_array_equal(result, x)
    assert careful_calls == []


@pytest.mark.parametrize("structure", ["list", "tuple", ("a", "b")], ids=str)
def test_outputs_come_in_their_structure(careful_calls, structure):
    with copies((6,), float32, structure).load() as program:
        result = program.f(SCALE)
    assert type(result) is {"list": list, "tuple": tuple}.get(structure, dict)
    assert not isinstance(structure, tuple) or tuple(result) == structure
    for part in result.values() if isinstance(result, dict) else result:
        np.testing.assert_array_equal(part, SCALE)
    assert careful_calls == []


# -------------------------------------------------------------------------------------------------------------------- no leak


def leaves_nothing(call, count: int) -> bool:
    """Whether Python's memory grows by less than a pointer a call, the least that anything kept could take."""
    for _ in range(100):
        call()
    gc.collect()
    tracemalloc.start()
    try:
        call()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before < 8 * count
    finally:
        tracemalloc.stop()


def references(*things) -> list[int]:
    """How often each is referred to, not by garbage that merely waits to be collected."""
    gc.collect()
    return [sys.getrefcount(thing) for thing in things]


def refused(call):
    """A call that must raise CallError."""

    def attempt():
        try:
            call()
        except CallError:
            return
        raise AssertionError("the call was not refused")

    return attempt


def test_a_hundred_thousand_calls_leave_nothing(program):
    program.step(TWOS, SCALE)
    ours = [TWOS, SCALE, program.step.func, program.step.func.__self__.careful]
    shared = [False, None, np.dtype(np.float32), np.ndarray, np.empty]  # others refer to them, too
    counts = references(*ours, *shared)
    assert leaves_nothing(lambda: program.step(TWOS, SCALE), 50_000)
    assert leaves_nothing(lambda: program.predict(TWOS), 50_000)
    after = references(*ours, *shared)
    assert after[: len(ours)] == counts[: len(ours)]
    assert all(abs(a - b) < 100 for a, b in zip(after, counts, strict=True))


def test_refused_and_careful_calls_leave_nothing(program):
    closed = counter().load()
    closed.close()
    strided = np.zeros(12, np.float32)[::2]
    counts = references(TWOS, strided, False, True, None)
    assert leaves_nothing(refused(lambda: program.step(TWOS, SCALE[:3])), 1000)
    assert leaves_nothing(refused(lambda: closed.predict(TWOS)), 1000)
    assert leaves_nothing(lambda: program.step(TWOS, strided), 1000)
    after = references(TWOS, strided, False, True, None)
    assert all(abs(a - b) < 100 for a, b in zip(after, counts, strict=True))


@pytest.mark.parametrize("structure", ["list", "tuple", ("a", "b")], ids=str)
def test_every_output_is_owned_by_the_caller_alone(structure):
    with copies((6,), float32, structure).load() as program:
        result = program.f(SCALE)
        parts = list(result.values() if isinstance(result, dict) else result)
        del result
        counts = [sys.getrefcount(parts[0]), sys.getrefcount(parts[1])]
    assert counts == [2, 2]


def test_long_calls_leave_nothing():
    with ring().load(1) as program:
        counts = references(X, True, None)
        assert leaves_nothing(lambda: program.run(X), 300)
        after = references(X, True, None)
    assert all(abs(a - b) < 150 for a, b in zip(after, counts, strict=True))


def test_an_output_that_cannot_be_made_is_an_error_and_nothing_is_kept(monkeypatch):
    made, left = [], [3]

    def stingy(shape, dtype):
        if left[0] == 0:
            raise MemoryError("no more arrays")
        left[0] -= 1
        made.append(np.zeros(shape, dtype))
        return made[-1]

    monkeypatch.setattr(direct.np, "empty", stingy)
    program = counter().load()
    made.clear()
    left[0] = 1
    with pytest.raises(MemoryError, match="no more arrays"):
        program.step(TWOS, TWOS)
    count = sys.getrefcount(made[0])
    assert len(made) == 1 and count == 2
    np.testing.assert_array_equal(program.state["total"], np.zeros(6))
    left[0] = 2
    np.testing.assert_array_equal(program.step(TWOS, TWOS)["total"], np.full(6, 4))


# --------------------------------------------------------------------------------------------------------------- the agreement


def test_both_sides_agree_on_the_record():
    assert direct.VERSION == abi.PYTHON_VERSION
    assert {name: getattr(direct.Record, name).offset for name in abi.RECORD} == abi.RECORD
    found = direct._ARRAY.unpack(bytes(range(direct._ARRAY.size)))
    assert [value & 0xFF for value in found] == [*abi.ARRAY.values()] and direct._HEAD == abi.OBJECT_HEAD


def test_another_layout_of_arrays_is_seen():
    assert direct.arrays_hold(direct._ARRAY)
    for wrong in ("=8xQQi4xQ8xQ8xi", "=8xQQ4xiQ16xQi", "=QQ8xi4xQ16xQi", "=8xQQi4xQ16xQ800xi"):
        assert not direct.arrays_hold(struct.Struct(wrong)), wrong


@pytest.mark.parametrize("reason", ["version", "interpreter"])
def test_where_it_cannot_be_trusted_calls_go_the_careful_way(monkeypatch, careful_calls, reason):
    if reason == "version":
        monkeypatch.setattr(direct, "VERSION", 999)
    else:
        monkeypatch.setattr(direct, "holds", lambda: False)
    with counter().load() as program:
        np.testing.assert_array_equal(program.predict(TWOS), 2 * SCALE + 0.5)
    assert len(careful_calls) == 1
