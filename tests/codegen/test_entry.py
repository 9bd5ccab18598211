"""Whole modules: what they export, that kernels are shared, and the interface as a C program sees it."""

import ctypes
import dataclasses
import re

import numpy as np
import pytest
from nets import affine, buffer, counter, ring

from graphc.codegen import abi
from graphc.codegen.llvm import entry
from graphc.codegen.llvm.build import Jit, compile_module
from graphc.codegen.llvm.entry import emit_modules, emit_program
from graphc.codegen.target import host, named
from graphc.errors import CompileError
from graphc.ir.kernel import ALIGNMENT, INPUT, KernelProgram


@pytest.fixture(scope="module")
def native():
    """The functions of `counter` with ctypes signatures, and memory for one net."""
    jit = Jit([emit_program(counter().program, "net", host(), embed_initial=False)], host())

    def function(name, arguments, result=ctypes.c_int32):
        return ctypes.CFUNCTYPE(result, *arguments)(jit.address(f"net_{name}"))

    p = ctypes.c_void_p
    parts = {
        "size": function("size", [], ctypes.c_int64),
        "init": function("init", [p, ctypes.c_int32]),
        "close": function("close", [p]),
        "predict": function("predict", [p, p, p]),
        "bind": function("bind", [p, p], None),
        "jit": jit,
    }
    return type("Native", (), {name: staticmethod(part) for name, part in parts.items()})


@pytest.fixture
def net(native):
    raw = np.zeros(native.size() + ALIGNMENT, np.uint8)
    return raw, raw.ctypes.data + -raw.ctypes.data % ALIGNMENT


def test_wrong_use_gives_error_codes(native, net):
    raw, at = net
    x, y = np.ones(6, np.float32), np.zeros(6, np.float32)
    call = (at, x.ctypes.data, y.ctypes.data)
    assert native.init(None, 1) == abi.NULL_POINTER
    assert native.init(at + 4, 1) == abi.MISALIGNED
    assert native.init(at, 0) == native.init(at, -5) == native.init(at, abi.MAX_THREADS + 1) == abi.BAD_THREADS
    assert native.predict(*call) == native.close(at) == abi.NOT_READY
    assert native.init(at, 1) == abi.OK
    constants = abi.constants(counter().program)
    native.bind(at, constants.ctypes.data)
    assert native.predict(at, None, y.ctypes.data) == native.predict(at, x.ctypes.data, None) == abi.NULL_POINTER
    assert native.predict(None, *call[1:]) == abi.NULL_POINTER
    raw[at - raw.ctypes.data + abi.FIELDS["busy"]] = 1
    assert native.predict(*call) == abi.BUSY
    np.testing.assert_array_equal(y, np.zeros(6))
    assert native.close(at) == abi.OK
    assert native.predict(*call) == native.close(at) == abi.NOT_READY


def test_accessors_for_c_point_into_the_net(native, net):
    where, p = abi.layout(counter().program), ctypes.c_void_p
    jit = Jit([emit_program(counter().program, "net", host(), embed_initial=True)], host())
    total = ctypes.CFUNCTYPE(p, p)(jit.address("net_var_total"))
    assert total(net[1]) == net[1] + where.state + 64
    assert native.size() == where.size == abi.HEADER_SIZE + 128 + 64 + 64


def test_modules_hold_what_the_one_module_holds(monkeypatch):
    monkeypatch.setattr(entry, "BATCH", 1)
    whole = emit_program(counter().program, "net", host(), embed_initial=False)
    frame, kernels = emit_modules(counter().program, "net", host())
    kernels = list(kernels)
    symbols = re.findall(r"define internal void (@k\d+\.\w+)", whole)
    assert [re.findall(r"define hidden void (@k\d+\.\w+)", kernel) for kernel in kernels] == [[symbol] for symbol in symbols]
    assert all(f"declare hidden void {symbol}(" in frame for symbol in symbols)
    pieces = "\n".join([*kernels, frame]).replace("define hidden", "define internal").splitlines()
    assert set(whole.splitlines()) <= set(pieces)


def test_the_same_program_gives_the_same_text():
    assert emit_program(counter().program, "net", host(), True) == emit_program(counter().program, "net", host(), True)


def test_equal_kernels_are_emitted_once():
    text = emit_program(counter().program, "net", host(), True)
    assert len(re.findall(r"define internal void @k\d+\.affine", text)) == 1
    assert len(re.findall(r"define internal void @k\d+\.shift", text)) == 1
    assert text.count("call void @k0.affine(") == 3


def test_no_mutable_globals_and_no_allocation():
    for embed in (False, True):
        text = emit_program(counter().program, "net", host(), embed)
        assert not [line for line in text.splitlines() if " global " in line and "@llvm.used" not in line]
        assert "malloc" not in text and "calloc" not in text


def test_only_the_interface_is_exported():
    text = emit_program(counter().program, "net", host(), True)
    exported = re.findall(r"^define (?!internal)\S+ @([\w.]+)", text, re.M)
    assert sorted(exported) == sorted(
        f"net_{word}" for word in "size init close python step predict var_scale var_total".split()
    )


def test_constants_are_not_folded_as_the_zeros_that_stand_for_them():
    optimised = compile_module(emit_program(counter().program, "net", host(), True), host(), "ll")
    assert "@llvm.memcpy" in optimised and "externally_initialized" in optimised


def test_small_functions_wake_nobody_and_large_ones_meet():
    assert "call void @graphc.run(" not in emit_program(counter().program, "net", host(), False)
    text = emit_program(ring().program, "ring", host(), False)
    assert "call void @graphc.run(" in text
    assert text.count("call void @graphc.meet(") == 80 and text.count("@graphc.take(ptr %self,") == 81


@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3", "x86-64-v4", "aarch64", "riscv64", "wasm32"])
def test_modules_compile_for_other_machines(target):
    made = ring(rounds=4)
    assert len(compile_module(emit_program(made.program, "ring", named(target), True), named(target))) > 500


def test_a_target_without_threads_has_none_in_its_code():
    text = emit_program(ring().program, "ring", named("wasm32"), True)
    assert "pthread" not in text and "getpid" not in text and "graphc.take" not in text


@pytest.mark.parametrize("name", ["", "2net", "my net", "while", "größe"])
def test_program_names_must_be_c_identifiers(name):
    with pytest.raises(CompileError, match="program's name"):
        emit_program(counter().program, name, host(), True)


@pytest.mark.parametrize("name", ["init", "size", "close", "bind", "python", "var_x", "größe"])
def test_function_names_must_not_clash_with_the_interface(name):
    program = counter().program
    functions = (dataclasses.replace(program.functions[0], name=name),)
    with pytest.raises(CompileError, match="function's name"):
        emit_program(dataclasses.replace(program, functions=functions), "net", host(), True)


def test_c_names_are_distinct():
    assert abi.c_names(["a.b", "a_b", "a-b", "for", "1", "", "net"], taken=("net",)) == (
        "a_b", "a_b_2", "a_b_3", "for_", "_1", "_", "net_2",
    )  # fmt: skip


def test_launches_without_tasks_vanish():
    program = counter().program
    function = program.functions[1]
    empty = dataclasses.replace(function.launches[0], kernel=affine(0), args=(buffer("x", (0,), INPUT),) * 4)
    functions = (dataclasses.replace(function, launches=(empty, *function.launches)),)
    text = emit_program(dataclasses.replace(program, functions=functions), "net", host(), False)
    assert text.count("call void @k") == 1


def test_an_empty_program_compiles():
    assert compile_module(emit_program(KernelProgram((), (), (), {}), "none", host(), True), host())
