"""NEST: the files of `npz` in mV, pA and pF, and a script (docs/export.md).

In: a `TrainedNetwork`.  Out: a folder.  Does not import NEST.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import UnsupportedError
from rlsbench.export.network import Kind, Synapses, TrainedNetwork
from rlsbench.export.npz import Units, write_arrays
from rlsbench.export.scripts import write_script
from rlsbench.neurons import Neurons
from rlsbench.neurons.adex import AdEx
from rlsbench.neurons.glif import GLIF2, GLIF3, GLIF4

__all__ = ["CAPACITANCE_PF", "REST_MV", "SCALE_MV", "Cell", "cell_of", "write"]

SCALE_MV: Final = 20.0  #: threshold - reset
REST_MV: Final = -70.0  #: v = 0
CAPACITANCE_PF: Final = 250.0  #: C; the current C/tau_m (threshold - reset) is 1
SLOPE_MV: Final = 1e-6  # over which the stochastic threshold of GIF rises: none
PROBE: Final = "iaf_psc_exp_multisynapse"  # records the currents of neurons whose model does not
RECORDED: Final = {  # names of the synaptic currents of a model, and their signs
    PROBE: {"I_syn_1": 1, "I_syn_2": 1, "I_syn_3": 1},
    "aeif_psc_exp": {"I_syn_ex": 1, "I_syn_in": -1},
}
REASONS: Final = {
    "glif5": "glif_psc has it, with synaptic currents of another shape (alpha functions)",
    "izhikevich": "the model izhikevich has no synaptic currents",
}

Numbers = NDArray[Any]


class Cell(NamedTuple):
    """Neurons as NEST has them."""

    model: str  #: name in NEST
    parameters: dict[str, Numbers]  #: by NEST's names, (N,), or (N, k) for lists of k values


def cell_of(neurons: Neurons, N: int, refractory_ms: float) -> Cell:
    """The model of NEST with the same equations, and exponential currents of any time constant.

    Parameters
    ----------
    neurons : Neurons
    N : int
        Number of neurons.
    refractory_ms : float
        In whole steps.

    Raises
    ------
    UnsupportedError
        If NEST has no such model, or it lacks what a parameter stands for.
    """
    name, kind = neurons.name, neurons.model
    v = {key: np.broadcast_to(np.float64(value), N) for key, value in neurons.values.items()}
    conductance = CAPACITANCE_PF / v["tau_m_ms"]  # nS

    def mV(voltage: Numbers) -> Numbers:
        return REST_MV + SCALE_MV * voltage

    common = {
        "C_m": np.full(N, CAPACITANCE_PF),
        "E_L": np.full(N, REST_MV),
        "V_reset": mV(v["reset_voltage"]),
        "t_ref": np.full(N, refractory_ms),
    }
    if neurons.integrates_and_fires:
        return Cell(PROBE, common | {"tau_m": v["tau_m_ms"], "V_th": mV(v["threshold"])})
    if kind is AdEx:
        own = {
            "g_L": conductance,
            "V_th": mV(v["threshold"]),
            "V_peak": mV(v["peak"]),
            "Delta_T": SCALE_MV * v["slope"],
            "a": conductance * v["a"],
            "b": conductance * SCALE_MV * v["b"],
            "tau_w": v["tau_w_ms"],
        }
        return Cell("aeif_psc_exp", common | own)
    if kind not in (GLIF2, GLIF3, GLIF4):
        why = REASONS.get(name, "NEST has no model with these equations and exponential currents of three kinds")
        raise UnsupportedError(f"neuron.model = {name!r} is not written for nest: {why}; choose --to brian2")
    for key, wanted in (("fraction", 0.0), ("keep1", 1.0), ("keep2", 1.0)):
        if key in v and (wrong := v[key] != wanted).any():
            raise UnsupportedError(
                f"neuron.model = {name!r} is not written for nest: {key} = {v[key][wrong][0]:g}, but "
                f"gif_psc_exp_multisynapse has {wanted:g}; choose --to brian2"
            )
    if not refractory_ms:
        raise UnsupportedError(
            f"neuron.model = {name!r} is not written for nest: gif_psc_exp_multisynapse resets the voltage in the "
            "refractory period, and neuron.refractory_ms = 0; choose --to brian2"
        )
    own = {
        "g_L": conductance,
        "V_T_star": mV(v["threshold"]),
        "Delta_V": np.full(N, SLOPE_MV),
        "lambda_0": np.ones(N),
    }
    with np.errstate(divide="ignore"):  # what does not decay has an infinite time constant
        if "jump_theta" in v:
            own["V_reset"] = mV(v["jump_v"])
            own["tau_sfa"], own["q_sfa"] = 1 / v["decay_theta_per_ms"][:, None], SCALE_MV * v["jump_theta"][:, None]
        if "jump1" in v:
            jumps = -conductance * SCALE_MV * np.stack([v["jump1"], v["jump2"]])
            own["tau_stc"], own["q_stc"] = 1 / np.stack([v["decay1_per_ms"], v["decay2_per_ms"]], axis=1), jumps.T
    return Cell("gif_psc_exp_multisynapse", common | own)


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
        If NEST has no neurons with the same equations and synaptic currents.
    """
    p, N = network.problem, network.problem.neurons
    cell = cell_of(p.neuron, N, p.refractory_steps * p.clock.dt_ms)
    ports = cell.model != "aeif_psc_exp"
    taus = np.unique(np.append(p.tau_plas_ms, [p.tau_E_ms, p.tau_I_ms] if p.has_static else []))
    if not ports and len(taus) > 1 and p.has_static:
        raise UnsupportedError(
            f"neuron.model = {p.neuron.name!r} is not written for nest: {cell.model} has one time constant for each "
            f"sign of a synapse, and synapses have {', '.join(f'{tau:g}' for tau in taus[:3])} ms; choose --to brian2"
        )
    units, own = _Units(network), network.neurons()
    neurons = cell.parameters | {
        "I_e": units.current(own["external_current"]),
        "tau_plas": own["tau_plas_ms"],
        "initial_V": REST_MV + SCALE_MV * own["initial_v"],
        "mean_V": REST_MV + SCALE_MV * own["reset_voltage"],
        "spread_V": SCALE_MV * (own["threshold"] - own["reset_voltage"]),
        "pA": units.pA,
        "sign": own["sign"],
        "population": own["population"],
    }
    if p.noise.kind != "none":  # a current, constant in a step, whose effect on v is that of ours
        step = p.clock.dt_ms / own["tau_m_ms"]
        effect = p.noise.scale * (1 - step if p.noise.kind == "voltage" else step)
        neurons["noise_pA"] = effect / -np.expm1(-step) * units.pA
    if p.background:
        tau = np.where(own["background_weight"] > 0, p.tau_E_ms, p.tau_I_ms)
        neurons["background_rate"] = own["background_hz"]
        neurons["background_weight"] = own["background_weight"] / tau * units.pA
    recorded = RECORDED.get(cell.model, RECORDED[PROBE])
    if ports and not p.has_static:
        recorded = {"I_syn_3": 1}
    write_script(
        folder,
        "nest.py.j2",
        model=cell.model,
        parameters=[*cell.parameters, "I_e"],
        ports=ports,
        recorded=recorded,
        probe="" if cell.model in RECORDED else PROBE,
    )
    write_arrays(network, folder, network.settings() | {"current_unit": "pA"}, neurons, units)
