"""NEST: the files of `npz` in mV, pA and pF, and a script (docs/export.md).

In: a `TrainedNetwork`.  Out: a folder.  Does not import NEST.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import UnsupportedError
from rlsbench.export.network import Kind, Synapses, TrainedNetwork
from rlsbench.export.npz import Units, write_arrays
from rlsbench.export.scripts import write_script

__all__ = ["CAPACITANCE_PF", "REST_MV", "SCALE_MV", "write"]

SCALE_MV: Final = 20.0  #: threshold - reset
REST_MV: Final = -70.0  #: v = 0
CAPACITANCE_PF: Final = 250.0  #: C; the current C/tau_m (threshold - reset) is 1
REASONS: Final = {
    "adex": "aeif_psc_exp has one time constant for each sign of a synapse, and this model three",
    **dict.fromkeys((f"glif{kind}" for kind in range(2, 6)), "glif_psc has synaptic currents of another shape"),
    "izhikevich": "izhikevich has no synaptic currents",
}

Numbers = NDArray[Any]


class _Units(Units):
    """Currents in pA: 1 is C/tau_m (threshold - reset)."""

    def __init__(self, network: TrainedNetwork) -> None:
        p, N = network.problem, network.problem.neurons
        self.pA = np.broadcast_to(CAPACITANCE_PF / np.float64(p.neuron.tau_m_ms) * SCALE_MV, N)
        self.tau_plas_ms = np.broadcast_to(p.tau_plas_ms, N)
        self.tau_ms = np.array([p.tau_I_ms, p.tau_E_ms])
        self.populations = p.populations

    def current(self, rows: Numbers) -> Numbers:
        return rows * self.pA

    def weight(self, kind: Kind, synapses: Synapses) -> Numbers:
        """What a spike adds to the current, pA: weight/tau."""
        pre, post, weight, _ = synapses
        static = kind == "static"
        tau = self.tau_ms[self.populations.excitatory(pre).astype(int)] if static else self.tau_plas_ms[post]
        pA: Numbers = weight / tau * self.pA[post]
        return pA


def write(network: TrainedNetwork, folder: Path) -> None:
    """Write NPZ files in NEST's units, and a script that runs the network in NEST.

    Raises
    ------
    UnsupportedError
        For other neurons than leaky integrate-and-fire ones: NEST has none with the same currents.
    """
    p = network.problem
    if not p.neuron.integrates_and_fires:
        why = REASONS.get(p.neuron.name, "NEST has no such model")
        raise UnsupportedError(f"neuron.model = {p.neuron.name!r} is not written for nest: {why}; lif and glif1 are")
    units, own = _Units(network), network.neurons()
    settings = network.settings() | {"current_unit": "pA", "noise_per_step": 0.0}
    if p.noise.kind != "none":  # either kind, as a current that is constant in a step
        settings["noise_per_step"] = p.noise.sigma * float(np.sqrt(p.noise.tau_m_ms / p.clock.dt_ms))
    N = p.neurons
    neurons = {
        "C_m": np.full(N, CAPACITANCE_PF),
        "tau_m": own["tau_m_ms"],
        "E_L": np.full(N, REST_MV),
        "V_th": REST_MV + SCALE_MV * own["threshold"],
        "V_reset": REST_MV + SCALE_MV * own["reset_voltage"],
        "t_ref": np.full(N, p.refractory_steps * p.clock.dt_ms),
        "I_e": units.current(own["external_current"]),
        "tau_plas": own["tau_plas_ms"],
        "initial_V": REST_MV + SCALE_MV * own["initial_v"],
        "pA": units.pA,
        "sign": own["sign"],
        "population": own["population"],
    }
    if p.background:
        tau = np.where(own["background_weight"] > 0, p.tau_E_ms, p.tau_I_ms)
        neurons["background_rate"] = own["background_hz"]
        neurons["background_weight"] = own["background_weight"] / tau * units.pA
    write_script(folder, "nest.py.j2")
    write_arrays(network, folder, settings, neurons, units)
