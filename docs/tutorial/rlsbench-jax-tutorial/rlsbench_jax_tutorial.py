"""A complete backend in JAX; docs/add-a-backend.md explains it part by part."""

from collections import namedtuple
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rlsbench import backend as rb

# Symbols are those of docs/model.md; rows 0 and 1 of u_EI and in_EI belong to E and I.
State = namedtuple("State", "v refractory u_EI u_P u_bal r r_X in_EI in_P s s_X")
Network = namedtuple("Network", "population targets weights sources dt tau_EI tau_P tau_X tau_m threshold reset refrac")
with_rows = jax.jit(jax.lax.dynamic_update_slice_in_dim, static_argnums=3, donate_argnums=0)  # in place


@partial(jax.jit, static_argnames="benchmark", donate_argnames=("P", "w"))
def rls(P, w, x, u_bal, f, benchmark):
    """P and w after one update of every neuron (docs/model.md section 3)."""
    k = (P * x[:, None, :].astype(P.dtype)).sum(axis=2)  # k = P x
    g = 1 / (1 + (x * k).sum(axis=1))  # g = 1/(1 + x.k)
    root_gk = (jnp.sqrt(g)[:, None] * k).astype(P.dtype)
    P = P - root_gk[:, :, None] * root_gk[:, None, :]  # P <- P - g k k', and P stays symmetric
    e = jnp.where(jnp.isnan(f), 0, (w * x).sum(axis=1) + u_bal - f)  # e = w.x + u_bal - f
    return P, w if benchmark else (w - (g * e)[:, None] * k).astype(w.dtype)  # w <- w - g e k


@jax.jit
def inputs(sources, r_X, r):
    """x = [r_X; r_pre(c)] of each neuron c, (N, n)."""
    return jnp.concatenate([jnp.broadcast_to(r_X, (len(sources), len(r_X))), r[sources]], axis=1)


@jax.jit
def step(net, w, a, X, noise_u, noise_v, s_X, replayed):
    """The state after one time step from state a (docs/model.md section 2, steps 2 to 8)."""
    # 2. Currents: u <- u + (-dt u + in) / tau
    u_EI = a.u_EI + (a.in_EI - net.dt * a.u_EI) / net.tau_EI
    u_P = a.u_P + (a.in_P - net.dt * a.u_P) / net.tau_P
    u_bal = u_EI.sum(axis=0) + noise_u
    # 3. Filtered spikes: r <- r + (-dt r + s) / tau
    r = a.r + (a.s - net.dt * a.r) / net.tau_P
    r_X = a.r_X + (a.s_X - net.dt * a.r_X) / net.tau_X
    # 5. and 6. v <- v + dt/tau_m (X + u - v) unless refractory; a spike where v > threshold
    v, refractory, spiked = a.v, a.refractory, replayed
    if replayed is None:
        active, v = refractory == 0, v + noise_v
        v = jnp.where(active, v + (X + u_bal + u_P - v) * (net.dt / net.tau_m), v)
        spiked = active & (v > net.threshold)
        v = jnp.where(spiked, net.reset, v)
        refractory = jnp.where(spiked, net.refrac, jnp.maximum(refractory - 1, 0))
    # 7. and 8. What arrives in the next step: static weights spike by spike, plastic weights as w.s
    pre = jnp.nonzero(spiked, size=len(v), fill_value=0)[0]

    def deliver(i, in_EI):
        return in_EI.at[net.population[pre[i]], net.targets[pre[i]]].add(net.weights[pre[i]])

    in_EI = jax.lax.fori_loop(0, spiked.sum(), deliver, jnp.zeros_like(u_EI))
    s = spiked.astype(v.dtype)
    in_P = (w * inputs(net.sources, s_X, s)).sum(axis=1)
    return State(v, refractory, u_EI, u_P, u_bal, r, r_X, in_EI, in_P, s, s_X)


class JaxTrainer(rb.Trainer):
    """A network as JAX arrays."""

    def __init__(self, problem, options, arrays):
        super().__init__(problem, options)
        p, N, self.arrays = problem, problem.neurons, arrays
        self.real = partial(jnp.asarray, dtype=options.precision)
        targets, weights = p.static_synapses()
        synapses = p.populations.index(np.arange(N)), targets, self.real(weights), p.plastic.sources(p.seed)
        tau = [[p.tau_E_ms], [p.tau_I_ms]], p.tau_plas_ms, p.feedforward.tau_ms if p.feedforward else 1.0
        neuron = p.neuron.tau_m_ms, p.neuron.threshold, p.neuron.reset_voltage, p.refractory_steps
        self.network = Network(*map(jnp.asarray, synapses), *map(self.real, (p.clock.dt_ms, *tau, *neuron)))
        self.w = jnp.broadcast_to(self.real(p.plastic.initial_weights), (N, p.n))
        P0 = jnp.asarray(p.learning.initial_P(p.plastic), options.p_precision)
        self.P = jnp.broadcast_to(P0, (N, p.n, p.n)) if p.targets else jnp.empty((N, 0))
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def begin_trial(self, trial, task, record):
        super().begin_trial(trial, task, record)
        p = self.problem
        v = self.real(p.neuron.initial_state(p.initial_voltage_normals(trial))[0])
        self.now = State(*map(self.arrays.new, State._fields))._replace(v=v)
        self.X_stim = np.full(p.neurons, p.stimulus.mu if p.stimulus else 0.0)

    def advance(self, first, last, spikes=None):
        p, N = self.problem, self.problem.neurons
        for i in range(first, last + 1):
            xi = p.noise.scale * p.noise.normals(p.seed, self.trial, i, 0, N) if p.noise.scale else 0.0
            noise = (xi, 0.0) if p.noise.kind == "current" else (0.0, xi)
            X = p.external_current
            if p.stimulus and p.stimulus.active(i):  # 4. External current
                p.stimulus.advance(self.X_stim, p.seed, self.task, i)
                X = X + self.X_stim
            s_X = p.feedforward.spikes(p.seed, self.trial, self.task, i, i)[0] if p.feedforward else np.zeros(0)
            replayed = None if spikes is None else np.isin(np.arange(N), spikes.neuron[spikes.step == i])
            self.now = step(self.network, self.w, self.now, *map(self.real, (X, *noise, s_X)), replayed)
            self.record_spikes(i, np.asarray(self.now.s) > 0)

    def learn(self, bin):
        x = inputs(self.network.sources, self.now.r_X, self.now.r)
        self.rls_update(x, self.now.u_bal, self.target_row(bin))

    def rls_update(self, x, u_bal, f):
        self.P, self.w = rls(self.P, self.w, x, u_bal, f, self.problem.learning.benchmark)

    def currents(self):
        return np.asarray(self.now.u_bal), np.asarray(self.now.u_P)

    def block(self, first, last):
        kept = {"P": rb.Kept(np.asarray(self.P[first:last]))} if self.problem.targets else {}
        return rb.Block(np.asarray(self.w[first:last]), kept)

    def load_block(self, first, block):
        self.w = with_rows(self.w, self.real(block.w), first, 0)
        if self.problem.targets:
            self.P = with_rows(self.P, jnp.asarray(block.P.full(), self.P.dtype), first, 0)

    def synchronize(self):
        jax.block_until_ready((self.w, self.P))


class Jax(rb.Backend):
    """Full matrices in JAX."""

    name = "jax-tutorial"
    description = "the model in JAX, one file of 150 lines; explained in docs/add-a-backend.md"
    capabilities = rb.Capabilities(library_bytes=440 * 2**20)  # with compiled code, as measured

    def trainer(self, problem, options):
        jax.config.update("jax_enable_x64", True)  # otherwise JAX turns float64 into float32
        jax.config.update("jax_platforms", "cpu")
        return JaxTrainer(problem, options, self.allocator(problem, options, jnp.zeros))

    def arrays(self, sizes, options):
        N, n, LX, real, of = sizes.N, sizes.n, sizes.LX, options.precision, rb.ArraySpec.of
        shapes = {"u_EI": (2, N), "in_EI": (2, N), "r_X": LX, "s_X": LX}
        return [
            of("P", (N, n, n), options.p_precision, rb.Lifetime.LEARNING),
            *(of(name, (N, n), real) for name in ("w", "x")),
            *rb.network_arrays(sizes, outputs=False),
            of("static weights", (N, sizes.outputs), real, rb.Lifetime.NETWORK),
            *(of(name, shapes.get(name, N), real, part_of="state") for name in State._fields),
        ]


BACKEND = Jax()
