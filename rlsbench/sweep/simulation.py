"""Timing the network as a simulation, without learning: in other simulators, and on backends.

In: a `Point` that names a network. Out: a `SimulationDocument`, or an `AttemptDocument` with the
reason why there is none. Simulators run in a Python environment of their own.

The network is that of the initial trial: static synapses and the external current, without
stimulus; "plastic" adds the plastic synapses with their initial weights, which only backends have.
The first trial of a backend is not counted, and simulators are timed without building.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from rlsbench.available import available_threads
from rlsbench.backend import Options, get_backend, make_trainer, require, resolve_options
from rlsbench.capacity import check_fits
from rlsbench.configuration import Experiment
from rlsbench.errors import BackendError, UnavailableBackendError, UnsupportedError
from rlsbench.problem import InitialTrial, Problem, build_problem, initial_problem
from rlsbench.results import SimulationDocument, simulation_document
from rlsbench.sweep.plan import SIMULATORS, Point
from rlsbench.training import run_trial

RUNS = 3  # of each simulation
SCRIPTS = Path(__file__).parent / "simulators"
_SIMULATED = {"neuron:lif", "populations", "static-weights", "static-edges"}  # features that the scripts have


def simulate(point: Point) -> SimulationDocument:
    """Time a network on a backend or in a simulator.

    Raises
    ------
    UnsupportedError
        If a simulator's script lacks a feature of the network.
    UnavailableBackendError
        If the Python environment lacks the simulator.
    BackendError
        If the simulator fails.
    """
    e = point.experiment()
    if point.backend in SIMULATORS:
        return _elsewhere(point.backend, e, point.python or sys.executable)
    backend = get_backend(point.backend)
    options = resolve_options(backend, e.numerics)
    check_fits(backend, e, options, learn=False)
    problem = _plastic(e) if point.network == "plastic" else initial_problem(e)
    require(backend, problem)
    start = perf_counter()
    trainer = make_trainer(backend, problem, options)
    run_trial(trainer, 0, learn=False)
    setup = perf_counter() - start
    trials = [run_trial(trainer, 0, learn=False) for _ in range(RUNS)]
    return simulation_document(
        *(e, backend.name, trainer.options),
        synapses="static and plastic" if point.network == "plastic" else "static",
        how=backend.description,
        model_seconds=problem.clock.seconds,
        seconds=[trial.seconds for trial in trials],
        setup_seconds=setup,
        firing_rate_hz=trials[0].firing_rate_hz,
    )


def _plastic(e: Experiment) -> Problem:
    """The network with its plastic synapses, but without stimulus and targets."""
    zeros = np.zeros(e.network.neurons)
    return replace(build_problem(e, InitialTrial(zeros, zeros, zeros), None), stimulus=None)


def _elsewhere(simulator: str, e: Experiment, python: str) -> SimulationDocument:
    """Time the static network in a simulator that another Python has."""
    problem, threads = initial_problem(e), e.numerics.threads or available_threads()
    if lacking := problem.required_features - _SIMULATED:
        raise UnsupportedError(f"the script for {simulator} lacks {', '.join(sorted(lacking))}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.npz"
        np.savez(file, **network_arrays(problem), threads=threads, runs=RUNS)
        # Isolated: the variables of this environment are not those of the other one.
        command = [python, "-I", str(SCRIPTS / f"{simulator}.py"), str(file)]
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=folder, check=False
            )
        except OSError as error:
            raise UnavailableBackendError(f"--simulator-python {python}: {error.strerror}") from None
    log = ended.stderr.strip().splitlines()[-1:]
    if "ModuleNotFoundError" in "".join(log):
        why = f"{log[0].removeprefix('ModuleNotFoundError: ')} in {Path(python).name}"
        raise UnavailableBackendError(f"{why}: --simulator-python names a Python that has {simulator}")
    if ended.returncode:
        raise BackendError(f"{simulator} ended with status {ended.returncode}: {''.join(log)}")
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    rate = found.pop("spikes") / problem.neurons / problem.clock.seconds
    kept = {"simulator_version": found.pop("version"), "how": found["how"]}
    return simulation_document(
        *(e, simulator, Options(found["precision"], "none", "none", threads, "cpu", "none")),
        synapses="static",
        model_seconds=problem.clock.seconds,
        seconds=found["seconds"],
        setup_seconds=found["build_seconds"],
        firing_rate_hz=rate,
        **kept,
    )


def network_arrays(problem: Problem) -> dict[str, Any]:
    """A network of plain LIF neurons for the scripts; synapses are sorted by presynaptic neuron."""
    edges, neuron = problem.static_edges(), problem.neuron
    return {
        "start": edges.start,
        "post": edges.index,
        "weight": edges.weight,
        "X": problem.external_current,
        "v": neuron.initial_state(problem.initial_voltage_normals(0))[0],
        "dt_ms": problem.clock.dt_ms,
        "steps": problem.clock.steps,
        "refractory_steps": problem.refractory_steps,
        "threshold": neuron.threshold,
        "reset": neuron.reset_voltage,
        "tau_m_ms": neuron.tau_m_ms,
        "tau_E_ms": problem.tau_E_ms,
        "tau_I_ms": problem.tau_I_ms,
    }
