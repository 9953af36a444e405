"""The table of hardware: found by name in any spelling, and nothing in it that no device has."""

import pytest

from lmhead.errors import ArgumentError
from lmhead.scaling.hardware import HARDWARE, hardware_named


@pytest.mark.parametrize("name", HARDWARE)
def test_every_name_is_found_in_any_spelling(name):
    assert hardware_named(name) is HARDWARE[name] is hardware_named(name.upper().replace("-", " "))


@pytest.mark.parametrize("name", HARDWARE)
def test_figures_are_bytes_and_operations_a_second(name):
    hardware = HARDWARE[name]
    assert 1e10 < hardware.memory < 1e12
    assert hardware.float32 < hardware.bfloat16 < 1e16
    assert hardware.network <= hardware.link < hardware.memory_rate < 1e14
    assert hardware.rate(2) == hardware.bfloat16
    assert hardware.rate(4) == hardware.float32


@pytest.mark.parametrize(("name", "nearest"), [("h10O", "h100"), ("a10040gb", "a100-40"), ("MI300", "mi300x")])
def test_the_nearest_name_is_said(name, nearest):
    with pytest.raises(ArgumentError, match=rf"hardware must be one of a100-40, .*: did you mean {nearest}\?"):
        hardware_named(name)


def test_a_name_like_none_is_refused_without_a_guess():
    with pytest.raises(ArgumentError, match=r"got 'xyzzy'$"):
        hardware_named("xyzzy")
