"""P in 16 bits is rounded to nearest, which the tolerances of the conformance suite do not show.

In: a configuration of a backend whose P takes 16 bits.  Out: nothing, or an AssertionError.

One update from a P that is exact in 16 bits; the result is compared with the same in float64, in
units of the last place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import State
from rlsbench.conformance import Subject
from rlsbench.conformance.subjects import variant_problem

BITS = {"float16": 10, "bfloat16": 7}
"""Of the mantissa."""


def check_rounding(subject: Subject) -> None:
    """The error of P is at most half a unit in the last place, plus rounding in float32."""
    bits = BITS[subject.options.p_precision]
    p = variant_problem("plain")
    rng = np.random.default_rng(6)
    N, n = p.neurons, p.n
    a = rng.standard_normal((N, n, n))
    P = _rounded(np.einsum("cij,ckj->cik", a, a) / n + np.eye(n), bits)
    x = rng.random((N, n)).astype(np.float32).astype(np.float64)
    trainer = subject.trainer(p)
    trainer.restore(State(np.zeros((N, n), np.float32), {"P": P.astype(np.float32)}))
    trainer.rls_update(x.astype(np.float32), np.zeros(N, np.float32), np.zeros(N, np.float32))
    trainer.synchronize()
    k = np.einsum("cij,cj->ci", P, x)
    g = 1.0 / (1.0 + np.einsum("ci,ci->c", x, k))
    exact = P - g[:, None, None] * k[:, :, None] * k[:, None, :]
    places = np.abs(trainer.state().full() - exact) / _unit(exact, bits)
    # In float32 the difference of two numbers near 1 is off by some 1e-7: a few thousandths of a
    # unit for float16.
    slack = 1e-6 / _unit(exact, bits)
    assert (places <= 0.5 + slack).all(), f"off by up to {(places - slack).max():.2f} units in the last place"
    assert places.mean() < 0.3  # on average a quarter


def _unit(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = 2.0 ** (np.maximum(np.frexp(values)[1] - 1, -14) - bits)
    return unit


def _rounded(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    unit = _unit(values, bits)
    rounded: NDArray[np.float64] = np.rint(values / unit) * unit
    return rounded
