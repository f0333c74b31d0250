"""What it costs a run that its network is spread over ranks: memory of each, and exchange.

In: an experiment, a backend, and the ranks and links of a machine that need not be there.  Out: a
`Spread`.  Allocates nothing of the requested size, and calls no MPI.

An exchange, in which each of R ranks receives the messages of all, takes at least

    ceil(log2 R) latency + bytes of all ranks of a node (R - 1)/R / bandwidth of its link,

which recursive doubling reaches (Thakur, Rabenseifner and Gropp 2005, Int. J. High Perform. Comput.
Appl. 19:49). Ranks that wait for each other, and other traffic, add to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlsbench.backend import Backend, Options, Sizes
from rlsbench.backend.backend import SPIKE_BYTES
from rlsbench.capacity import needed_bytes
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.plugins import blamed
from rlsbench.ranks import Planned

RATE_HZ = 5.5  # of the published networks while they learn sinusoids


class Links(NamedTuple):
    """How nodes are connected."""

    latency: float = 2e-6  #: seconds until a short message arrives
    bandwidth: float = 25e9  #: of a node, bytes per second: 200 Gb/s


class Spread(NamedTuple):
    """The costs of a network that is spread over ranks."""

    ranks: Planned
    neurons: int  #: of the rank that has most
    others: dict[str, int]  #: size of each array of another rank; rank 0 also gathers the weights
    spikes: float  #: of all neurons in a step
    bytes: float  #: that a rank receives in a step
    others_seconds: float  #: of an iteration, for spikes and neurons of other ranks
    exchange_seconds: float  #: of an iteration, at least, with the messages of the backend
    floor_seconds: float  #: the same with no more than the number of each neuron that spiked

    @property
    def seconds(self) -> float:
        """What an iteration takes longer than one of the rank's own neurons."""
        return self.others_seconds + self.exchange_seconds

    def node_bytes(self, first: int) -> int:
        """Memory of the node of rank 0, which needs `first` bytes."""
        return first + (self.ranks.here - 1) * sum(self.others.values())

    def all_bytes(self, first: int) -> int:
        """Memory of all ranks, if rank 0 needs `first` bytes."""
        return first + (self.ranks.size - 1) * sum(self.others.values())


def spread_over(
    ranks: Planned, backend: Backend, e: Experiment, options: Options, links: Links, rate_hz: float
) -> Spread:
    """The costs for an experiment with at least two ranks, whose neurons fire at a rate."""
    clock, N = Clock.from_experiment(e), e.network.neurons
    other, neurons = ranks.other(N), int(np.diff(ranks.bounds(N)).max())
    spikes = N * rate_hz * clock.dt_ms / 1000.0
    spiked = N * -np.expm1(-rate_hz * e.time.learn_every_ms / 1000.0)
    with blamed(f"backend {backend.name}"):
        cost = backend.spread_cost(Sizes.of_experiment(e, other), options, ranks, spikes, float(spiked))
    found = clock.steps * cost.step_seconds + clock.bins * cost.update_seconds
    sizes, times = (cost.bytes, SPIKE_BYTES * spikes), clock.steps / cost.together
    exchange, floor = (times * exchange_seconds(ranks, links, cost.together * size) for size in sizes)
    needed = needed_bytes(backend, e, options, ranks=other)
    return Spread(ranks, neurons, needed, spikes, cost.bytes, found, exchange, floor)


def exchange_seconds(ranks: Planned, links: Links, size: float) -> float:
    """Least seconds of an exchange after which each rank has the messages of all, of this size."""
    rounds, received = (ranks.size - 1).bit_length(), size * (ranks.size - 1) / ranks.size
    return rounds * links.latency + ranks.here * received / links.bandwidth
