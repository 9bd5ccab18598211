"""Text to objects, assembly, optimised IR and code in this process."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

import llvmlite.binding as llvm
import pytest

from graphc.codegen.llvm import build
from graphc.codegen.llvm.build import TURN, Jit, compile_module
from graphc.codegen.target import host, named

ADD = "define i64 @add(i64 %a, i64 %b) {\n  %c = add i64 %a, %b\n  %d = add i64 %c, 0\n  ret i64 %d\n}\n"


def test_jit_runs_and_finds_symbols_of_the_process() -> None:
    text = ADD + "declare i64 @labs(i64)\ndefine i64 @size(i64 %x) {\n  %y = call i64 @labs(i64 %x)\n  ret i64 %y\n}\n"
    jit = Jit([text], host())
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(jit.address("add"))(40, 2) == 42
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.address("size"))(-5) == 5
    with pytest.raises(AssertionError, match="no symbol missing"):
        jit.address("missing")


def test_modules_find_each_other_and_the_next_is_written_meanwhile() -> None:
    call = "declare hidden i64 @twice(i64)\ndefine i64 @f(i64 %x) {\n  %y = call i64 @twice(i64 %x)\n  ret i64 %y\n}\n"
    twice = "define hidden i64 @twice(i64 %x) {\n  %y = call i64 @add(i64 %x, i64 %x)\n  ret i64 %y\n}\n"
    waited, turn = [], sys.getswitchinterval()

    def modules() -> Iterator[str]:
        waited.append(sys.getswitchinterval())
        yield "declare i64 @add(i64, i64)\n" + twice
        yield ADD

    jit = Jit(modules(), host(), plain=[call])
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.address("f"))(21) == 42
    assert waited == [pytest.approx(TURN)] and sys.getswitchinterval() == turn
    with pytest.raises(AssertionError, match="%missing"):
        Jit([ADD, ADD.replace("%b\n", "%missing\n")], host())
    assert sys.getswitchinterval() == turn


@pytest.mark.parametrize("lost", (False, True))
def test_several_threads_compile_what_one_would(lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where llvmlite does not tell where its library is: then one waits for the other."""
    monkeypatch.setattr(build, "_unlocked", build._unlocked.__wrapped__)  # without its memory
    if lost:
        monkeypatch.delattr(type(llvm.ffi.lib), "_handle")
    name = "LLVMPY_TargetMachineEmitToMemory"
    assert (build._unlocked(name) is getattr(llvm.ffi.lib, name)) is lost
    each = [ADD.replace("@add", f"@add{n}").replace(", 0", f", {n}") for n in range(24)]
    alone, among = Jit(each, host()), Jit(iter(each), host(), threads=3)
    for n in range(24):
        where = (jit.address(f"add{n}") for jit in (alone, among))
        assert [ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(at)(40, 2) for at in where] == [42 + n] * 2
    with pytest.raises(AssertionError, match="%missing"):
        Jit([*each, ADD.replace("%b\n", "%missing\n")], host(), threads=3)


@pytest.mark.parametrize("spec,magic", (("x86-64-v3", b"\x7fELF"), ("aarch64", b"\x7fELF"), ("wasm32", b"\0asm")))
def test_objects_are_the_same_every_time(spec: str, magic: bytes) -> None:
    first = compile_module(ADD, named(spec))
    assert isinstance(first, bytes) and first.startswith(magic)
    assert compile_module(ADD, named(spec)) == first


def test_text_forms() -> None:
    assert "add:" in str(compile_module(ADD, named("x86-64"), "asm"))
    slot = "define i64 @kept(i64 %a) {\n  %s = alloca i64\n  store i64 %a, ptr %s\n  %b = load i64, ptr %s\n  ret i64 %b\n}\n"
    optimised = str(compile_module(slot, named("x86-64"), "ll"))
    assert "ret i64 %a" in optimised
    assert "%s" not in optimised
    with pytest.raises(AssertionError):
        compile_module(ADD, named("x86-64"), "exe")


def test_rejected_text_is_shown_with_its_neighbourhood() -> None:
    with pytest.raises(AssertionError, match=r"> +2 +%c = add i64 %a, %missing"):
        compile_module(ADD.replace("%b\n", "%missing\n"), host())
    with pytest.raises(AssertionError, match=r"> +3 +%c = mul i64 %e, 2"):
        text = "define i64 @f(i64 %a) {\nentry:\n  %c = mul i64 %e, 2\n  %e = add i64 %a, 1\n  ret i64 %c\n}\n"
        compile_module(text, host())
