"""Neuron models against NEST, which integrates them in its own way: docs/neurons.md.

One neuron of each model receives a current that changes every 2 ms. NEST computes its spikes in
steps of 1 us: exactly (iaf_psc_exp_multisynapse, glif_psc, gif_psc_exp_multisynapse), with adaptive
steps (aeif_psc_exp) or by the forward Euler method (izhikevich). Those of `rlsbench.neurons`
approach them in the first order of the step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from rlsbench.export.nest import CAPACITANCE_PF, REST_MV, SCALE_MV, cell_of
from rlsbench.neurons import Neurons, neuron_model

if os.environ.get("RLSBENCH_REQUIRE_SIMULATORS"):
    import nest
else:
    nest = pytest.importorskip("nest", reason="NEST is not installed; pip install rlsbench[simulators]")

Array = NDArray[np.float64]

NEURONS, DURATION_MS, CHANGE_MS, FINE_MS = 16, 200.0, 2.0, 0.001
DT_MS = (0.1, 0.05, 0.025, 0.0125)


class Cell(NamedTuple):
    """A neuron in both programs."""

    nest: str  # name of the model
    settings: dict[str, Any]  # of NEST: mV, pA, pF, nS, ms
    own: dict[str, Any]  # parameters in units of (threshold - reset), as of the model here
    unit_pA: float  # current of 1
    drive: float  # mean and half the range of the current, in that unit
    refractory_ms: float


def exported(name: str, own: dict[str, Any], drive: float, refractory_ms: float) -> Cell:
    """As `rlsbench export --to nest` writes it."""
    made = cell_of(Neurons(neuron_model(name), own, refractory_ms, name), 1, refractory_ms)
    settings = {key: value[0].tolist() for key, value in made.parameters.items()} | {"V_m": REST_MV}
    if name == "adex":
        settings["gsl_error_tol"] = 1e-9
    unit_pA = CAPACITANCE_PF / own["tau_m_ms"] * SCALE_MV
    return Cell(made.model, settings, own, unit_pA, drive, refractory_ms)


def glif(kind: int) -> Cell:
    """With the cell that is the default in both.

    NEST adds what spikes add to currents and theta after the refractory period, here it decays in
    it; phi stays in NEST, here it goes on: so GLIF5 has no refractory period.
    """
    C, G, E_L, V_th = 58.72, 9.43, -78.85, -51.68
    has = {name: kind in kinds for name, kinds in {"R": (2, 4, 5), "ASC": (3, 4, 5), "A": (5,)}.items()}
    refractory = 0.0 if kind == 5 else 3.0
    settings: dict[str, Any] = {"t_ref": refractory or FINE_MS, "V_m": E_L}
    settings |= {
        "spike_dependent_threshold": has["R"],
        "after_spike_currents": has["ASC"],
        "adapting_threshold": has["A"],
    }
    if has["ASC"]:
        settings |= {
            "asc_decay": [0.003, 0.1],
            "asc_amps": [-9.18, -198.94],
            "asc_init": [0.0, 0.0],
            "asc_r": [1.0, 0.8],
        }
    own: dict[str, Any] = {"tau_m_ms": C / G}
    defaults = {name: p.default for name, p in neuron_model(f"glif{kind}").parameters().items()}
    rates = {"jump1": "decay1_per_ms", "jump2": "decay2_per_ms", "jump_theta": "decay_theta_per_ms"}
    own |= {j: defaults[j] * np.exp(defaults[k] * refractory) for j, k in rates.items() if j in defaults}
    if has["ASC"]:
        own["keep2"] = 0.8
    return Cell("glif_psc", settings, own, G * (V_th - E_L), 2.5, refractory)


def izhikevich() -> Cell:
    start = {"V_m": -65.0, "U_m": -14.0}  # v = w = 0
    return Cell("izhikevich", start, {"tau_m_ms": 10.0}, 1.5, 8.0, 0.0)


# gif_psc_exp_multisynapse of the export has no part of the voltage that a spike leaves.
GIF = {"glif2": {"fraction": 0.0}, "glif3": {}, "glif4": {"fraction": 0.0}}
CELLS: dict[str, Callable[[], Cell]] = {
    "lif": lambda: exported("lif", {"tau_m_ms": 12.0}, 1.5, 2.0),
    **{f"glif{k}": lambda k=k: glif(k) for k in range(1, 6)},
    **{f"{n} exported": lambda n=n: exported(n, {"tau_m_ms": 6.227, **GIF[n]}, 2.5, 3.0) for n in GIF},
    "adex": lambda: exported("adex", {"tau_m_ms": 281 / 30}, 1.6, 2.0),
    "izhikevich": izhikevich,
}


def currents(mean: float) -> Array:
    """The current of each neuron in each `CHANGE_MS`, positive and about twice the mean at most."""
    t = np.arange(0, DURATION_MS, CHANGE_MS)
    noise = np.random.default_rng(4).uniform(-0.4, 0.4, (len(t), NEURONS))
    return mean * (1 + 0.5 * np.sin(2 * np.pi * t / 60)[:, None] + noise)


def spikes_of_nest(cell: Cell, drive: Array) -> list[Array]:
    """Times of the spikes of each neuron, ms, in steps of `FINE_MS`."""
    nest.ResetKernel()
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.resolution = FINE_MS
    start, delay = 1.0, 2 * FINE_MS  # when the current begins, and what it takes from the generator to act
    neurons, recorder = nest.Create(cell.nest, NEURONS, params=cell.settings), nest.Create("spike_recorder")
    times = np.round(start - delay + np.arange(len(drive)) * CHANGE_MS, 3)
    for neuron, current in zip(neurons, drive.T, strict=True):
        how = {"amplitude_times": times, "amplitude_values": current * cell.unit_pA}
        generator = nest.Create("step_current_generator", params=how)
        nest.Connect(generator, neuron, syn_spec={"delay": FINE_MS})
    nest.Connect(neurons, recorder, syn_spec={"delay": FINE_MS})
    nest.Simulate(start + DURATION_MS)
    events = recorder.get("events")
    return [np.sort(events["times"][events["senders"] == sender]) - start for sender in neurons.tolist()]


def spikes_of_ours(name: str, cell: Cell, drive: Array, dt_ms: float) -> list[Array]:
    """Times of the spikes of each neuron, ms: the ends of the steps."""
    neurons = Neurons(neuron_model(name), cell.own, cell.refractory_ms, name)
    state, resting = neurons.initial_state(np.zeros(NEURONS)), np.zeros(NEURONS, int)
    found: list[list[float]] = [[] for _ in range(NEURONS)]
    for i, I in enumerate(np.repeat(drive, round(CHANGE_MS / dt_ms), axis=0)):
        spiked = neurons.advance(state, I, resting == 0, dt_ms)
        resting = np.where(spiked, round(cell.refractory_ms / dt_ms), np.maximum(resting - 1, 0))
        for c in np.flatnonzero(spiked):
            found[c].append((i + 1) * dt_ms)
    return [np.array(times) for times in found]


@pytest.mark.parametrize("name", CELLS)
def test_spikes_approach_those_of_nest(name: str) -> None:
    """In the first order of the step: so falls the median error of their times."""
    cell = CELLS[name]()
    drive = currents(cell.drive)
    wanted = spikes_of_nest(cell, drive)
    assert min(len(times) for times in wanted) >= 5
    errors = []
    for dt in DT_MS:
        found = spikes_of_ours(name.partition(" ")[0], cell, drive, dt)
        nearest = [np.abs(ours - t).min() for ours, theirs in zip(found, wanted, strict=True) for t in theirs]
        errors.append(np.median(nearest))
    order = np.polyfit(np.log(DT_MS), np.log(errors), 1)[0]
    assert 0.8 < order < 1.2
    assert errors[0] < 0.6
    assert np.mean(np.array(nearest) < 1.0) > 0.97
    assert sum(len(times) for times in found) == pytest.approx(sum(len(times) for times in wanted), rel=0.01)
