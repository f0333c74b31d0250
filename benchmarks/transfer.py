"""Rates of simulated LIF neurons with white noise, and both transfer functions: docs/transfer.md.

    python -m benchmarks.transfer

Takes about 20 seconds.  Each table gives the simulated rate with its standard error.
"""

from __future__ import annotations

import click
import numpy as np
from numpy.typing import NDArray

from rlsbench.transfer import NeuronParameters, simulated_current, simulated_rate, stationary_current, stationary_rate

TAU_M_MS, THRESHOLD, RESET = 10.0, 1.0, 0.0
WARM_UP_MS = 200.0  # until the initial voltages no longer matter
BLOCK = 4000  # neurons simulated together, so that they fit in a cache


def simulate(mu: float, sigma: float, neurons: int, duration_ms: float, dt_ms: float, seed: int) -> tuple[float, float]:
    """Rate (Hz) and standard error of independent neurons that are refractory for one step.

    The order within a step is that of the model: noise, then integration and spikes.
    """
    random = np.random.default_rng(seed)
    steps, warm_up = round(duration_ms / dt_ms), round(WARM_UP_MS / dt_ms)
    scale, leak = np.float32(sigma * np.sqrt(dt_ms / TAU_M_MS)), np.float32(dt_ms / TAU_M_MS)
    counts: list[NDArray[np.int32]] = []
    for first in range(0, neurons, BLOCK):
        size = min(BLOCK, neurons - first)
        v, xi = np.full(size, RESET, np.float32), np.empty(size, np.float32)
        refractory, count = np.empty(0, np.intp), np.zeros(size, np.int32)
        for step in range(warm_up + steps):
            random.standard_normal(dtype=np.float32, out=xi)
            xi *= scale
            v += xi
            held = v[refractory]
            v += leak * (np.float32(mu) - v)
            v[refractory] = held
            over = v > THRESHOLD
            over[refractory] = False
            refractory = np.flatnonzero(over)
            v[refractory] = RESET
            if step >= warm_up:
                count[refractory] += 1
        counts.append(count)
    each = np.concatenate(counts) * (1000 / duration_ms)
    return float(each.mean()), float(each.std() / np.sqrt(neurons))


@click.command()
@click.option("--sigma", default=0.65, show_default=True, help="Noise on the voltage.")
@click.option("--dt-ms", default=0.1, show_default=True, help="Time step, ms; also the refractory period.")
@click.option("--seconds", default=4.0, show_default=True, help="Simulated time.")
@click.option("--seed", default=1, show_default=True)
def main(sigma: float, dt_ms: float, seconds: float, seed: int) -> None:
    """Print the two tables."""

    def run(mu: float, neurons: int) -> tuple[float, float]:
        return simulate(mu, sigma, neurons, 1000 * seconds, dt_ms, seed)

    neuron = NeuronParameters(tau_m_ms=TAU_M_MS, dt_ms=dt_ms, refractory_ms=dt_ms)
    click.echo(f"sigma {sigma:g}, dt {dt_ms:g} ms, tau_m {TAU_M_MS:g} ms; rates in Hz\n")
    click.echo(
        "| mu | simulation | `stationary` | simulation / `stationary` | `simulated` | simulation / `simulated` |"
    )
    click.echo("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for mu, neurons in ((-0.75, 20_000), (-0.3, 4000), (0.0, 2000), (0.3, 1000), (0.5, 1000)):
        rate, error = run(mu, neurons)
        plain, stepped = float(stationary_rate(mu, sigma)), float(simulated_rate(mu, sigma, neuron))
        click.echo(
            f"| {mu:g} | {rate:.3g} ± {error:.1g} | {plain:.3g} | {rate / plain:.2f} | {stepped:.3g} "
            f"| {rate / stepped:.3f} |"
        )
    click.echo("\n| wanted | current, `stationary` | fires | current, `simulated` | fires |")
    click.echo("| ---: | ---: | ---: | ---: | ---: |")
    for wanted, neurons in ((1.0, 4000), (4.0, 2000), (9.0, 1000), (30.0, 1000)):
        cells = []
        for mu in (float(stationary_current(wanted, sigma)), float(simulated_current(wanted, sigma, neuron))):
            rate, error = run(mu, neurons)
            cells.append(f"{mu:.3f} | {rate:.3g} ± {error:.1g}")
        click.echo(f"| {wanted:g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
