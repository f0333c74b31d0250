"""Kernels at the end of a network of four million neurons, of which only the last ones run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import emulator
from tests.emulator import emulated_cupy, indices
from tests.emulator.device import machine

emulator.need()


@pytest.fixture
def cupy() -> Iterator[Any]:
    """The stand-in, on a device of 16 TB."""
    with emulated_cupy() as stand_in:
        machine().device_bytes = 2**44
        yield stand_in


@pytest.mark.parametrize("kernel", indices.CHECKS)
def test_last_neurons_of_a_huge_network(kernel: str, cupy: Any) -> None:
    indices.CHECKS[kernel](cupy)


def test_every_kernel_that_is_large_is_checked() -> None:
    """Every kernel that indexes by more than the neuron has a check here."""
    from rlsbench_cupy.compiling import MODULES, source
    from tests.emulator.native import _kernel_names

    names = {name for files in MODULES.values() for name in _kernel_names(source(*files))}
    one_number_a_neuron = {"begin", "step", "replayed_step", "filtered_spikes", "jumps", "learn_given"}
    checked = {part for name in indices.CHECKS for part in name.split("_and_")}
    assert {
        name for name in names - one_number_a_neuron if name not in checked | {"fold", "fill_outputs", "count_outputs"}
    } == set()
