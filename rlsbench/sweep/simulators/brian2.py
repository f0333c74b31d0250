"""Time a static network in Brian2, as C++ with OpenMP: `python brian2.py NETWORK.npz`.

Voltages and currents are numbers, in units of (threshold - reset); times are in ms. Steps are those
of docs/model.md section 2, by the forward Euler method; a spike acts in the next step.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

EQUATIONS = """
dv/dt = (X + u - v)/(tau_m*ms) : 1 (unless refractory)
{currents}
X : 1 (constant)
"""


def main(file: str) -> dict[str, Any]:
    """Build, compile and run the network several times."""
    # Away from this script, whose name is that of the library.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    import brian2 as b2

    p = dict(np.load(file))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        b2.set_device("cpp_standalone", directory=folder, build_on_run=False)
        b2.prefs.devices.cpp_standalone.openmp_threads = int(p["threads"])
        dt = b2.defaultclock.dt = float(p["dt_ms"]) * b2.ms
        one = p["tau_E_ms"] == p["tau_I_ms"]  # then one variable has both currents
        currents = {"u": "tau_E"} if one else {"u_E": "tau_E", "u_I": "tau_I"}
        lines = [f"d{u}/dt = -{u}/({tau}*ms) : 1" for u, tau in currents.items()]
        lines += [] if one else ["u = u_E + u_I : 1"]
        names = {name: float(p[f"{name}_ms"]) for name in ("tau_m", "tau_E", "tau_I")}
        names |= {"threshold": float(p["threshold"]), "reset_voltage": float(p["reset"])}
        neurons = b2.NeuronGroup(
            len(p["X"]),
            EQUATIONS.format(currents="\n".join(lines)),
            threshold="v > threshold",
            reset="v = reset_voltage",
            refractory=(int(p["refractory_steps"]) + 1) * dt,
            method="euler",
            namespace=names,
        )
        neurons.v, neurons.X = p["v"], p["X"]
        objects = [neurons]
        pre = np.repeat(np.arange(len(p["X"])), np.diff(p["start"]))
        for u, tau in currents.items():
            some = np.ones(len(pre), bool) if one else (p["weight"] > 0) == (u == "u_E")
            synapses = b2.Synapses(neurons, neurons, "w : 1", on_pre=f"{u} += w")
            synapses.connect(i=pre[some], j=p["post"][some])
            synapses.w = p["weight"][some] / names[tau]
            objects.append(synapses)
        counter = b2.SpikeMonitor(neurons, record=False)
        simulation = b2.Network(*objects, counter)
        simulation.run(int(p["steps"]) * dt)
        b2.device.build(directory=folder, compile=True, run=False)
        built = time.perf_counter() - start
        seconds = []
        for _ in range(int(p["runs"])):
            b2.device.run(directory=folder, with_output=False)
            seconds.append(float(b2.device._last_run_time))
        return {
            "version": b2.__version__,
            "how": "C++ standalone, OpenMP, forward Euler",
            "precision": str(np.dtype(b2.prefs.core.default_float_dtype)),
            "build_seconds": built,
            "seconds": seconds,
            "spikes": int(np.sum(counter.count)),
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
