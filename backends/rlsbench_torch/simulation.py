"""The steps of a trial in PyTorch, on any device: docs/model.md section 2, steps 2 to 8.

In: a `Problem`, weights w.  Out: currents, filtered spikes, spikes.  Knows nothing of P or
learning.

Launching an operation on 10,000 numbers takes about as long as computing it, so a step has few:

    U <- (1 - dt/tau) U         for the three currents U_E, U_I, U_P together
    u  = X + gain_E U_E + gain_I U_I + gain_P U_P                    (+ current noise)
    v <- v + leak (u - v)       leak = dt/tau_m, 0 while refractory;   first v <- v + voltage noise
    spiked = v > threshold;     v = reset where it spiked
    U <- U + what arrives       1 from a static synapse, w from a plastic one

A current is u = gain U. What arrives in a step counts from the next step on, but does not decay in
it: u <- (1 - dt/tau) u + J/tau, so with gain = J/(tau (1 - dt/tau)) it can be added to U at once.
Filtered spikes, counts and recorded spikes are computed from the lists of spikes, once in a chunk
of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlsbench.backend import Arrays, Options, SpikeTrain
from rlsbench.problem import Problem
from rlsbench.streams import Purpose
from rlsbench_torch.devices import on_host, use_threads
from rlsbench_torch.neurons import make_neurons
from rlsbench_torch.spikes import SpikeLists
from rlsbench_torch.streams import normals_in_parallel
from rlsbench_torch.synapses import Synapses, counts_static
from rlsbench_torch.tuning import DRAWS, NEURONS_PER_THREAD, SPIKES_BASE, SPIKES_SHARE, STEPS


def currents(U: Tensor, decay: Tensor, gain: Tensor, X: Tensor, noise: Tensor | None, u: Tensor) -> None:
    """Steps 2 to 4: U (3, N) decays, and u (N,) becomes the input to the neurons."""
    U.mul_(decay)
    U_E, U_I, U_P = U.unbind()
    gain_E, gain_I, gain_P = gain.unbind()
    torch.addcmul(X, gain_E, U_E, out=u)
    u.addcmul_(gain_I, U_I)
    u.addcmul_(gain_P, U_P)
    if noise is not None:
        u.add_(noise)


class Simulation:
    """The network without its learning rule.

    w (N n + 1,), the weights and a 0, is shared with the trainer. The option `compile` compiles the
    dense part of a step, except on the CPU, where that took twice as long.
    """

    def __init__(
        self, problem: Problem, options: Options, arrays: Arrays[Tensor], w: Tensor, sources: NDArray[np.int32]
    ) -> None:
        p, N = problem, problem.neurons
        self.problem = problem
        self.w = w
        self.dtype = w.dtype
        self.device = w.device
        self.normals = partial(normals_in_parallel, options.threads, seed=p.seed, count=N, dtype=w.dtype, on=w.device)
        self.step_threads = max(1, min(options.threads, N // NEURONS_PER_THREAD))
        self.lists = SpikeLists(N, SPIKES_BASE + N // SPIKES_SHARE if w.device.type == "cuda" else None)
        self.synapses = Synapses(problem, w, sources, spare=self.lists.padded)
        self.currents = currents
        compile = options.compile and w.device.type != "cpu"
        if compile:
            self.currents = torch.compile(currents, dynamic=True)
        self.neurons = make_neurons(p, arrays, self.lists, compile=compile)
        self._set_constants(arrays)
        self.arriving = arrays.new("arriving").zero_()
        self.U = self.arriving[: 3 * N].view(3, N)
        self.u, self.X, self.X_stim = (arrays.new(name) for name in ("u", "X", "X_stim"))
        self.u_bal, self.u_P = arrays.new("u_bal"), arrays.new("u_P")  # after the last step
        self.filtered = arrays.new("filtered")
        # r: filtered spikes, 1/ms; rise: those of spikes since an update last set it to 0.
        self.r, self.rise = (row[:N] for row in self.filtered)
        self.counts = arrays.new("counts")  # spikes in this trial
        self.recorded = arrays.new("recorded")
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def _set_constants(self, arrays: Arrays[Tensor]) -> None:
        """Decays, gains and constants of the filter."""
        p, N = self.problem, self.problem.neurons
        varies = isinstance(p.tau_plas_ms, np.ndarray)
        tau_P = np.broadcast_to(np.asarray(p.tau_plas_ms, np.float64), N)
        taus = np.stack([np.full(N, p.tau_E_ms), np.full(N, p.tau_I_ms), tau_P])
        decay = 1.0 - p.clock.dt_ms / taus
        J = np.ones((3, N))
        if p.static and counts_static(p):
            J[:2] = np.array(p.static.weights)[:, p.populations.index(np.arange(N))]
        self.gain = arrays.new("gain").copy_(self._tensor(J / (taus * decay)))
        self.decay = arrays.new("decay").copy_(self._tensor(decay if varies else decay[:, :1]))
        # Per neuron, with one more entry for the neuron that pads lists; or one entry for all.
        which = np.append(np.arange(N), 0) if varies else np.zeros(1, np.int64)
        self.log_decay = self._tensor(np.log(decay[2])[which])
        self.inv_tau = self._tensor((1.0 / tau_P)[which])
        self.X_bal = arrays.new("X_bal").copy_(self._tensor(p.external_current))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Put everything into its state at t = 0; keep the spikes of the neurons `record`."""
        p = self.problem
        self.trial = trial
        self.task = task
        for array in (self.arriving, self.filtered, self.counts, self.u_bal, self.u_P):
            array.zero_()
        self.X.copy_(self.X_bal)
        self.X_stim.fill_(p.stimulus.mu if p.stimulus else 0.0)
        self.neurons.begin(p.neuron.initial_state(p.initial_voltage_normals(trial)))
        self.last = torch.empty(0, dtype=torch.int64, device=self.device)
        self.recording = len(record) > 0
        self.recorded.zero_()
        self.recorded[torch.from_numpy(record).to(self.device)] = True
        self.recorded_spikes: list[SpikeTrain] = []
        self.r_X = np.zeros(p.plastic.feedforward)  # filtered feed-forward spikes, 1/ms
        self.s_X = np.zeros(p.plastic.feedforward)

    def advance(self, first: int, last: int, replay: SpikeTrain | None) -> None:
        """Run the steps first .. last."""
        use_threads(self.step_threads)
        p = self.problem
        draws = max(1, DRAWS[self.device.type] // p.neurons)
        changing = (self.arriving, *self.neurons.changing, self.X, self.X_stim)  # by steps before their chunk has ended
        start = first
        while start <= last:
            draws_now = p.noise.scale or p.background or (p.stimulus and start < p.stimulus.off)
            end = min(start + (min(draws, STEPS) if draws_now else STEPS) - 1, last)
            before = [a.clone() for a in changing] if self.lists.padded and replay is None else []
            refractory = self.neurons.refractory.copy()
            while not self._chunk(start, end, replay, ends=end == last):
                for array, was in zip(changing, before, strict=True):
                    array.copy_(was)
                self.neurons.refractory = refractory.copy()
            start = end + 1

    def _chunk(self, first: int, last: int, replay: SpikeTrain | None, *, ends: bool) -> bool:
        """Run some steps; False if a list was too short, and they are to be run again."""
        p, N = self.problem, self.problem.neurons
        steps = range(first, last + 1)
        noise = self._draw(p.noise.scale, Purpose.NOISE, self.trial, steps)
        current_noise = noise if p.noise.kind == "current" else None
        voltage_noise = noise if p.noise.kind == "voltage" else None
        active = [i for i in steps if p.stimulus and p.stimulus.active(i)]
        stimulus = dict(zip(active, self._stimulus(active), strict=True))
        background = ()
        if p.background:
            background = self._tensor(np.stack(p.background.arriving(p.seed, self.trial, np.array(steps)), axis=1))
        feedforward = p.feedforward.spikes(p.seed, self.trial, self.task, first, last) if p.feedforward else None
        s_X = None if feedforward is None else self._tensor(feedforward)
        sends: Any = np.zeros(len(steps), bool) if feedforward is None else feedforward.any(axis=1)
        given: list[Tensor] = []
        if replay is not None:
            bounds = replay.bounds(first, last)
            neurons = torch.from_numpy(replay.neuron[bounds[0] : bounds[-1]].astype(np.int64)).to(self.device)
            given = list(neurons.split(np.diff(bounds).tolist()))
        listed: list[Tensor] = []
        self.lists.begin()
        for row, i in enumerate(steps):
            # 4. X = X_bal, plus X_stim while stim_on < t < stim_off
            if i in stimulus:
                self.X_stim.mul_(1.0 - p.stimulus.decay).add_(stimulus[i])  # type: ignore[union-attr]
                torch.add(self.X_bal, self.X_stim, out=self.X)
            elif p.stimulus and i == p.stimulus.off:
                self.X.copy_(self.X_bal)

            # 2. Currents
            xi = None if current_noise is None else current_noise[row]
            self.currents(self.U, self.decay, self.gain, self.X, xi, self.u)
            if ends and i == last:
                self._keep_currents(xi)

            # 5. and 6. Voltages and spikes
            spiked = (
                given[row]
                if given
                else self.neurons.spikes(self.u, None if voltage_noise is None else voltage_noise[row])
            )
            listed.append(spiked)

            # 7. and 8. Spikes and feed-forward spikes arrive in the next step
            if len(spiked):
                self.synapses.deliver(self.arriving, spiked)
            if len(background):
                self.U[:2].add_(background[row])
            if sends[row]:
                self.U[2].addmv_(self.w[:-1].view(N, -1)[:, : len(self.r_X)], s_X[row])  # type: ignore[index]
        if not self.lists.sufficed():
            return False
        self._count(first, listed)
        if feedforward is not None:
            self._filter_feedforward(feedforward)
        return True

    def _draw(self, scale: float, purpose: Purpose, trial: int, steps: Sequence[int]) -> Tensor | None:
        """Normals times a scale, (steps, N)."""
        if not scale or not len(steps):
            return None
        return self.normals(purpose=purpose, trial=trial, steps=steps).mul_(scale)

    def _stimulus(self, active: list[int]) -> Any:
        """mu b dt + sigma sqrt(dt) xi of each active step, (active, N)."""
        s = self.problem.stimulus
        if s is None or not active:
            return ()
        xi = self._draw(s.scale, Purpose.STIMULUS, self.task, [i - s.on for i in active])
        if xi is None:
            xi = torch.zeros((len(active), 1), dtype=self.dtype, device=self.device)
        return xi.add_(s.mu * s.decay)

    def _keep_currents(self, noise: Tensor | None) -> None:
        """Copy u_bal and u_P of this step, before anything new arrives."""
        torch.mul(self.gain[0], self.U[0], out=self.u_bal)
        self.u_bal.addcmul_(self.gain[1], self.U[1])
        if noise is not None:
            self.u_bal.add_(noise)
        torch.mul(self.gain[2], self.U[2], out=self.u_P)

    def _count(self, first: int, listed: list[Tensor]) -> None:
        """Apply a chunk's spikes to counts, recorded and filtered spikes.

        In a step r <- (1 - dt/tau) r + s/tau, s of the step before; so over T steps
        r <- (1 - dt/tau)^T r + sum of (1 - dt/tau)^(T - 1 - k) / tau over the spikes of k = 0 ..
        T-1, where those of k = 0 occurred in the step before the first.
        """
        T = len(listed)
        varies = len(self.log_decay) > 1
        before = [self.last, *listed[:-1]]
        self.last = listed[-1]
        who = torch.cat(before)
        k = self._repeated(torch.arange(T, device=self.device), before)
        log_decay = self.log_decay[who] if varies else self.log_decay
        inv_tau = self.inv_tau[who] if varies else self.inv_tau
        entering = torch.exp(log_decay * (T - 1 - k)).mul_(inv_tau)
        self.filtered.mul_(torch.exp(T * self.log_decay))
        self.filtered.index_add_(1, who, entering.expand(2, -1))
        now = torch.cat(listed)
        self.counts.index_add_(0, now, torch.ones_like(now))
        if self.recording:
            step = self._repeated(torch.arange(first, first + T, device=self.device), listed)
            kept = self.recorded[now]
            both = on_host(torch.stack([step[kept], now[kept]])).astype(np.int32)
            self.recorded_spikes.append(SpikeTrain(both[0], both[1]))

    def _repeated(self, values: Tensor, lists: list[Tensor]) -> Tensor:
        """Each value as often as the list at its place has entries."""
        lengths = [len(entries) for entries in lists]
        times = torch.tensor(lengths, device=self.device)
        return torch.repeat_interleave(values, times, output_size=sum(lengths))  # a given size needs no wait

    def _filter_feedforward(self, spikes: NDArray[np.bool_]) -> None:
        """Advance r_X (LX,) by the steps of `spikes` (steps, LX), as `_count` does for r."""
        feedforward = self.problem.feedforward
        assert feedforward is not None
        decay = 1.0 - self.problem.clock.dt_ms / feedforward.tau_ms
        T = len(spikes)
        before = np.concatenate([self.s_X[None], spikes[:-1]])
        self.r_X = decay**T * self.r_X + decay ** np.arange(T - 1, -1, -1) @ before / feedforward.tau_ms
        self.s_X = spikes[-1].astype(np.float64)
