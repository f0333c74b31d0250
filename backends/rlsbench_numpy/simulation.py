"""The simulation in NumPy, in any precision: steps 2 to 8 of docs/model.md section 2.

In: a `Problem`, weights w.  Out: currents, filtered spikes, spikes.

Symbols are those of `rlsbench_reference.model`. Unlike there, arrays are updated in place, random
numbers are drawn for several steps at once, and static spikes are counted for each target neuron,
because their weights depend only on the populations.

Of a network that is spread over ranks, arrays of N are those of the rank's own neurons, which are
numbered from 0 on; the r and s of all neurons are known to every rank, since all hear of every
spike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays, ArraySpec, Options, Sizes, SpikeTrain
from rlsbench.problem import Problem

Floats = NDArray[np.floating[Any]]

DRAWS = 2**18  # random numbers drawn at once

STATE = ("u_E", "u_I", "u_P", "u_bal", "u", "in_E", "in_I", "in_P", "X_bal", "X_stim")
"""Names of the arrays of N numbers in the precision of the currents."""


def state_arrays(sizes: Sizes, options: Options) -> list[ArraySpec]:
    """Declare the arrays of the simulation, without those of the network."""
    N, of, real = sizes.N, ArraySpec.of, options.precision  # r and s of all neurons, also on a rank
    return [
        *(of(name, N, real, part_of="state") for name in STATE),
        *(of(name, (sizes.everyone, sizes.plastic_delays), real, part_of="state") for name in ("r", "s")),
        of("neurons", (sizes.variables + sizes.parameters, N), real, part_of="state"),
        of("refractory", N, np.int32, part_of="state"),
        of("counts", N, np.int64, part_of="state"),
        *(of(name, sizes.LX, real, part_of="state") for name in ("r_X", "s_X")),
        of("J", (sizes.populations, N if sizes.outputs else 0), real, part_of="state"),
        of("in transit", (2, sizes.longest_delay + 1, N) if sizes.static_edges else 0, real, part_of="state"),
    ]


class Simulation:
    """The network without the learning rule; w (N, n), the trainer's weights, is not copied."""

    def __init__(self, problem: Problem, w: Floats, arrays: Arrays[NDArray[Any]]) -> None:
        p, part = problem, problem.own_part
        self.problem, self.w, self.dtype, self.arrays = problem, w, w.dtype, arrays
        self.own, self.neuron = p.own, part.neuron
        self.N = self.own.stop - self.own.start
        if p.static:
            self.static = p.static_edges(weights=p.static.own_weights is not None)
            self.J = arrays.new("J")  # of each presynaptic population onto each neuron
            post = p.populations.index(np.arange(self.own.start, self.own.stop))
            self.J[:] = np.array(p.static.weights, self.dtype)[:, post]
        self.edges = p.static_edges() if p.projections else None
        self.lines = part.plastic.lines(p.seed)
        self.outputs = part.plastic.outputs(self.lines)
        self.X_bal = part.external_current.astype(self.dtype)
        self.inv_tau_plas, self.inv_tau_r = (
            (1.0 / np.asarray(tau)).astype(self.dtype) for tau in (part.tau_plas_ms, p.tau_plas_ms)
        )
        self.parameters = self.neuron.parameters(self.dtype)
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Reset to t = 0 of a trial."""
        p, new = self.problem, self.arrays.new
        self.trial, self.task, self.record = trial, task, record
        self.u_E, self.u_I, self.u_P, self.u_bal, self.u = (new(a) for a in ("u_E", "u_I", "u_P", "u_bal", "u"))
        self.in_E, self.in_I, self.in_P = (new(a) for a in ("in_E", "in_I", "in_P"))
        self.r, self.s, self.r_X, self.s_X = (new(a) for a in ("r", "s", "r_X", "s_X"))
        self.X_stim = new("X_stim")
        self.X_stim[:] = p.stimulus.mu if p.stimulus else 0.0
        self.neurons = self.neuron.initial_state(p.initial_voltage_normals(trial)).astype(self.dtype)
        self.refractory = new("refractory")
        self.counts = new("counts")
        self.in_transit = new("in transit")
        # Who spiked in step i, at i mod the longest delay of plastic synapses.
        self.past = [np.empty(0, np.int64)] * int(p.plastic.delays[-1])
        self.recorded: list[SpikeTrain] = []

    def x(self, block: Any) -> Floats:
        """Filtered spikes of the plastic inputs of a block of neurons, (B, n); any where padded."""
        recurrent: Floats = self.r.ravel()[self.lines[block]]
        if not len(self.r_X):
            return recurrent
        return np.concatenate([np.broadcast_to(self.r_X, (len(recurrent), len(self.r_X))), recurrent], axis=1)

    def advance(self, first: int, last: int, replay: SpikeTrain | None) -> None:
        """Run the steps first .. last."""
        chunk = max(1, DRAWS // self.problem.neurons)
        for start in range(first, last + 1, chunk):
            self._chunk(start, min(start + chunk - 1, last), replay)

    def _chunk(self, first: int, last: int, replay: SpikeTrain | None) -> None:
        p, own = self.problem, (self.own.start, self.own.stop)
        steps = np.arange(first, last + 1)
        noise = None
        if p.noise.scale:
            noise = (p.noise.scale * p.noise.normals(p.seed, self.trial, steps, *own)).astype(self.dtype)
        feedforward = p.feedforward.spikes(p.seed, self.trial, self.task, first, last) if p.feedforward else None
        stimulus: dict[int, Floats] = {}
        if p.stimulus:
            active = steps[[p.stimulus.active(i) for i in steps.tolist()]]
            xi = p.stimulus.normals(p.seed, self.task, active, *own) if len(active) else ()
            stimulus = {i: (p.stimulus.scale * x).astype(self.dtype) for i, x in zip(active.tolist(), xi, strict=True)}
        bounds = replay.bounds(first, last) if replay is not None else None
        for row, i in enumerate(steps.tolist()):
            self._currents(noise[row] if noise is not None and p.noise.kind == "current" else None)
            X = self._external(stimulus.get(i))
            if replay is None or bounds is None:
                spiked = self._voltages(X, noise[row] if noise is not None and p.noise.kind == "voltage" else None)
                spiked = p.ranks.gather(self.own.start + spiked)
            else:
                spiked = replay.neuron[bounds[row] : bounds[row + 1]].astype(np.int64)
            self._deliver(i, spiked, feedforward[row] if feedforward is not None else None)

    def _currents(self, noise: Floats | None) -> None:
        """Steps 2 and 3: currents and filtered spikes."""
        p = self.problem
        dt = self.dtype.type(p.clock.dt_ms)
        for u, arriving, inv_tau in (
            (self.u_E, self.in_E, 1.0 / p.tau_E_ms),
            (self.u_I, self.in_I, 1.0 / p.tau_I_ms),
            (self.u_P, self.in_P, self.inv_tau_plas),
            (self.r, self.s, self.inv_tau_r.reshape(-1, 1)),
        ):
            u += (arriving - dt * u) * inv_tau
        if p.feedforward:
            self.r_X += (self.s_X - dt * self.r_X) / p.feedforward.tau_ms
        np.add(self.u_E, self.u_I, out=self.u_bal)
        if noise is not None:
            self.u_bal += noise
        np.add(self.u_bal, self.u_P, out=self.u)

    def _external(self, increment: Floats | None) -> Floats:
        """Step 4: X_bal, plus the stimulus while it is on."""
        stimulus = self.problem.stimulus
        if increment is None or stimulus is None:
            return self.X_bal
        self.X_stim += (stimulus.mu - self.X_stim) * stimulus.decay + increment
        X: Floats = self.X_bal + self.X_stim
        return X

    def _voltages(self, X: Floats, noise: Floats | None) -> NDArray[np.int64]:
        """Steps 5 and 6: noise, integration, spikes and reset; returns sorted spikes."""
        if noise is not None:
            self.neurons[0] += noise
        active = self.refractory == 0
        spiked = self.neuron.advance(self.neurons, X + self.u, active, self.problem.clock.dt_ms, self.parameters)
        np.maximum(self.refractory - 1, 0, out=self.refractory)
        self.refractory[spiked] = self.problem.refractory_steps
        return np.flatnonzero(spiked)

    def _deliver(self, step: int, spiked: NDArray[np.int64], feedforward: NDArray[np.bool_] | None) -> None:
        """Steps 7 and 8: the input of the next step, from all neurons that spiked."""
        p, own = self.problem, self.own
        self.past[step % len(self.past)] = spiked
        due = (step + 1 - p.plastic.delays) % len(self.past)
        lines = np.concatenate([self.past[row] * len(due) + i for i, row in enumerate(due.tolist())])
        self.s.fill(0)
        self.s.ravel()[lines] = 1
        mine = slice(*np.searchsorted(spiked, (own.start, own.stop)))
        self.counts[spiked[mine] - own.start] += 1
        if len(self.record):
            kept = np.intersect1d(spiked[mine], self.record, assume_unique=True).astype(np.int32)
            self.recorded.append(SpikeTrain(np.full(len(kept), step, np.int32), kept))
        self.in_E.fill(0)
        self.in_I.fill(0)
        if p.static:
            senders = np.split(spiked, np.searchsorted(spiked, p.populations.bounds[1:-1]))
            for population, J, pre in zip(p.populations, self.J, senders, strict=True):
                if not len(pre):
                    continue
                arriving, at = self.in_E if population.sign > 0 else self.in_I, entries(self.static.start, pre)
                targets, weights = self.static.index[at], self.static.weight
                if weights is None:
                    arriving += J * np.bincount(targets, minlength=self.N)
                else:
                    arriving += np.bincount(targets, weights[at], minlength=self.N)
        if self.edges is not None:
            self._send(step, spiked)
        if p.background:
            in_E, in_I = p.background.arriving(p.seed, self.trial, step, own.start, own.stop)
            self.in_E += in_E
            self.in_I += in_I
        self.in_P.fill(0)
        for j in lines:
            synapses = slice(self.outputs.start[j], self.outputs.start[j + 1])
            post, column = self.outputs.post[synapses], self.outputs.column[synapses]
            np.add.at(self.in_P, post, self.w[post, column])
        if feedforward is not None:
            self.s_X = feedforward.astype(self.dtype)
            for x in np.flatnonzero(feedforward):  # in this order; that of BLAS depends on its threads
                self.in_P += self.w[:, x]

    def _send(self, step: int, spiked: NDArray[np.int64]) -> None:
        """Add the weights of static edges to what arrives after their delay, and take what is due.

        Row (sign, i mod D) of what is in transit, (2, D, N), arrives in step i.
        """
        assert self.edges is not None
        start, index, weight, delay = self.edges
        assert weight is not None
        D, at = self.in_transit.shape[1], entries(start, spiked)
        due = (step + (1 if delay is None else delay[at].astype(np.int64))) % D
        inhibitory = np.repeat(~self.problem.populations.excitatory(spiked), start[spiked + 1] - start[spiked])
        np.add.at(self.in_transit.reshape(-1), (inhibitory * D + due) * self.N + index[at], weight[at])
        arriving = self.in_transit[:, (step + 1) % D]
        self.in_E[:], self.in_I[:] = arriving
        arriving[:] = 0


def entries(start: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the entries of some rows are, row after row; row i has start[i] .. start[i+1]-1."""
    count = start[rows + 1] - start[rows]
    at: NDArray[np.int64] = np.arange(count.sum()) + np.repeat(start[rows] - np.cumsum(count) + count, count)
    return at
