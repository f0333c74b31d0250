"""Time a static network in NEST, with threads: `python nest.py NETWORK.npz`.

Voltages are in mV and currents in pA, with a capacitance of tau_m pF, so that numbers are those in
units of (threshold - reset). NEST integrates exactly; delays are one step.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main(file: str) -> dict[str, Any]:
    """Build the network and run it several times, one after the other."""
    # Away from this script, whose name is that of the library.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    import nest

    p = dict(np.load(file))
    start = time.perf_counter()
    nest.set_verbosity("M_ERROR")
    dt = float(p["dt_ms"])
    nest.resolution, nest.local_num_threads = dt, int(p["threads"])
    neurons = nest.Create(
        "iaf_psc_exp",
        len(p["X"]),
        params={
            "tau_m": float(p["tau_m_ms"]),
            "C_m": float(p["tau_m_ms"]),
            "E_L": 0.0,
            "V_th": float(p["threshold"]),
            "V_reset": float(p["reset"]),
            "t_ref": max(int(p["refractory_steps"]), 1) * dt,
            "tau_syn_ex": float(p["tau_E_ms"]),
            "tau_syn_in": float(p["tau_I_ms"]),
        },
    )
    neurons.I_e, neurons.V_m = p["X"], p["v"]
    first = int(neurons[0].global_id)
    pre = np.repeat(np.arange(len(p["X"])), np.diff(p["start"])) + first
    weight = p["weight"] / np.where(p["weight"] > 0, p["tau_E_ms"], p["tau_I_ms"])
    delay = np.full(len(pre), dt)
    nest.Connect(pre, p["post"].astype(np.int64) + first, "one_to_one", {"weight": weight, "delay": delay})
    nest.Prepare()
    nest.Run(dt)  # which prepares the delivery of spikes
    built, spikes, seconds = time.perf_counter() - start, [nest.local_spike_counter], []
    for _ in range(int(p["runs"])):
        begin = time.perf_counter()
        nest.Run(int(p["steps"]) * dt)
        seconds.append(time.perf_counter() - begin)
        spikes.append(nest.local_spike_counter)  # of this run alone
    nest.Cleanup()
    return {
        "version": nest.__version__,
        "how": "iaf_psc_exp, threads, exact integration",
        "precision": "float64",
        "build_seconds": built,
        "seconds": seconds,
        "spikes": int(spikes[0] + spikes[1]),
    }


if __name__ == "__main__":
    print("\n" + json.dumps(main(sys.argv[1])))  # on a line of its own
