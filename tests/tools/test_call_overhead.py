"""The report on what calls cost: every way is there, and the native loop really calls."""

import pytest
from call_overhead import measure

from graphc.codegen.link import linkers


@pytest.mark.skipif(not linkers(), reason="no linker")
def test_every_way_is_timed():
    found = measure(calls=20, rounds=3)
    ways = ("entry", "call", "careful call", "numpy.empty")
    assert set(found) == {(where, what) for where in ("compiled", "loaded") for what in ways}
    assert all(len(times) == 3 and 0 < times[0] <= times[2] for times in found.values())
