"""The harness that runs CUDA source on the CPU: good kernels pass, and each fault that it claims to find is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cuda_cases import BAD, BAD_HOST, GOOD, SIZE, source
from emulated_cuda import COMPILER, CudaFault, Library, build

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++, which compiles CUDA source for the CPU")

BUILDS = {
    "checked": {"flags": ("-DCUDA_ON_CPU_SECONDS=1",)},
    "unchecked": {"checked": False},
    "ucontext": {"flags": ("-DCUDA_CPU_UCONTEXT",)},
}
Libraries = Callable[[str], Library]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    made: dict[str, Library] = {}

    def library(kind: str) -> Library:
        if kind not in made:
            made[kind] = build(source(), tmp_path_factory.mktemp(kind), **BUILDS[kind])  # type: ignore[arg-type]
        return made[kind]

    return library


def arrays(library: Library) -> list[np.ndarray]:
    """x, y and n hold 0, 1, 2 ..., but nobody has written the last one of n."""
    x, y, n = (library.device(np.arange(SIZE).astype(kind)) for kind in (np.float32, np.float32, np.int32))
    library.mark(n[-1:], written=False)
    return [x, y, n]


@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize("what", GOOD)
def test_good_kernels_pass(what: str, kind: str, libraries: Libraries) -> None:
    library = libraries(kind)
    for _ in range(2):  # what is recorded of the first launch does not disturb the second
        x, y, n = arrays(library)
        assert library.call(f"run{list(GOOD).index(what)}", x, y, n, None) == 0
        np.testing.assert_array_equal(y, GOOD[what].expected(np.arange(SIZE).astype(np.float32)))
        assert x[0] == y[0]


def check_fault(what: str, library: Library) -> None:
    number = len(GOOD) + list(BAD).index(what)
    x, y, n = arrays(library)
    y[0] = -1  # is copied to x[0] behind the launch
    with pytest.raises(CudaFault) as caught:
        library.call(f"run{number}", x, y, n, None)
    assert caught.value.code == 719 and x[0] == 0, "the entry went on"
    text = str(caught.value)
    assert text.startswith(f"kernel k{number}") and re.search(BAD[what].pattern, text), text
    if "HERE" in BAD[what].body:
        (line,) = re.findall(r"\), line (\d+): ", text)
        assert "HERE" in source().splitlines()[int(line) - 1], text


@pytest.mark.parametrize("what", BAD)
def test_faults_are_found_with_their_place(what: str, libraries: Libraries) -> None:
    check_fault(what, libraries("checked"))


@pytest.mark.parametrize("what", [name for name in BAD if "barrier " in name and "shared" not in name])
@pytest.mark.parametrize("kind", ["unchecked", "ucontext"])
def test_barriers_are_checked_in_every_build(what: str, kind: str, libraries: Libraries) -> None:
    check_fault(what, libraries(kind))


@pytest.mark.parametrize("what", BAD_HOST)
def test_faults_of_host_code_are_found(what: str, libraries: Libraries) -> None:
    library = libraries("checked")
    with pytest.raises(CudaFault, match=BAD_HOST[what][1]):
        library.call(f"host{list(BAD_HOST).index(what)}", *arrays(library), None)


def test_after_a_fault_is_taken_kernels_run_again(libraries: Libraries) -> None:
    check_fault("a barrier for some threads", libraries("checked"))
    test_good_kernels_pass("a sum by shuffles, then by one warp", "checked", libraries)


def test_source_that_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="does not name a type"):
        build("nonsense here;", tmp_path)
