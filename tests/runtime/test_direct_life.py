"""The direct way into compiled functions among threads, and over the life of programs, libraries and the process."""

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from nets import counter, ring

from graphc.codegen.llvm.entry import emit_program
from graphc.codegen.target import host, named
from graphc.errors import CallError
from graphc.runtime import direct
from graphc.runtime.loader import load as load_artifact

pytestmark = pytest.mark.skipif(not direct.holds(), reason="this interpreter keeps objects in another way")

TWOS = np.full(6, 2, np.float32)
SCALE = np.arange(6, dtype=np.float32)
X = np.arange(1 << 16, dtype=np.float32)
TESTS = Path(__file__).parent.parent


@pytest.fixture
def program():
    with counter().load() as made:
        yield made


# ---------------------------------------------------------------------------------------------------------- threads, the GIL


def test_a_call_waits_for_whoever_has_the_lock(program):
    results = []
    caller = threading.Thread(target=lambda: results.append(program.predict(TWOS)))
    with program._net.lock:
        caller.start()
        caller.join(0.1)
        assert caller.is_alive() and results == []
    caller.join(30)
    np.testing.assert_array_equal(results[0], 2 * SCALE + 0.5)


def test_long_calls_from_many_threads_wait_for_each_other():
    expected = np.roll(X, -sum(range(1, 81)))
    wrong = []

    def work():
        wrong.extend(1 for _ in range(20) if not (program.run(X) == expected).all())

    with ring().load(2) as program:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_only_long_calls_let_other_threads_run(long):
    """Nobody is made to give the GIL away here, so the other thread runs when a call does so by itself."""
    ran, go, begun = [], threading.Lock(), threading.Event()

    def other():
        begun.set()
        go.acquire()
        ran.append(True)

    with (ring() if long else counter()).load(1) as program:
        call, x = (program.run, X) if long else (program.predict, TWOS)
        interval = sys.getswitchinterval()
        go.acquire()
        thread = threading.Thread(target=other)
        thread.start()
        begun.wait()
        sys.setswitchinterval(1000)
        try:
            go.release()
            for _ in range(3000):
                call(x)
                if ran:
                    break
            seen = bool(ran)
        finally:
            sys.setswitchinterval(interval)
            thread.join()
    assert seen == long


def test_the_decision_stands_in_the_code():
    def releases(compilation):
        text = emit_program(compilation.program, "net", host(), False)
        return [line.split("[i64 ")[1].split(", ")[2] for line in text.splitlines() if line.startswith("@python.0 ")]

    assert releases(ring()) == ["i64 1"] and releases(counter()) == ["i64 0"]


# ----------------------------------------------------------------------------------------------------------- life and loading


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("direct") / "net.so"
    with counter().load() as program:
        program.save(path)
    return path


def test_a_function_outlives_its_program_and_a_closed_one_says_so(saved):
    for make in (lambda: counter().load(), lambda: load_artifact(saved)):
        predict = make().predict
        gc.collect()
        np.testing.assert_array_equal(predict(TWOS), 2 * SCALE + 0.5)
        program = make()
        inner = program.predict.func
        program.close()
        for call in (program.predict, inner):
            with pytest.raises(CallError, match="closed"):
                call(TWOS)
        del program
        gc.collect()
        with pytest.raises(CallError, match="closed"):
            inner(TWOS)


def test_programs_in_cycles_are_collected(saved):
    for _ in range(20):
        program = load_artifact(saved)
        program.itself = [program, program.predict, program.predict.func]
        del program
    gc.collect()
    assert not any(str(saved.parent) in line for line in Path("/proc/self/maps").read_text().splitlines())


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_loaded_program_needs_no_llvmlite_for_it(saved):
    code = (
        "import sys\n"
        "for name in ('llvmlite', 'networkx'): sys.modules[name] = None\n"
        "from graphc.runtime.loader import load\n"
        "import numpy as np\n"
        f"f = load({str(saved)!r}).predict\n"
        "print(type(f.func).__name__, f(np.ones(6, np.float32)).sum())\n"
    )
    assert run(code) == "builtin_function_or_method 18.0\n"


@pytest.mark.parametrize("make", ["counter().load()", "load({path!r})"])
def test_a_call_at_the_very_end_of_the_process_is_refused(saved, make):
    code = (
        "import atexit\n"
        "def late():\n"
        "    try: program.predict(np.ones(6, np.float32))\n"
        "    except Exception as error: print(error)\n"
        "atexit.register(late)\n"
        "from graphc.runtime.loader import load\n"
        "from nets import counter\n"
        "import numpy as np\n"
        f"program = {make.format(path=str(saved))}\n"
    )
    assert "was closed" in run(code)


def test_the_end_of_the_process_may_compile():
    code = (
        "import atexit\n"
        "import numpy as np\n"
        "from nets import counter\n"
        "atexit.register(lambda: print(counter().load().predict(np.ones(6, np.float32)).sum()))\n"
    )
    assert run(code) == "18.0\n"


def test_the_library_knows_no_name_of_python(saved):
    for word in (b"PyObject", b"PyEval", b"PyList", b"Py_"):
        assert word not in saved.read_bytes()


def test_targets_with_other_pointers_have_no_entry():
    assert "_python(" not in emit_program(counter().program, "net", named("wasm32"), True)
    assert counter(target=named("wasm32")).manifest().python == 0
