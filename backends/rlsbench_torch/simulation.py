"""The steps of a trial in PyTorch, on any device: model section 2, steps 2 to 8.

In: a `Problem`, weights w.  Out: currents, filtered spikes, spikes.  Knows nothing of P or of learning.

An operation on 10,000 numbers takes hardly longer to do than to ask for, so a step is a dozen of them:

    U <- (1 - dt/tau) U         for the three currents U_E, U_I, U_P together
    u  = X + gain_E U_E + gain_I U_I + gain_P U_P                    (+ current noise)
    v <- v + leak (u - v)       leak = dt/tau_m, and 0 while refractory;   first v <- v + voltage noise
    spiked = v > threshold;     v = reset where it spiked
    U <- U + what arrives       1 from a static synapse, w from a plastic one

A current is u = gain U.  What arrives in this step counts from the next one on, and not yet in its decay:
u <- (1 - dt/tau) u + J/tau, so with gain = J/(tau (1 - dt/tau)) it can be added to U at once.  Filtered spikes, counts
and recorded spikes are brought up to date from the lists of spikes, once in a chunk of steps.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlsbench.backend import SpikeTrain
from rlsbench.problem import Problem
from rlsbench.streams import Purpose
from rlsbench_torch.devices import on_host, use_threads
from rlsbench_torch.spikes import spike_lists
from rlsbench_torch.streams import normals_in_parallel
from rlsbench_torch.synapses import Synapses

__all__ = ["Simulation"]

DRAWS = {"cpu": 2**18, "cuda": 2**24, "mps": 2**20}  # random numbers drawn at once
STEPS = 512  # most steps in a chunk
NEURONS_PER_THREAD = 2**15  # fewer are better simulated by one thread: threads meet after each operation

Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def currents(
    U: torch.Tensor, f: torch.Tensor, gain: Three, X: torch.Tensor, noise: torch.Tensor | None, u: torch.Tensor
) -> None:
    """Steps 2 to 4: U (3, N) decays by f, and u (N,) becomes the input to the neurons."""
    U.mul_(f)
    U_E, U_I, U_P = U.unbind()
    torch.addcmul(X, gain[0], U_E, out=u)
    u.addcmul_(gain[1], U_I)
    u.addcmul_(gain[2], U_P)
    if noise is not None:
        u.add_(noise)


def voltages(
    v: torch.Tensor,
    u: torch.Tensor,
    leak: torch.Tensor,
    threshold: torch.Tensor,
    noise: torch.Tensor | None,
    spiked: torch.Tensor,
) -> None:
    """Steps 5 and 6 up to the spikes: v and `spiked`, both (N,).

    With voltage noise the threshold is infinite while refractory.
    """
    if noise is not None:
        v.add_(noise)
    v.lerp_(u, leak)
    torch.gt(v, threshold, out=spiked)


class Simulation:
    """The network without its learning rule.

    Parameters
    ----------
    problem : Problem
    w : Tensor, shape (N n + 1,)
        The trainer's weights, shared with it, and a 0.
    sources : ndarray of int32, shape (N, 2 L)
    threads : int
        On the processor: at least 1.
    compile : bool
        Let PyTorch compile the dense part of a step, but on the processor, where that took twice as long.
    """

    def __init__(
        self, problem: Problem, w: torch.Tensor, sources: NDArray[np.int32], *, threads: int, compile: bool
    ) -> None:
        p, N, dt = problem, problem.neurons, problem.clock.dt_ms
        neuron: Any = p.neuron
        self.problem, self.w, self.dtype, self.device = problem, w, w.dtype, w.device
        self.threads, self.step_threads = threads, max(1, min(threads, N // NEURONS_PER_THREAD))
        self.lists = spike_lists(N, w.device)
        self.synapses = Synapses(problem, w, sources, spare=self.lists.padded)
        self.currents, self.voltages = currents, voltages
        if compile and w.device.type != "cpu":
            self.currents, self.voltages = (torch.compile(step, dynamic=True) for step in (currents, voltages))

        tau_P = np.broadcast_to(np.asarray(p.tau_plas_ms, np.float64), N)
        taus = np.stack([np.full(N, p.tau_E_ms), np.full(N, p.tau_I_ms), tau_P])
        decay = 1.0 - dt / taus
        J = np.ones((3, N))
        if p.static and p.static.own_weights is None:
            inhibitory = (np.arange(N) >= p.excitatory).astype(np.int64)
            J[:2] = np.array(p.static.weights)[:, inhibitory]
        gain_E, gain_I, gain_P = (self._tensor(row) for row in J / (taus * decay))
        self.gain: Three = (gain_E, gain_I, gain_P)
        varies = isinstance(p.tau_plas_ms, np.ndarray)
        self.f = self._tensor(decay if varies else decay[:, :1])
        self.log_decay, self.inv_tau = (
            torch.from_numpy(np.ascontiguousarray(a if varies else a[:1])) for a in (np.log(decay[2]), 1.0 / tau_P)
        )
        if varies:  # one more, for the neuron that pads lists
            self.log_decay, self.inv_tau = (torch.cat([a, a[:1]]) for a in (self.log_decay, self.inv_tau))
        self.log_decay, self.inv_tau = (a.to(self.dtype).to(self.device) for a in (self.log_decay, self.inv_tau))

        self.X_bal = self._tensor(p.external_current)
        self.leaks, self.thresholds = dt / neuron.tau_m_ms, float(neuron.threshold)
        self.reset = float(neuron.reset_voltage)
        self.may_exceed = p.noise.kind == "voltage"  # whether a refractory neuron could pass the threshold
        # One entry more for the neuron that pads lists, and one for what is sent nowhere.
        self.arriving = torch.zeros(3 * N + 1, dtype=self.dtype, device=self.device)
        self.U = self.arriving[: 3 * N].view(3, N)
        v, leak, threshold = (torch.empty(N + 1, dtype=self.dtype, device=self.device) for _ in range(3))
        self.neurons: Three = (v, leak, threshold)
        self.v, self.leak, self.threshold = v[:N], leak[:N], threshold[:N]
        self.spiked = torch.empty(N, dtype=torch.bool, device=self.device)
        self.u, self.X, self.X_stim = (torch.empty(N, dtype=self.dtype, device=self.device) for _ in range(3))
        self.filtered = torch.empty((2, N + 1), dtype=self.dtype, device=self.device)
        self.r, self.rise = (row[:N] for row in self.filtered)
        self.counted = torch.empty(N + 1, dtype=torch.int64, device=self.device)
        self.named = torch.empty(N + 1, dtype=torch.bool, device=self.device)
        self.u_bal, self.u_P = (torch.empty(N, dtype=self.dtype, device=self.device) for _ in range(2))
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Everything to its value at t = 0."""
        p = self.problem
        self.trial, self.task = trial, task
        for array in (self.arriving, self.filtered, self.counted, self.u_bal, self.u_P):
            array.zero_()
        self.X.copy_(self.X_bal)
        self.X_stim.fill_(p.stimulus.mu if p.stimulus else 0.0)
        v, leak, threshold = self.neurons
        v.fill_(self.reset)
        leak.fill_(self.leaks)
        threshold.fill_(self.thresholds)
        self.v.copy_(self._tensor(p.neuron.initial_state(p.initial_voltage_normals(trial))[0]))
        self.refractory: deque[torch.Tensor] = deque()
        self.last = torch.empty(0, dtype=torch.int64, device=self.device)
        self.recording = len(record) > 0
        self.named.zero_()
        self.named[torch.from_numpy(record).to(self.device)] = True
        self.recorded: list[SpikeTrain] = []
        self.r_X, self.s_X = (np.zeros(p.plastic.feedforward) for _ in range(2))

    def advance(self, first: int, last: int, replay: SpikeTrain | None) -> None:
        """Run the steps first .. last."""
        use_threads(self.step_threads)
        p = self.problem
        draws = max(1, DRAWS[self.device.type] // p.neurons)
        start = first
        while start <= last:
            draws_now = p.noise.scale or (p.stimulus and start < p.stimulus.off)
            end = min(start + (min(draws, STEPS) if draws_now else STEPS) - 1, last)
            before = self._snapshot() if self.lists.padded and replay is None else None
            while not self._chunk(start, end, replay, ends=end == last):
                assert before is not None
                self._return_to(before)
            start = end + 1

    def _snapshot(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        return [a.clone() for a in self._changing()], list(self.refractory)

    def _return_to(self, before: tuple[list[torch.Tensor], list[torch.Tensor]]) -> None:
        for array, was in zip(self._changing(), before[0], strict=True):
            array.copy_(was)
        self.refractory = deque(before[1])

    def _changing(self) -> tuple[torch.Tensor, ...]:
        """What the steps of a chunk change, before it has ended."""
        return self.arriving, *self.neurons, self.X, self.X_stim

    def _chunk(self, first: int, last: int, replay: SpikeTrain | None, *, ends: bool) -> bool:
        """Run some steps; False if a list of spikes was too short and nothing but `_changing` was changed."""
        p, N = self.problem, self.problem.neurons
        steps = range(first, last + 1)
        noise = self._draw(p.noise.scale, Purpose.NOISE, self.trial, steps)
        on_current, on_voltage = (noise if p.noise.kind == kind else None for kind in ("current", "voltage"))
        active = [i for i in steps if p.stimulus and p.stimulus.active(i)]
        stimulus = dict(zip(active, self._stimulus(active), strict=True))
        feedforward = p.feedforward.spikes(p.seed, self.trial, self.task, first, last) if p.feedforward else None
        s_X = None if feedforward is None else self._tensor(feedforward)
        sends: Any = np.zeros(len(steps), bool) if feedforward is None else feedforward.any(axis=1)
        given: list[torch.Tensor] = []
        if replay is not None:
            bounds = replay.bounds(first, last)
            neurons = torch.from_numpy(replay.neuron[bounds[0] : bounds[-1]].astype(np.int64)).to(self.device)
            given = list(neurons.split(np.diff(bounds).tolist()))
        listed: list[torch.Tensor] = []
        self.lists.begin()
        for row, i in enumerate(steps):
            if i in stimulus:
                self.X_stim.mul_(1.0 - p.stimulus.decay).add_(stimulus[i])  # type: ignore[union-attr]
                torch.add(self.X_bal, self.X_stim, out=self.X)
            elif p.stimulus and i == p.stimulus.off:
                self.X.copy_(self.X_bal)
            xi = None if on_current is None else on_current[row]
            self.currents(self.U, self.f, self.gain, self.X, xi, self.u)
            if ends and i == last:
                self._keep_currents(xi)
            spiked = given[row] if given else self._spikes(None if on_voltage is None else on_voltage[row])
            listed.append(spiked)
            if len(spiked):
                self.synapses.deliver(self.arriving, spiked)
            if sends[row]:
                self.U[2].addmv_(self.w[:-1].view(N, -1)[:, : len(self.r_X)], s_X[row])  # type: ignore[index]
        if not self.lists.sufficed():
            return False
        self._count(first, listed)
        if feedforward is not None:
            self._filter_feedforward(feedforward)
        return True

    def _draw(self, scale: float, purpose: Purpose, trial: int, steps: Any) -> torch.Tensor | None:
        """Normals times a scale, (steps, N)."""
        if not scale or not len(steps):
            return None
        return normals_in_parallel(
            self.threads,
            seed=self.problem.seed,
            purpose=purpose,
            trial=trial,
            steps=steps,
            count=self.problem.neurons,
            dtype=self.dtype,
            on=self.device,
        ).mul_(scale)

    def _stimulus(self, active: list[int]) -> Any:
        """Step 4: mu b dt + sigma sqrt(dt) xi of each active step, (active, N)."""
        s = self.problem.stimulus
        if s is None or not active:
            return ()
        xi = self._draw(s.scale, Purpose.STIMULUS, self.task, [i - s.on for i in active])
        if xi is None:
            xi = torch.zeros((len(active), 1), dtype=self.dtype, device=self.device)
        return xi.add_(s.mu * s.decay)

    def _keep_currents(self, noise: torch.Tensor | None) -> None:
        """u_bal and u_P as they are in this step, before anything new arrives."""
        torch.mul(self.gain[0], self.U[0], out=self.u_bal)
        self.u_bal.addcmul_(self.gain[1], self.U[1])
        if noise is not None:
            self.u_bal.add_(noise)
        torch.mul(self.gain[2], self.U[2], out=self.u_P)

    def _spikes(self, noise: torch.Tensor | None) -> torch.Tensor:
        """Steps 5 and 6: who spiked, rising; they are reset, and refractory for some steps from the next one on."""
        v, leak, threshold = self.neurons
        rest = self.problem.refractory_steps
        if len(self.refractory) > rest:
            rested = self.refractory.popleft()
            leak.index_fill_(0, rested, self.leaks)
            if self.may_exceed:
                threshold.index_fill_(0, rested, self.thresholds)
        self.voltages(self.v, self.u, self.leak, self.threshold, noise, self.spiked)
        spiked = self.lists.listed(self.spiked)
        v.index_fill_(0, spiked, self.reset)
        if rest:
            leak.index_fill_(0, spiked, 0.0)
            if self.may_exceed:
                threshold.index_fill_(0, spiked, torch.inf)
            self.refractory.append(spiked)
        return spiked

    def _count(self, first: int, listed: list[torch.Tensor]) -> None:
        """Bring counts, recorded and filtered spikes up to date: r <- (1 - dt/tau) r + s/tau, s of the step before.

        So over T steps r <- (1 - dt/tau)^T r + sum of (1 - dt/tau)^(T - 1 - k) / tau over the spikes of k = 0 .. T - 1,
        where those of k = 0 came in the step before the first.
        """
        T = len(listed)
        own = len(self.log_decay) > 1
        before = [self.last, *listed[:-1]]
        self.last = listed[-1]
        who = torch.cat(before)
        k = self._repeated(torch.arange(T, device=self.device), before)
        log_decay, inv_tau = (a[who] if own else a for a in (self.log_decay, self.inv_tau))
        entering = torch.exp(log_decay * (T - 1 - k)).mul_(inv_tau)
        self.filtered.mul_(torch.exp(T * self.log_decay))
        self.filtered.index_add_(1, who, entering.expand(2, -1))
        now = torch.cat(listed)
        self.counted.index_add_(0, now, torch.ones_like(now))
        if self.recording:
            step = self._repeated(torch.arange(first, first + T, device=self.device), listed)
            kept = self.named[now]
            both = on_host(torch.stack([step[kept], now[kept]])).astype(np.int32)
            self.recorded.append(SpikeTrain(both[0], both[1]))

    def _repeated(self, values: torch.Tensor, lists: list[torch.Tensor]) -> torch.Tensor:
        """A value for each entry of the list that stands in its place."""
        lengths = [len(entries) for entries in lists]
        times = torch.tensor(lengths, device=self.device)
        return torch.repeat_interleave(values, times, output_size=sum(lengths))  # told, so that nothing is waited for

    def _filter_feedforward(self, spikes: NDArray[np.bool_]) -> None:
        """Advance r_X (LX,) by the steps of `spikes` (steps, LX), as `_count` does r."""
        feedforward = self.problem.feedforward
        assert feedforward is not None
        decay = 1.0 - self.problem.clock.dt_ms / feedforward.tau_ms
        T = len(spikes)
        before = np.concatenate([self.s_X[None], spikes[:-1]])
        self.r_X = decay**T * self.r_X + decay ** np.arange(T - 1, -1, -1) @ before / feedforward.tau_ms
        self.s_X = spikes[-1].astype(np.float64)
