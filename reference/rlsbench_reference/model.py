"""The reference implementation: the network, the steps of a trial, and the RLS update.

In: a `Problem`.  Out: a `Trainer` in float64 with full matrices, which defines correct results.

It favours clarity over speed, and imports only NumPy and the core's types.

Symbols (Arthur et al. 2023; N neurons, n plastic inputs each, the first LX of them feed-forward):

    v               (N,)       voltage, in units of (threshold - reset)
    u_E, u_I        (N,)       static currents, in the same units
    u_bal           (N,)       u_E + u_I, the static ("balanced") current
    u_P             (N,)       plastic current
    in_E, in_I      (D, N)     input to u_E and u_I of step i in row i mod D, D = 1 + longest delay
    in_P            (N,)       input of the next step to u_P
    spiked          (D, N)     whether neurons spiked in step i, in row i mod D
    s               (N, C)     1 for spikes that act in the next step, after each of C delays
    r               (N, C)     filtered spikes as they arrive after these, 1/ms
    r_X             (LX,)      filtered feed-forward spikes, 1/ms
    f               (N,)       target current
    w               (N, n)     plastic weights, current times ms
    P               (N, n, n)  running inverse of the input correlations
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import (
    FEATURES,
    Arrays,
    ArraySpec,
    Backend,
    Block,
    Capabilities,
    Kept,
    Lifetime,
    Options,
    RuleUpdate,
    Sizes,
    SpikeTrain,
    Trainer,
    Update,
    keep_signs,
    network_arrays,
    rule_arrays,
)
from rlsbench.problem import Problem
from rlsbench.rules import Rls

Array = NDArray[np.float64]


def rls(P: Array, w: Array, x: Array, u_bal: Array, f: Array, *, benchmark: bool = False) -> None:
    """One RLS update of every neuron, in place (docs/model.md section 3).

    This is the standard step of w, with g k = P_new x (Haykin 2002, section 9.3; Sussillo and
    Abbott 2009), as in all tagged releases of the published code. Its development branch of March
    2024 omits g.

    Parameters
    ----------
    P : ndarray, shape (N, n, n)
    w : ndarray, shape (N, n)
    x : ndarray, shape (N, n)
        Filtered spikes of each neuron's plastic inputs.
    u_bal, f : ndarray, shape (N,)
        Static and target current; f is NaN for a neuron without a target.
    benchmark : bool
        Leave w unchanged, and update P only.
    """
    k = np.einsum("cij,cj->ci", P, x)  # k = P x
    g = 1.0 / (1.0 + np.einsum("ci,ci->c", x, k))  # g = 1/(1 + x.k)
    P -= g[:, None, None] * k[:, :, None] * k[:, None, :]  # P <- P - g k k'
    e = np.einsum("ci,ci->c", w, x) + u_bal - f  # e = w.x + u_bal - f
    e[np.isnan(f)] = 0.0  # no target
    if not benchmark:
        w -= (g * e)[:, None] * k  # w <- w - g e k


class ReferenceTrainer(Trainer):
    """The whole model in float64."""

    def __init__(self, problem: Problem, options: Options) -> None:
        super().__init__(problem, options)
        N, plastic = problem.neurons, problem.plastic
        self.static = problem.static_edges()
        self.static_weights = np.asarray(self.static.weight)
        one = np.broadcast_to(np.uint8(1), len(self.static.index))
        self.delays = one if self.static.delay is None else self.static.delay
        self.lines = plastic.lines(problem.seed)  # entries of r and s
        self.outputs = plastic.outputs(self.lines)
        self.w = np.array(np.broadcast_to(plastic.initial_weights, (N, plastic.n)))
        self.P: Array | None = None
        self.rule = Update()
        if problem.targets and isinstance(problem.learning, Rls):
            if plastic.varies:  # beyond a neuron's own inputs, P and x are 0, and stay so
                self.P = np.zeros((N, plastic.n, plastic.n))
                for neurons, P in problem.learning.initial_matrices(plastic, np.full(N, plastic.n)):
                    self.P[neurons] = P
            else:
                self.P = np.tile(problem.learning.initial_P(plastic), (N, 1, 1))
        elif problem.targets:
            new = Arrays(rule_arrays(Sizes.of_problem(problem), options), np.zeros).new
            self.rule = RuleUpdate(problem, self.w, self.lines, new, threads=1)
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        super().begin_trial(trial, task, record)
        p = self.problem
        N, LX = p.neurons, p.plastic.feedforward
        self.u_E, self.u_I, self.u_P, self.u_bal, self.in_P = (np.zeros(N) for _ in range(5))
        self.in_E, self.in_I, self.spiked = (np.zeros((p.longest_delay + 1, N)) for _ in range(3))
        self.r, self.s = (np.zeros((N, len(p.plastic.delays))) for _ in range(2))
        self.r_X, self.s_X = np.zeros(LX), np.zeros(LX)
        self.X_stim = np.full(N, p.stimulus.mu if p.stimulus else 0.0)
        self.state_of_neurons = p.neuron.initial_state(p.initial_voltage_normals(trial))
        self.refractory = np.zeros(N, np.int64)

    def learn(self, bin: int) -> None:
        """Step 1: x = [r_X; r[pre(c)]] of each neuron c, then the update to target row `bin`."""
        N = self.problem.neurons
        r = np.where(self.lines < 0, 0.0, self.r.ravel()[self.lines])
        x = np.concatenate([np.tile(self.r_X, (N, 1)), r], axis=1)
        if self.P is not None:
            self.rls_update(x, self.u_bal, self.target_row(bin))
            if self.problem.learning.keeps_signs:
                keep_signs(self.w, self.problem.plastic.signs)
        else:
            self.rule.learn(self.r[:, 0], self.r_X, self.u_bal, self.target_row(bin))

    def rls_update(self, x: NDArray[Any], u_bal: NDArray[Any], f: NDArray[Any]) -> None:
        if self.P is None:
            self.rule.rls_update(x, u_bal, f)  # which says why it cannot
        else:
            rls(self.P, self.w, x, u_bal, f, benchmark=self.problem.learning.benchmark)

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        for i in range(first, last + 1):
            self._step(i, None if spikes is None else spikes.neuron[spikes.step == i])

    def _step(self, i: int, replayed: NDArray[np.int32] | None) -> None:
        p, N = self.problem, self.problem.neurons
        dt, neuron, now = p.clock.dt_ms, p.neuron, i % len(self.in_E)

        # 2. Currents by forward Euler, with the input from spikes of earlier steps.
        self.u_E += (-dt * self.u_E + self.in_E[now]) / p.tau_E_ms
        self.u_I += (-dt * self.u_I + self.in_I[now]) / p.tau_I_ms
        self.u_P += (-dt * self.u_P + self.in_P) / p.tau_plas_ms
        self.u_bal = self.u_E + self.u_I
        xi = p.noise.normals(p.seed, self.trial, i, 0, N) if p.noise.kind != "none" else np.zeros(N)
        if p.noise.kind == "current":
            self.u_bal += p.noise.scale * xi
        u = self.u_bal + self.u_P

        # 3. Filtered spikes.
        self.r += (-dt * self.r + self.s) / np.reshape(p.tau_plas_ms, (-1, 1))
        if p.feedforward:
            self.r_X += (-dt * self.r_X + self.s_X) / p.feedforward.tau_ms

        # 4. External input.
        X = p.external_current
        if p.stimulus and p.stimulus.active(i):
            p.stimulus.advance(self.X_stim, p.seed, self.task, i)
            X = X + self.X_stim

        # 5. and 6. Voltage noise for all neurons; all but refractory ones integrate and may spike.
        if replayed is None:
            if p.noise.kind == "voltage":
                self.state_of_neurons[0] += p.noise.scale * xi
            active = self.refractory == 0
            spiked = neuron.advance(self.state_of_neurons, X + u, active, dt)
            self.refractory = np.where(spiked, p.refractory_steps, np.maximum(self.refractory - 1, 0))
        else:
            spiked = np.isin(np.arange(N), replayed)
        self.record_spikes(i, spiked)
        self.spiked[now] = spiked
        self.s = self.spiked[(i + 1 - p.plastic.delays) % len(self.spiked)].T

        # 7. Spikes add their weights to the input of a later step: static weights at once, plastic
        # ones, which may change on the way, when they are due.
        self.in_E[now], self.in_I[now], self.in_P = 0.0, 0.0, np.zeros(N)
        for j in np.flatnonzero(spiked):
            arriving = self.in_E if p.populations.excitatory(j) else self.in_I
            synapses = slice(self.static.start[j], self.static.start[j + 1])
            post, weight = self.static.index[synapses], self.static_weights[synapses]
            np.add.at(arriving, ((np.int64(i) + self.delays[synapses]) % len(arriving), post), weight)
        for j in np.flatnonzero(self.s):
            synapses = slice(self.outputs.start[j], self.outputs.start[j + 1])
            post, column = self.outputs.post[synapses], self.outputs.column[synapses]
            np.add.at(self.in_P, post, self.w[post, column])
        if p.background:
            in_E, in_I = p.background.arriving(p.seed, self.trial, i)
            self.in_E[(i + 1) % len(self.in_E)] += in_E
            self.in_I[(i + 1) % len(self.in_I)] += in_I

        # 8. Feed-forward inputs.
        if p.feedforward:
            self.s_X = p.feedforward.spikes(p.seed, self.trial, self.task, i, i)[0].astype(np.float64)
            self.in_P += self.w[:, : len(self.s_X)] @ self.s_X

    def currents(self) -> tuple[Array, Array]:
        return self.u_bal, self.u_P

    def voltages(self) -> Array:
        voltages: Array = self.state_of_neurons[0]
        return voltages

    def block(self, first: int, last: int) -> Block:
        if self.P is None:
            return Block(self.w[first:last], self.rule.part(first, last))
        P = Kept(self.P[first:last])
        if self.problem.plastic.varies:
            sizes = self.problem.plastic.inputs[first:last]
            own = [P_c[:n, :n].ravel() for P_c, n in zip(P.values, sizes.tolist(), strict=True)]
            P = Kept(np.concatenate(own), sizes=sizes)
        return Block(self.w[first:last], {"P": P})

    def load_block(self, first: int, block: Block) -> None:
        neurons = slice(first, first + len(block.w))
        self.w[neurons] = block.w
        self.rule.set_part(first, block)
        if self.P is not None and self.P.size:
            P = block.P.full()
            self.P[neurons, : P.shape[1], : P.shape[1]] = P


class Reference(Backend):
    """The backend `reference`."""

    name = "reference"
    description = "the model in one page of NumPy, float64; defines correct results"
    capabilities = Capabilities(
        precisions=("float64",), p_precisions=("float64",), features=frozenset(FEATURES) - {"ranks"}
    )

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        return ReferenceTrainer(problem, options)

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        N, n, of = sizes.N, sizes.n, ArraySpec.of
        return [
            *rule_arrays(replace(sizes, inputs=()), options),  # padded to the most inputs
            of("w", (N, n), np.float64),
            *network_arrays(sizes),
            of("weights", N * sizes.outputs, np.float64, Lifetime.NETWORK, part_of="static weights"),
            # The symbols above, refractory and counts, and what a neuron model has beside v.
            of("state", (12 + sizes.variables + sizes.parameters + 3 * sizes.longest_delay, N), np.float64),
            of("filtered spikes", (2, sizes.lines), np.float64, part_of="state"),
            of("scratch for outer products", (N, n, n), np.float64, Lifetime.SCRATCH),
        ]


BACKEND = Reference()
