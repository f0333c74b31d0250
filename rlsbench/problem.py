"""The immutable problem that a trainer solves: network, inputs, targets, learning rule and seed.

In: an `Experiment`, the measurements of the initial trial, and targets.  Out: a `Problem`.  Opens
no file; knows what is to be computed, not how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.configuration.experiment import MAX_NEURONS
from rlsbench.connectivity import Edges, Projections, in_degrees, plastic_edges, projections_of
from rlsbench.errors import ConfigurationError, UnsupportedError
from rlsbench.network import (
    Background,
    Feedforward,
    InitialTrial,
    Noise,
    PlasticInputs,
    Populations,
    StaticSynapses,
    Stimulus,
    background_of,
    external_current,
    plastic_pools,
    populations_of,
)
from rlsbench.network.edges import handed_on
from rlsbench.neurons import Neurons, make_neurons
from rlsbench.ranks import ALONE, Communicator
from rlsbench.rules import NumpyRule, Rule, make_rule
from rlsbench.streams import Purpose, normal, uniform
from rlsbench.targets import PartOfTargets, Targets

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["InitialTrial", "OwnPart", "Problem", "build_problem", "initial_problem"]


class OwnPart(NamedTuple):
    """What differs from neuron to neuron: of those of a rank, or of all; see `Problem`."""

    neuron: Neurons
    plastic: PlasticInputs
    tau_plas_ms: float | NDArray[np.float64]
    external_current: NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: it holds arrays
class Problem:
    """Everything that a trainer needs to know about what it computes.

    The parts have no seed; their draws take it as an argument:
    `problem.static.targets(problem.seed)`.
    """

    populations: Populations  #: N neurons
    clock: Clock
    neuron: Neurons
    tau_E_ms: float  #: time constant of the excitatory static current, ms
    tau_I_ms: float  #: time constant of the inhibitory static current, ms
    #: time constant of the plastic currents and of the filtered spikes, ms; one number or (N,)
    tau_plas_ms: float | NDArray[np.float64]
    static: StaticSynapses | None  #: those as published; None if K = 0, or if there are `projections`
    projections: Projections | None  #: static synapses by rule or from a file
    plastic: PlasticInputs  #: with n = 0 in the initial trial
    external_current: NDArray[np.float64]  #: X_bal, (N,)
    stimulus: Stimulus | None  #: None in the initial trial
    feedforward: Feedforward | None  #: None if LX = 0
    background: Background | None  #: Poisson spikes from outside the network
    noise: Noise
    learning: Rule
    targets: Targets | None  #: None in the initial trial
    seed: int  #: seed of every random stream
    #: those that it is spread over: arrays here are of all neurons, or, of plastic synapses by
    #: tables, of `own`; those of a trainer, and of `own_part`, are of `own`
    ranks: Communicator = ALONE

    def __post_init__(self) -> None:
        if self.plastic.varies and isinstance(self.learning, NumpyRule):
            raise UnsupportedError(
                f"rule {type(self.learning).__name__} is written in NumPy, and needs the same number of plastic inputs "
                "for each neuron; rls does not"
            )
        if self.neurons * (delays := len(self.plastic.delays)) > MAX_NEURONS:
            raise UnsupportedError(
                f"plastic synapses have {delays} different delays: that of {self.neurons} neurons must be at most "
                f"{MAX_NEURONS // self.neurons}"
            )

    @property
    def neurons(self) -> int:
        """N."""
        return self.populations.neurons

    @property
    def own(self) -> slice:
        """The neurons of this rank: all, unless there are several."""
        return self.ranks.own(self.neurons)

    @cached_property
    def own_part(self) -> OwnPart:
        """What differs from neuron to neuron, of the neurons of this rank."""
        tau_plas_ms, own = self.tau_plas_ms, self.own
        if not self.ranks.spread:
            return OwnPart(self.neuron, self.plastic, tau_plas_ms, self.external_current)
        tau_plas_ms = tau_plas_ms[own] if isinstance(tau_plas_ms, np.ndarray) else tau_plas_ms
        plastic = self.plastic.part(own.start, own.stop)
        return OwnPart(self.neuron.consecutive(own), plastic, tau_plas_ms, self.external_current[own])

    def own_targets(self, targets: Targets) -> Targets:
        """Those of the neurons of this rank, of targets of all."""
        return PartOfTargets(targets, self.own) if self.ranks.spread else targets

    @property
    def n(self) -> int:
        """Plastic inputs of each neuron, or the most that a neuron has."""
        return self.plastic.n

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return 1 if self.targets is None else self.targets.tasks

    @property
    def refractory_steps(self) -> int:
        """Refractory period in whole steps."""
        return round(self.neuron.refractory_ms / self.clock.dt_ms)

    @property
    def has_static(self) -> bool:
        """Whether neurons receive static currents, from one another or from the background."""
        return any(part is not None for part in (self.static, self.projections, self.background))

    @property
    def longest_delay(self) -> int:
        """The longest delay of a synapse, steps: a spike of step i acts in step i + delay."""
        return max(self.longest_static_delay, int(self.plastic.delays[-1]))

    @property
    def shortest_delay(self) -> int:
        """A delay that no synapse between neurons has less than, steps."""
        delays = [int(self.plastic.delays[0])]
        if self.static is not None:
            delays.append(1)
        if self.projections is not None:
            delays.append(self.projections.shortest_delay)
        return min(delays)

    @property
    def longest_static_delay(self) -> int:
        """The longest delay of a static synapse, steps."""
        return 1 if self.projections is None else self.projections.longest_delay

    @cached_property
    def definite(self) -> str | None:
        """Name of the positive definite matrix that the learning rule keeps, if it keeps one."""
        kept = self.learning.arrays(self.n, self.clock.learn_every * self.clock.dt_ms, np.float64)
        return next((array.name for array in kept if array.definite), None)

    @cached_property
    def required_features(self) -> frozenset[str]:
        """Features that a backend must declare to run this; see `rlsbench.backend.FEATURES`."""
        required = {
            "neuron:lif" if self.neuron.plain else "neuron-models": True,
            f"{self.noise.kind}-noise": self.noise.kind != "none",
            "populations": not self.populations.published,
            "background": self.background is not None,
            "feedforward": self.feedforward is not None,
            "tau-plas-per-neuron": isinstance(self.tau_plas_ms, np.ndarray),
            "partial-targets": self.targets is not None and self.targets.partial,
            "static-weights": self.static is not None and self.static.own_weights is not None,
            "static-edges": self.projections is not None,
            "static-delays": self.longest_static_delay > 1,
            "plastic-delays": bool(self.plastic.delays[-1] > 1),
            "benchmark": self.learning.benchmark,
            "numpy-rules": isinstance(self.learning, NumpyRule),
            "signs": self.learning.keeps_signs,
            "varying-in-degree": self.plastic.varies,
            "ranks": self.ranks.spread,
        }
        return frozenset(name for name, needed in required.items() if needed)

    def static_synapses(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Targets and weights of the published static synapses, (N, 2K); (N, 0) without them."""
        if self.static is None:
            return np.empty((self.neurons, 0), np.int32), np.empty((self.neurons, 0))
        targets = self.static.targets(self.seed)
        return targets, self.static.target_weights(targets)

    def static_edges(self, *, weights: bool = True) -> Edges:
        """All static synapses, published ones or others, by presynaptic neuron.

        With several ranks, which all call this, those onto the neurons of this rank, which are then
        counted from the first of these. Published ones lack their weights if `weights` is false.
        """
        own = self.own
        if self.projections is not None:
            edges = self.projections.onto(self.seed, self.ranks)
        elif self.static is None:
            none = np.empty(0, np.int32)
            return Edges(np.zeros(self.neurons + 1, np.int64), none, np.empty(0))
        else:
            targets = self.static.targets(self.seed, own.start, own.stop)
            given = self.static.target_weights(targets, own.start).ravel() if weights else None
            start = np.arange(len(targets) + 1, dtype=np.int64) * targets.shape[1]
            edges = Edges(start, targets.ravel(), given)
            if self.ranks.spread:
                edges = handed_on(edges, self.ranks, self.neurons)
        return edges._replace(index=edges.index - np.int32(own.start)) if own.start else edges

    def plastic_matrix(self, w: NDArray[np.floating[Any]] | None = None) -> sparse.csr_array:
        """Plastic weights between neurons, (N, N), with a row for each postsynaptic neuron; ms.

        With several ranks, with a row for each neuron of this one.

        Parameters
        ----------
        w : ndarray, shape (N, n), optional
            Such as those of `Training.weights()`; by default the initial ones. Those of
            feed-forward inputs are left out.

        Synapses of two neurons that differ in delay are added up.
        """
        from scipy import sparse  # slow import

        plastic = self.own_part.plastic
        sources = plastic.sources(self.seed)
        given = np.broadcast_to(plastic.initial_weights if w is None else w, (len(sources), self.n))
        post, column = np.nonzero(sources >= 0)
        entries = given[post, column + plastic.feedforward], (post, sources[post, column])
        return sparse.csr_array(entries, shape=(len(sources), self.neurons))

    def static_matrix(self) -> sparse.csr_array:
        """Static weights, (N, N), with a row for each postsynaptic neuron; ms.

        With several ranks, with a row for each neuron of this one.

        Synapses of two neurons that differ in delay are added up.
        """
        from scipy import sparse  # slow import

        edges = self.static_edges()
        assert edges.weight is not None
        return sparse.csr_array(
            (edges.weight, (edges.index, edges.rows())), shape=(len(range(self.neurons)[self.own]), self.neurons)
        )

    def initial_voltage_normals(self, trial: int) -> NDArray[np.float64]:
        """Standard normals for the initial state of a trial, of the neurons of this rank."""
        own = self.own
        return normal(self.seed, Purpose.INITIAL_VOLTAGE, trial=trial, first=own.start, last=own.stop)


def initial_problem(e: Experiment, ranks: Communicator = ALONE) -> Problem:
    """The problem of the initial trial: no plastic synapses, stimulus or targets."""
    populations = populations_of(e)
    return _problem(e, PlasticInputs(populations, 0, 0, 0.0, plastic_pools(populations)), None, None, ranks)


def build_problem(
    e: Experiment, initial: InitialTrial, targets: Targets | None, ranks: Communicator = ALONE
) -> Problem:
    """The problem of an experiment.

    Parameters
    ----------
    e : Experiment
    initial : InitialTrial
        Measured on `initial_problem(e)`; selects the neurons to draw plastic inputs from.
    targets : Targets or None
        Such as `rlsbench.targets.making.make_targets` returns; None to simulate without learning.
    ranks : Communicator
        Those that the network is spread over; by default one process has all of it.

    Returns
    -------
    Problem
    """
    populations, L = populations_of(e), e.network.plastic_per_population
    weight = e.neuron.tau_m_ms * e.network.g / math.sqrt(L) if L else 0.0
    pools = plastic_pools(populations, e.network.frac, initial.rates_hz)
    given, pool = _given(e, populations, ranks), min(map(len, pools))
    if given is None and pool < L:
        few = f"must be at most {pool}, the number of neurons to draw inputs from: no file has plastic synapses"
        raise ConfigurationError(f"network.L = {L}: {few}")
    plastic = PlasticInputs(populations, e.feedforward.LX, L, weight, pools, given=given)
    if given is not None and ranks.spread:
        own = range(populations.neurons)[ranks.own(populations.neurons)]
        plastic = replace(plastic, rows=own, everyone=in_degrees(e))
    return _problem(e, plastic, Stimulus.from_experiment(e, Clock.from_experiment(e)), targets, ranks)


def _given(e: Experiment, populations: Populations, ranks: Communicator) -> Edges | None:
    """Plastic inputs by tables; those without a weight get the published one for L = degree/2."""
    edges = plastic_edges(e, ranks)
    if edges is None or edges.weight is None or not np.isnan(edges.weight).any():
        return edges
    degree, sign = np.diff(edges.start), populations.signs[populations.index(edges.index)]
    published = sign * np.repeat(e.neuron.tau_m_ms * e.network.g / np.sqrt(np.maximum(degree, 1) / 2), degree)
    return edges._replace(weight=np.where(np.isnan(edges.weight), published, edges.weight))


def _problem(
    e: Experiment, plastic: PlasticInputs, stimulus: Stimulus | None, targets: Targets | None, ranks: Communicator
) -> Problem:
    network, clock, populations = e.network, Clock.from_experiment(e), plastic.populations
    projections = projections_of(e, populations, "static")
    tau_plas = e.synapse.tau_plas_ms
    middle = sum(tau_plas) / 2 if isinstance(tau_plas, tuple) else tau_plas
    feedforward = Feedforward(
        plastic.feedforward,
        clock.steps,
        clock.stimulus_off,
        e.feedforward.mu_hz,
        e.feedforward.b_per_ms,
        e.feedforward.sigma,
        round(e.feedforward.half_window_ms / clock.dt_ms),
        clock.dt_ms,
        e.feedforward.tau_ms or middle,
    )
    return Problem(
        populations=populations,
        clock=clock,
        neuron=make_neurons(e),
        tau_E_ms=e.synapse.tau_E_ms,
        tau_I_ms=e.synapse.tau_I_ms,
        tau_plas_ms=_per_neuron(tau_plas, e) if isinstance(tau_plas, tuple) else tau_plas,
        static=_static(e, populations) if network.K and projections is None else None,
        projections=projections,
        plastic=plastic,
        external_current=external_current(e, populations),
        stimulus=stimulus,
        feedforward=feedforward if plastic.feedforward else None,
        background=background_of(e, populations),
        noise=Noise(e.noise.kind, e.noise.sigma, clock.dt_ms, e.neuron.tau_m_ms),
        learning=make_rule(e),
        targets=targets,
        seed=e.training.seed,
        ranks=ranks,
    )


def _per_neuron(low_high: tuple[float, float], e: Experiment) -> NDArray[np.float64]:
    low, high = low_high
    return low + (high - low) * uniform(e.training.seed, Purpose.TAU_PLAS, first=0, last=e.network.neurons)


def _static(e: Experiment, populations: Populations) -> StaticSynapses:
    network = e.network
    s = e.neuron.tau_m_ms * network.g * 2 / math.sqrt(network.K)
    by_sign = {
        (1, 1): network.weight_EE,
        (1, -1): network.weight_EI,
        (-1, 1): network.weight_IE,
        (-1, -1): network.weight_II,
    }
    units = [[by_sign[pre.sign, post.sign] for post in populations] for pre in populations]
    if isinstance(network.weights, tuple):
        units = [list(row) for row in network.weights]
    elif network.weights is not None:
        for row, pre in zip(units, populations, strict=True):
            own = network.weights.get(pre.name, {})
            row[:] = [own.get(post.name, weight) for weight, post in zip(row, populations, strict=True)]
    return StaticSynapses(populations, 2 * network.K, tuple(tuple(weight * s for weight in row) for row in units))
