"""The network of `benchmarks.microcircuit`: sizes, synapses, and a configuration that runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import microcircuit
from rlsbench.problem import initial_problem


def test_the_full_network_is_the_published_one() -> None:
    assert microcircuit.sizes(1.0).sum() == 77_169
    synapses = microcircuit.full_synapses()
    assert 0.29e9 < synapses.sum() < 0.31e9  # about 0.3 billion
    assert not synapses[microcircuit.PROBABILITIES == 0].any()
    assert not microcircuit.constant_pA(1.0).any()


@settings(max_examples=20)
@given(st.floats(0.01, 1.0))
def test_a_smaller_network_keeps_the_mean_and_the_variance_of_the_input(scale: float) -> None:
    """At the published rates; degrees shrink by the scale."""

    def moments(scale: float) -> tuple[np.ndarray, np.ndarray]:
        degrees = scale * microcircuit.full_synapses() / microcircuit.SIZES[:, None]
        weights, rates = microcircuit.weights_pA(scale), microcircuit.PUBLISHED_HZ
        external = scale * microcircuit.EXTERNAL * microcircuit.EXTERNAL_HZ
        weight = weights[0, 0]
        mean = ((weights * degrees) @ rates + weight * external) * microcircuit.TAU_SYN_ms / 1000
        return mean + microcircuit.constant_pA(scale), (weights**2 * degrees) @ rates + weight**2 * external

    for found, full in zip(moments(scale), moments(1.0), strict=True):
        np.testing.assert_allclose(found, full, rtol=1e-9)


def test_what_is_written_is_a_network_with_these_synapses(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = tmp_path / "small"
    written = CliRunner().invoke(microcircuit.main, ["write", str(folder), "--scale", "0.02"], catch_exceptions=False)
    assert written.exit_code == 0
    e = microcircuit.experiment(folder)
    sizes = microcircuit.sizes(0.02)
    assert [p.size for p in e.populations] == sizes.tolist()
    problem = initial_problem(e)
    np.testing.assert_allclose(problem.external_current, np.repeat(microcircuit.constant_pA(0.02) / 375, sizes))
    edges = problem.static_edges()
    assert edges.delay is not None
    assert edges.weight is not None
    population = np.repeat(np.arange(8), sizes)
    pre, post = population[edges.rows()], population[edges.index]
    total = np.zeros((8, 8))
    np.add.at(total, (post, pre), edges.weight)
    expected = np.rint(microcircuit.full_synapses() * 0.02**2) * microcircuit.weights_pA(0.02) / 375 * 0.5
    np.testing.assert_allclose(total, expected, rtol=0.1, atol=5.0)
    excitatory = microcircuit.SIGNS[pre] > 0
    for delays, mean in ((edges.delay[excitatory], 15), (edges.delay[~excitatory], 7.5)):
        assert delays.min() >= 1
        assert delays.mean() == pytest.approx(1.05 * mean, rel=0.05)  # those below a step are drawn again
