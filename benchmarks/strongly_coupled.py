"""A strongly coupled balanced network that learns recorded rates: the tutorial of Kim et al.

    python -m benchmarks.strongly_coupled FILE --results strong.csv [--set KEY=VALUE]

The network is that of a published tutorial, after Kim, Finkelstein, Chow, Svoboda and Darshan
(2023): 5,000 neurons with K = 500, 20 + 20 plastic and 300 feed-forward inputs.  As many excitatory
neurons learn as were recorded.  Each recorded neuron goes to the excitatory neuron with the closest
spontaneous rate, those with high rates first.  Plastic inputs come from neurons that learn and from
any inhibitory neuron; their weights start at 0.6 and -0.32.  The rows that it appends to the CSV
file are those of `benchmarks.lasting`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.lasting import BLOCK, append_row, frozen, measured
from rlsbench import load_experiment, prepare
from rlsbench.configuration import parse_assignments
from rlsbench.network.inputs import external_current
from rlsbench.targets import MatrixTargets
from rlsbench.targets.making import make_targets, target_neurons
from rlsbench.training import Training

NETWORK: dict[str, Any] = {
    "network.neurons": 5000,
    "network.K": 500,
    "network.L": 20,
    "external.scale": 0.12,
    "feedforward.LX": 300,
    "noise.kind": "none",
    "noise.sigma": 0.0,
    "learning.lambda_plastic": 0.04,
    "learning.lambda_feedforward": 1.0,
    "learning.mu": 8.0,
    "targets.subtract_external": False,  # subtracted here, for excitatory neurons
}
WEIGHTS = 20.0 / (6.0 / 4.0 * 500**0.5) * np.array([1.0, -6.5 / 12.0])  # initial ones, from E and from I


def matched(targets_hz: NDArray[np.float64], rates_hz: NDArray[np.float64]) -> NDArray[np.int64]:
    """The neuron for each target: the closest rate that is left, for the highest targets first."""
    left, found = rates_hz.copy(), np.zeros(len(targets_hz), np.int64)
    for target in np.argsort(-targets_hz, kind="stable"):
        found[target] = np.nanargmin(np.abs(left - targets_hz[target]))
        left[found[target]] = np.nan
    return found


def prepared(files: tuple[str, ...], changes: dict[str, Any], recorded: int, backend: str = "numba") -> Training:
    """A training of the network, with the targets where the tutorial has them."""
    settings = NETWORK | {"recording.files": list(files), "recording.time_axis": "rows"} | changes
    settings |= {"targets.untrained": settings["network.neurons"] - recorded}
    training = prepare(load_experiment("alm", overrides=settings), backend, learn=False)
    e, problem, recording = training.experiment, training.problem, training.recording
    assert recording is not None
    populations, Ne = problem.populations, problem.populations[0].size
    currents = make_targets(e, training.initial, recording).currents[:, :, target_neurons(populations, recorded)]
    neurons = matched(recording.rates_hz.mean(axis=(0, 2)), training.initial.rates_hz[:Ne])
    targets = np.full((*currents.shape[:2], populations.neurons), np.nan)
    targets[:, :, neurons] = currents - external_current(e, populations)[0]
    own = np.zeros((populations.neurons, problem.plastic.n))
    own[neurons, e.feedforward.LX :] = np.repeat(WEIGHTS, e.network.plastic_per_population)
    pools = (np.sort(neurons).astype(np.int32), problem.plastic.pools[1])
    plastic = replace(problem.plastic, own_weights=own, pools=pools)
    problem = replace(problem, plastic=plastic, targets=MatrixTargets(targets))
    training = replace(training, problem=problem, trainer=training.backend.trainer(problem, training.options))
    rates = np.full(targets.shape, np.nan)
    rates[:, :, neurons] = recording.rates_hz.transpose(2, 0, 1)
    # The method expects the order of `target_neurons`, which is not that of `matched`.
    training.recorded_rates = lambda task: rates[task]  # type: ignore[method-assign]
    return training


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=Path("strong.csv"))
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE")
@click.option("--recorded", default=1824, show_default=True, help="Recorded neurons.")
@click.option("--iterations", default=200, show_default=True)
@click.option("--evaluate", "evaluated", default="20,60,100,150,200", show_default=True)
@click.option("--trials", default=20, show_default=True, help="Frozen trials.")
@click.option("--threads", default=1, show_default=True)
def main(
    files: tuple[str, ...],
    results: Path,
    changes: tuple[str, ...],
    recorded: int,
    iterations: int,
    evaluated: str,
    trials: int,
    threads: int,
) -> None:
    """Train the network with the recorded rates in FILES, a condition each."""
    own = {"training.iterations": iterations, "numerics.threads": threads}
    frozen_after = {int(iteration) for iteration in evaluated.split(",") if iteration}
    training = prepared(files, parse_assignments(changes) | own, recorded)
    for iteration in training.run():
        if iteration.iteration % BLOCK == 0:
            row = {"preset": "strongly coupled", "variant": " ".join(changes) or "published", "seed": 1}
            row |= measured(training)
            if iteration.iteration in frozen_after:
                row |= frozen(training, trials)
            append_row(results, row)
            click.echo(row)


if __name__ == "__main__":
    main()
