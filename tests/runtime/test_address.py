"""Addresses of arrays: the fast way is used only where it agrees with the documented one."""

import numpy as np

from graphc.runtime.address import address, direct, documented, holds


def test_the_address_is_that_of_the_first_element():
    base = np.arange(10.0)
    assert address(base[4:]) == base.ctypes.data + 32 == documented(base[4:])


def test_a_wrong_way_is_found_out():
    assert not holds(lambda array: documented(array) + 8)
    assert not holds(lambda array: 0)
    assert holds(documented)
    assert address is direct or not holds(direct)
