"""Linking: the same bytes each time, with the system's compiler or without, and clear errors."""

import ctypes
import importlib.util

import numpy as np
import pytest
from nets import counter

from graphc.codegen import link as linking
from graphc.codegen.link import image_offset, link, linkers
from graphc.codegen.target import host, named
from graphc.errors import CompileError
from graphc.runtime import artifact
from graphc.runtime.loader import load

needs_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the package ziglang is not installed")


def without_compilers(monkeypatch, *names):
    kept = {name: command for name, command in linkers().items() if name not in names}
    monkeypatch.setattr(linking, "linkers", lambda: kept)


@pytest.mark.skipif(not set(linkers()) - {"ziglang"}, reason="no C compiler")
def test_the_same_object_gives_the_same_library():
    code = counter().emit("obj")
    assert link(code, host()) == link(code, host())


def test_the_library_holds_the_image():
    made = counter()
    product = made.product()
    start = product.manifest.image
    assert start == image_offset(product.code)
    np.testing.assert_array_equal(np.frombuffer(product.code, np.uint8, made.image.size, start), made.image)


@needs_zig
def test_zig_links_where_there_is_no_compiler(monkeypatch, tmp_path):
    without_compilers(monkeypatch, "cc", "gcc", "clang")
    with counter().load() as program:
        program.save(tmp_path / "net.so")
    with load(tmp_path / "net.so") as program:
        np.testing.assert_array_equal(program.predict(np.ones(6, np.float32)), np.arange(6) + 0.5)


@needs_zig
def test_zig_links_for_other_machines():
    product = counter(target=named("aarch64")).product()
    assert product.code[:4] == b"\x7fELF" and product.code[18] == 183  # EM_AARCH64
    assert artifact.unpack(artifact.pack(bytes(product.code), product.manifest))[1].triple.startswith("aarch64")


def test_without_any_linker_both_ways_out_are_named(monkeypatch):
    without_compilers(monkeypatch, "cc", "gcc", "clang", "ziglang")
    with pytest.raises(CompileError, match=r"cc, gcc, clang.*ziglang"):
        link(b"", host())
    with pytest.raises(CompileError, match=r"aarch64.*pip install ziglang"):
        link(b"", named("aarch64"))


def test_what_the_linker_says_is_passed_on():
    if not linkers():
        pytest.skip("no linker")
    with pytest.raises(CompileError, match=r"linking failed: [\s\S]*net\.o"):
        link(b"no object", host())


def test_other_systems_take_the_object():
    made = counter(target=named("wasm32"))
    with pytest.raises(CompileError, match=r"wasm32.*--emit obj"):
        made.product()
    assert made.emit("obj")[:4] == b"\0asm"


def test_foreign_code_does_not_load_here():
    with pytest.raises(CompileError, match="riscv64"):
        counter(target=named("riscv64")).load()


def test_libraries_need_nothing_but_the_system(tmp_path):
    with counter().load() as program:
        program.save(tmp_path / "net.so")
    assert ctypes.CDLL(str(tmp_path / "net.so")).net_size() > 0
