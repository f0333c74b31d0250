"""Declarations of a trainer's arrays, from which memory is both allocated and estimated.

In: an `Experiment` or a `Problem`.  Out: `Sizes`, from which a backend derives its `ArraySpec`s,
and `Arrays`, which allocates them by name.

The memory estimate of a run is the sum of the declared sizes, so estimate and allocation agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench.backend.capabilities import Options
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.connectivity import in_degrees, projections_of
from rlsbench.network import Stimulus, populations_of
from rlsbench.neurons import Neurons, make_neurons
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.problem import Problem
from rlsbench.ranks import ALONE, Communicator
from rlsbench.rules import PAST, Rule, StateArray, make_rule
from rlsbench.streams import DRAWN

__all__ = ["Allocate", "ArraySpec", "Arrays", "Lifetime", "Sizes", "drawing_scratch", "network_arrays", "rule_arrays"]
__all__ += ["size_classes"]

PADDED = 1.2  # most memory of P in classes of similar numbers of inputs, relative to the sum of n^2
DRAWING_BYTES = 60  # memory for each random word that is drawn at once, as measured

A = TypeVar("A")
Allocate = Callable[[tuple[int, ...], np.dtype[Any]], A]


class Lifetime(Enum):
    """When an array exists; arrays that never coexist are not added up."""

    NETWORK = "network"  #: from the drawing of the network onwards, whether or not the run learns
    STATE = "state"  #: after the network has been drawn, whether or not the run learns
    LEARNING = "learning"  #: after the network has been drawn, only if the run learns
    DRAWING = "drawing"  #: while the network is drawn, when only NETWORK arrays exist
    SCRATCH = "scratch"  #: temporary, later than DRAWING; freed before other scratch is allocated


@dataclass(frozen=True)
class ArraySpec:
    """One array of a trainer."""

    name: str  #: unique in a trainer
    shape: tuple[int, ...]  #: the expected shape if it depends on random numbers
    dtype: np.dtype[Any]  #: for a type that NumPy lacks, one of the same size
    lifetime: Lifetime = Lifetime.STATE
    placement: str = "host"  #: "host" or "device"
    part_of: str = ""  #: row of a memory table in which the array is counted; by default its name

    @property
    def bytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def heading(self) -> str:
        """Row of a memory table in which the array is counted."""
        return self.part_of or self.name

    @classmethod
    def of(
        cls,
        name: str,
        shape: int | tuple[int, ...],
        dtype: DTypeLike,
        lifetime: Lifetime = Lifetime.STATE,
        **rest: Any,
    ) -> ArraySpec:
        """Declare an array by any shape and dtype that NumPy accepts."""
        return cls(name, (shape,) if isinstance(shape, int) else shape, np.dtype(dtype), lifetime, **rest)


class Arrays(Generic[A]):
    """Allocates declared arrays by name.

    Parameters
    ----------
    specs : iterable of ArraySpec
    allocate : callable
        Function of shape and dtype, such as `numpy.zeros`.
    """

    def __init__(self, specs: Iterable[ArraySpec], allocate: Allocate[A]) -> None:
        self.specs: Mapping[str, ArraySpec] = {spec.name: spec for spec in specs}
        self._allocate = allocate

    def new(self, name: str) -> A:
        """A new array of the declared shape and dtype.

        Raises
        ------
        KeyError
            If no array of that name is declared.
        """
        spec = self.specs[name]
        return self._allocate(spec.shape, spec.dtype)

    def __contains__(self, name: str) -> bool:
        return name in self.specs


@dataclass(frozen=True)
class Sizes:
    """Numbers that determine a trainer's arrays; an experiment and its problem have the same."""

    N: int  #: neurons
    n: int  #: plastic inputs of each neuron, or the most of one; the first LX of them feed-forward
    LX: int  #: feed-forward inputs
    outputs: int  #: static synapses that each neuron makes, 2 K; 0 if there are `static_edges`
    pool: int  #: neurons of the rarer sign from which plastic inputs are drawn
    populations: int  #: number of populations
    by_sign: bool  #: whether they are two, the excitatory one first, which decide on static weights
    background: bool  #: whether there are Poisson spikes from outside the network
    steps: int  #: time steps of a trial
    stimulus: int  #: those in which the stimulus acts
    bins: int  #: learning bins of a trial
    tasks: int
    learn_every_ms: float  #: time between two updates, ms
    one_decay: bool  #: whether a single time constant filters all plastic inputs of all neurons
    tau_per_neuron: bool  #: whether each neuron has its own tau_plas
    one_static_filter: bool  #: whether tau_E = tau_I
    current_noise: bool  #: whether noise is added to the current
    static_edges: int  #: static synapses by rule or from files: their expected number
    static_delays: bool  #: whether one of them has a delay of more than a step
    shortest_delay: int  #: a delay that no static or plastic synapse has less than, steps
    longest_delay: int  #: of one of them, steps
    rule: Rule  #: what is learned, and what is kept for it
    lif: bool = True  #: whether neurons are leaky integrate-and-fire, all with the same parameters
    variables: int = 1  #: of the state of a neuron
    parameters: int = 0  #: of a neuron, if any of them varies from neuron to neuron
    #: where plastic inputs vary, their numbers and how many neurons have each of them
    inputs: tuple[tuple[int, float], ...] = ()
    plastic_delays: int = 1  #: how many different delays plastic synapses have
    network: int = 0  #: neurons of the whole network, if N are those of one of several ranks; else 0
    inputs_of_all: tuple[tuple[int, float], ...] = ()  #: as `inputs`, of the whole network, in that case

    def of_rank(self, ranks: Communicator, inputs: NDArray[np.int64] | None = None) -> Sizes:
        """Those of what this rank has of a network of N neurons, with `inputs` if they vary."""
        if not ranks.spread:
            return self
        own, edges = ranks.own(self.N), self.static_edges
        return replace(
            self,
            N=own.stop - own.start,
            network=self.N,
            static_edges=-(-edges * (own.stop - own.start) // self.N),
            inputs=() if inputs is None else _counted(inputs[own]),
            inputs_of_all=self.inputs,
        )

    @property
    def everyone(self) -> int:
        """Neurons of the whole network."""
        return self.network or self.N

    @property
    def recurrent(self) -> int:
        """Recurrent plastic inputs of a neuron, 2 L, or the most of one."""
        return self.n - self.LX

    @property
    def synapses(self) -> int:
        """Recurrent plastic synapses."""
        return self.total(lambda n: n) - self.N * self.LX

    @property
    def lines(self) -> int:
        """Delay lines of plastic synapses: presynaptic neurons by delay."""
        return self.everyone * self.plastic_delays

    @property
    def typical(self) -> int:
        """n of a neuron, in the square mean of all where it varies: that of most of the work."""
        square = sum(neurons * n * n for n, neurons in self.inputs_of_all or self.inputs or ((self.n, self.everyone),))
        return round(math.sqrt(round(square) / self.everyone))

    @property
    def classes(self) -> Sizes:
        """The same with n rounded up to that of the neuron's class; see `size_classes`."""
        if not self.inputs:
            return self
        own, everyones = (np.array([n for n, _ in some]) for some in (self.inputs, self.inputs_of_all or self.inputs))
        tops = size_classes(own, everyones)
        return replace(self, inputs=tuple((int(top), count) for top, (_, count) in zip(tops, self.inputs, strict=True)))

    @property
    def members(self) -> dict[int, int]:
        """Each n, and how many neurons have it."""
        counts: dict[int, float] = {}
        for n, neurons in self.inputs or ((self.n, self.N),):
            counts[n] = counts.get(n, 0) + neurons
        return {n: round(neurons) for n, neurons in counts.items()}

    def total(self, each: Callable[[int], int]) -> int:
        """Sum over neurons of what is a function of n."""
        return round(sum(neurons * each(n) for n, neurons in self.inputs or ((self.n, self.N),)))

    @property
    def widest_outputs(self) -> int:
        """Expected maximum of plastic synapses made by a neuron: 4.5 deviations above the mean."""
        mean = self.synapses / 2 / self.pool if self.pool else 0.0
        return round(mean + 4.5 * math.sqrt(mean))

    @classmethod
    def of_experiment(cls, e: Experiment, ranks: Communicator = ALONE) -> Sizes:
        """The sizes of an experiment; draws and reads no synapses but plastic ones by tables.

        With several ranks, those of what this one has.
        """
        clock, tau = Clock.from_experiment(e), e.synapse.tau_plas_ms
        varies = isinstance(tau, tuple)
        static, plastic = projections_of(e, populations_of(e), "static"), in_degrees(e)
        inputs = None if plastic is None else e.feedforward.LX + plastic.degree
        delays, longest = np.ones(1) if plastic is None else plastic.delays, static.longest_delay if static else 1
        shortest = static.shortest_delay if static else (1 if e.network.K else int(delays[0]))
        differs = e.feedforward.LX > 0 and e.feedforward.tau_ms not in (None, tau)
        return cls(
            N=e.network.neurons,
            n=e.plastic_inputs if inputs is None else int(inputs.max()),
            inputs=() if inputs is None else _counted(inputs),
            LX=e.feedforward.LX,
            outputs=0 if static else 2 * e.network.K,
            pool=math.floor(e.network.frac * min(e.neurons_by_sign)),
            populations=len(e.populations) or 2,
            by_sign=not e.populations or [population.sign for population in e.populations] == [1, -1],
            background=any(population.background_hz for population in e.populations),
            steps=clock.steps,
            stimulus=Stimulus.from_experiment(e, clock).steps,
            bins=clock.bins,
            tasks=e.targets.tasks,
            learn_every_ms=clock.learn_every * clock.dt_ms,
            one_decay=not (varies or differs),
            tau_per_neuron=varies,
            one_static_filter=e.synapse.tau_E_ms == e.synapse.tau_I_ms,
            current_noise=e.noise.kind == "current",
            static_edges=static.expected if static else 0,
            static_delays=longest > 1,
            shortest_delay=min(shortest, int(delays[0])),
            longest_delay=max(longest, int(delays[-1])),
            plastic_delays=len(delays),
            rule=make_rule(e),
            **_neuron_sizes(make_neurons(e)),
        ).of_rank(ranks, inputs)

    @classmethod
    def of_problem(cls, p: Problem) -> Sizes:
        """The sizes of a problem."""
        varies = isinstance(p.tau_plas_ms, np.ndarray)
        differs = p.feedforward is not None and p.feedforward.tau_ms != p.tau_plas_ms
        inputs = p.plastic.everyones_inputs if p.plastic.varies else None
        return cls(
            N=p.neurons,
            n=p.n,
            LX=p.plastic.feedforward,
            outputs=p.static.outputs if p.static else 0,
            pool=min(len(pool) for pool in p.plastic.pools),
            populations=len(p.populations),
            by_sign=p.populations.ordered if p.static is None else p.static.by_sign,
            background=p.background is not None,
            steps=p.clock.steps,
            stimulus=p.stimulus.steps if p.stimulus else 0,
            bins=p.clock.bins,
            tasks=p.tasks,
            learn_every_ms=p.clock.learn_every * p.clock.dt_ms,
            one_decay=not (varies or differs),
            tau_per_neuron=varies,
            one_static_filter=p.tau_E_ms == p.tau_I_ms,
            current_noise=p.noise.kind == "current",
            static_edges=p.projections.expected if p.projections else 0,
            static_delays=p.longest_static_delay > 1,
            shortest_delay=p.shortest_delay,
            longest_delay=p.longest_delay,
            plastic_delays=len(p.plastic.delays),
            rule=p.learning,
            **_neuron_sizes(p.neuron),
            inputs=() if inputs is None else _counted(inputs),
        ).of_rank(p.ranks, inputs)


def _neuron_sizes(neurons: Neurons) -> dict[str, Any]:
    parameters = len(neurons.values) if neurons.varying else 0
    return {"lif": neurons.plain, "variables": len(neurons.model.variables), "parameters": parameters}


def size_classes(inputs: NDArray[np.int64], everyones: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The largest n of each neuron's class, given n of all, for backends that pad matrices to it.

    Squares of n in a class differ by a factor of at most `PADDED`. Of the neurons of a rank, the
    classes are those of the whole network, whose n are `everyones`.
    """
    sizes = np.unique(inputs if everyones is None else everyones)
    tops, top = np.empty_like(sizes), 0
    for i in range(len(sizes) - 1, -1, -1):
        top = sizes[i] if top * top > PADDED * sizes[i] ** 2 or not top else top
        tops[i] = top
    return tops[np.searchsorted(sizes, inputs)]


def _counted(inputs: NDArray[np.int64]) -> tuple[tuple[int, float], ...]:
    """Each number, and how often it is there."""
    return tuple(zip(*(a.tolist() for a in np.unique(inputs, return_counts=True)), strict=True))


def network_arrays(sizes: Sizes, *, outputs: bool = True) -> list[ArraySpec]:
    """The arrays that `rlsbench.network` draws, for a trainer that keeps them unchanged.

    Parameters
    ----------
    sizes : Sizes
    outputs : bool
        Whether the trainer also keeps plastic synapses by presynaptic neuron, `PlasticOutputs`.
    """
    N, of = sizes.N, ArraySpec.of
    arrays = [
        of("static targets", N * sizes.outputs + sizes.static_edges, np.int32, Lifetime.NETWORK),
        of("static weights", sizes.static_edges, np.float64, Lifetime.NETWORK),
        of("static delays", sizes.static_edges if sizes.static_delays else 0, np.uint8, Lifetime.NETWORK),
        of("sources", (N, sizes.recurrent), np.int32, Lifetime.NETWORK, part_of="plastic inputs"),
        drawing_scratch(sizes),
    ]
    if outputs:
        shapes = {"start": (sizes.lines + 1, np.int64), "post": (sizes.synapses, np.int32)}
        shapes["column"] = shapes["post"]
        arrays += [
            of(f"outputs.{name}", shape, dtype, Lifetime.NETWORK, part_of="plastic outputs")
            for name, (shape, dtype) in shapes.items()
        ]
    return arrays


def rule_arrays(sizes: Sizes, options: Options) -> list[ArraySpec]:
    """What the learning rule keeps, neurons first; a matrix of RLS as the options say.

    Where numbers of inputs vary, matrices are flat, one after another.
    A rank has the past of all neurons.
    """
    N, learning, storage = sizes.N, partial(ArraySpec.of, lifetime=Lifetime.LEARNING), STORAGES[options.storage]
    stored = PRECISIONS[options.p_precision].stored
    shape = (sizes.total(storage.entries),) if sizes.inputs else (N, *storage.shape(sizes.n))

    def rows(a: StateArray) -> int:
        return sizes.everyone if a.name == PAST else N

    return [
        learning(a.name, shape, stored)
        if a.dtype is None
        else learning(f"rule.{a.name}", (rows(a), *a.shape), a.dtype, part_of="learning rule")
        for a in sizes.rule.arrays(sizes.n, sizes.learn_every_ms, options.precision)
    ]


def drawing_scratch(sizes: Sizes) -> ArraySpec:
    """Temporary memory of `rlsbench.streams.distinct_integers` while it draws static synapses."""
    N, count = sizes.N, sizes.outputs
    draws = N * (math.log(N) - math.log(max(N - count, 0.5)))
    return ArraySpec.of("scratch for drawing", DRAWING_BYTES * int(min(DRAWN, N * draws)), np.uint8, Lifetime.DRAWING)
