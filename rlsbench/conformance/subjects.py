"""Small problems to check backends on: a plain one, and one for each optional feature.

In: the name of a variant, or settings.  Out: a `Problem`, and trainers of a backend and of the
reference for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from rlsbench.backend import Backend, Options, Trainer, get_backend
from rlsbench.configuration import load_experiment
from rlsbench.network.edges import Edges
from rlsbench.precision import PRECISIONS, Tolerances
from rlsbench.problem import Problem
from rlsbench.targets import MatrixTargets
from rlsbench.training.initial_trial import problem_without_initial_trial

_PLAIN: dict[str, Any] = {
    "network.neurons": 70,  # not a multiple of a vector's length
    "network.K": 8,
    "network.L": 6,
    "external.scale": 0.4,  # about 40 Hz, for enough spikes in 50 ms
    "stimulus.on_ms": 4.0,
    "stimulus.off_ms": 10.0,
    "time.learn_every_ms": 2.0,
    "time.train_duration_ms": 40.0,
    "targets.period_ms": 40.0,
    "training.average_from_ms": 0.0,
    "training.window_ms": 4.0,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "voltage noise": {"noise.kind": "voltage", "noise.sigma": 0.65},
    "current noise": {"noise.kind": "current", "noise.sigma": 0.1},
    "feed-forward inputs": {"feedforward.LX": 3, "feedforward.mu_hz": 200.0},
    "tau_plas per neuron": {"synapse.tau_plas_ms": [20.0, 200.0]},
    "second of two tasks": {"targets.tasks": 2},
    "benchmark mode": {"learning.benchmark": True},
    "inhibitory inputs that do not learn": {"learning.inputs": ["excitatory"]},
    "weights that keep their signs": {"learning.signs": "keep", "learning.lambda_plastic": 0.001},
    "rule rls-without-p": {"learning.rule": "rls-without-p", "learning.parameters": {"history_ms": 8.0}},
    "weights of each static synapse": {},
    "neurons without target": {},
    "populations of its own": {
        "populations": [
            {"name": "I1", "size": 12, "sign": -1, "external": 1.2},
            {"name": "E1", "size": 33, "sign": 1, "background_hz": 3000.0, "background_weight": 0.4},
            {"name": "E2", "size": 15, "sign": 1, "external": 2.0},
            {"name": "I2", "size": 10, "sign": -1, "background_hz": 800.0, "background_weight": -1.5},
        ],
        "network.weights": {"E1": {"E2": 0.4}, "I2": {"E1": -1.5, "I1": -0.2}},
        "synapse.tau_I_ms": 5.0,
    },
    "in-degree that varies": {"feedforward.LX": 2, "feedforward.mu_hz": 100.0},
    "static edges with delays": {
        "connectivity": [
            {
                "source": "excitatory",
                "rule": "bernoulli",
                "parameters": {"probability": 0.2},
                "weight": 3.0,
                "delay_ms": 0.3,
            },
            {"source": "inhibitory", "rule": "fixed-in-degree", "parameters": {"degree": 9}, "weight": -4.0},
        ],
        "synapse.tau_I_ms": 5.0,
    },
    "plastic synapses with one delay": {
        "connectivity": [{"kind": "plastic", "rule": "fixed-in-degree", "parameters": {"degree": 12}, "delay_ms": 1.5}],
    },
    "plastic synapses with delays of their own": {"feedforward.LX": 2, "feedforward.mu_hz": 100.0},
    "no static synapses": {"network.K": 0, "noise.kind": "voltage", "noise.sigma": 0.9},
    "other time constants": {
        "synapse.tau_E_ms": 2.0,
        "synapse.tau_I_ms": 5.0,
        "neuron.refractory_ms": 1.0,
        "neuron.tau_m_ms": 15.0,
        "learning.mu": 1.0,
    },
    "everything": {
        "feedforward.LX": 2,
        "feedforward.mu_hz": 100.0,
        "noise.kind": "voltage",
        "noise.sigma": 0.4,
        "targets.tasks": 2,
        "network.g": 1.3,
        "time.dt_ms": 0.2,
        "neuron.reset": -0.5,
    },
}
"""Name of a variant to the settings in which it differs from the plain problem."""


@lru_cache(maxsize=64)
def variant_problem(name: str) -> Problem:
    """The problem of a variant."""
    p = problem(**VARIANTS[name])
    if name == "weights of each static synapse":
        assert p.static is not None
        scale = np.random.default_rng(5).uniform(0.2, 1.8, (p.neurons, p.static.outputs))
        own = p.static.target_weights(p.static.targets(p.seed)) * scale
        return replace(p, static=replace(p.static, own_weights=own.astype(np.float32).astype(np.float64)))
    if name == "neurons without target":
        assert p.targets is not None
        currents = p.targets.matrix(0)[None].copy()
        currents[..., 1::3] = np.nan
        return replace(p, targets=MatrixTargets(currents))
    if name == "in-degree that varies":
        return replace(p, plastic=replace(p.plastic, given=varying_inputs(p.neurons, [0, 1, 3, 8, 40])))
    if name == "plastic synapses with delays of their own":
        return replace(p, plastic=replace(p.plastic, given=varying_inputs(p.neurons, [4, 12, 20], 40)))
    return p


def varying_inputs(N: int, degrees: list[int], longest: int = 1) -> Edges:
    """Recurrent plastic inputs of N neurons that have each of these numbers of them, in turn.

    Their delays are drawn between 1 and `longest` steps.
    """
    rng, degree = np.random.default_rng(6), np.resize(degrees, N)
    index = np.concatenate([np.sort(rng.choice(N, d, replace=False)) for d in degree.tolist()])
    delay = rng.integers(1, longest, len(index), np.uint8, endpoint=True)
    return Edges(np.concatenate([[0], np.cumsum(degree)]), index.astype(np.int32), delay=delay)


_ROOM: dict[str, Any] = {"network.neurons": 1000, "time.train_duration_ms": 10.0}  # for four ranks

SPREAD: dict[str, dict[str, Any]] = {
    "everything": VARIANTS["everything"],
    "populations of its own": {
        "populations": [
            {"name": "I1", "size": 200, "sign": -1, "external": 1.2},
            {"name": "E1", "size": 700, "sign": 1, "background_hz": 3000.0, "background_weight": 0.4},
            {"name": "I2", "size": 100, "sign": -1, "background_hz": 800.0, "background_weight": -1.5},
        ],
        "synapse.tau_I_ms": 5.0,
        "noise.kind": "current",
        "noise.sigma": 0.1,
    },
    "parameters and weights of each neuron": {"synapse.tau_plas_ms": [20.0, 200.0]},
    "rule rls-without-p": VARIANTS["rule rls-without-p"],
    "synapses by tables": {
        "connectivity": [
            {
                "source": "excitatory",
                "rule": "bernoulli",
                "parameters": {"probability": 0.01},
                "weight": 3.0,
                "delay_ms": 0.3,
            },
            {"source": "inhibitory", "rule": "fixed-in-degree", "parameters": {"degree": 9}, "weight": -4.0},
            {"kind": "plastic", "rule": "bernoulli", "parameters": {"probability": 0.01}, "delay_ms": 1.5},
            {"kind": "plastic", "rule": "lognormal-in-degree", "parameters": {"mean": 4.0, "sigma": 0.5}},
        ],
    },
}
"""Networks that are spread over ranks, by what is in them, and their settings."""


@lru_cache(maxsize=8)
def spread_problem(name: str) -> Problem:
    """The problem of a network that is large enough for four ranks."""
    p = problem(**_ROOM, **SPREAD[name])
    if name != "parameters and weights of each neuron":
        return p
    assert p.static is not None
    assert p.targets is not None
    rng, N = np.random.default_rng(9), p.neurons
    own = p.static.target_weights(p.static.targets(p.seed)) * rng.uniform(0.2, 1.8, (N, p.static.outputs))
    currents = p.targets.matrix(0)[None].copy()
    currents[..., 1::3] = np.nan
    return replace(
        p,
        static=replace(p.static, own_weights=own),
        plastic=replace(p.plastic, own_weights=p.plastic.initial_weights * rng.uniform(0.5, 1.5, (N, p.n))),
        neuron=replace(p.neuron, values={**p.neuron.values, "tau_m_ms": np.linspace(8, 16, N)}),
        targets=MatrixTargets(currents),
    )


MODELS = ("glif2", "glif3", "glif4", "glif5", "adex", "izhikevich", "glif3 with parameters of their own")
"""Neurons that a backend with the feature `neuron-models` is checked with."""


@lru_cache(maxsize=16)
def model_problem(name: str) -> Problem:
    """The problem of some neurons, with noise, and with refractory periods of several steps."""
    model, *own = name.split(" ", 1)
    settings = {"neuron.model": model, "neuron.refractory_ms": 0.5, "noise.kind": "voltage", "noise.sigma": 0.3}
    p = problem(**settings)
    if not own:
        return p
    varying = {"tau_m_ms": np.linspace(8, 16, p.neurons), "jump2": np.linspace(-1, 0, p.neurons)}
    return replace(p, neuron=replace(p.neuron, values={**p.neuron.values, **varying}))


def problem(**overrides: Any) -> Problem:
    """The plain problem with some settings changed; its targets are sinusoids around 0."""
    return problem_without_initial_trial(load_experiment("smoke", overrides=_PLAIN | overrides))


@dataclass(frozen=True)
class Subject:
    """A backend in one configuration."""

    backend: Backend
    options: Options

    def __str__(self) -> str:
        o = self.options
        return f"{o.precision}, P {o.p_precision} {o.storage}, {o.algorithm}"

    @property
    def coarsest(self) -> str:
        """The coarser of the two precisions."""
        return max(self.options.precision, self.options.p_precision, key=list(PRECISIONS).index)

    @property
    def tolerances(self) -> Tolerances:
        """Allowed deviations from the reference, set by the coarser precision."""
        return PRECISIONS[self.coarsest].tolerances

    def lacks(self, variant: str) -> list[str]:
        """Features that the problem of a variant requires and the backend does not support."""
        return sorted(variant_problem(variant).required_features - self.backend.capabilities.features)

    @property
    def data_precision(self) -> str:
        """Precision of test data: exact on both sides, except for P rounded to 16 bits."""
        return "float64" if self.coarsest == "float64" else "float32"

    def trainer(self, on: Problem, **changes: Any) -> Trainer:
        """Make a trainer of the backend, with some options changed."""
        return self.backend.trainer(on, replace(self.options, **changes))

    @staticmethod
    def reference(on: Problem) -> Trainer:
        """Make a trainer of the reference."""
        return get_backend("reference").trainer(on, Options("float64", "float64", "full"))
