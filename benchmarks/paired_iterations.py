"""Whole iterations, paired: several backends train the same network side by side, one iteration each in turn.

    python -m benchmarks.paired_iterations --preset sinusoid --neurons 1e4 numba numba-blas:full

Subjects are backend[:storage[:algorithm[:p_precision]]].  Prints the median and quartiles of the seconds of an
iteration, and the median of the ratios within each round, to the first subject.
"""

from __future__ import annotations

import click
import numpy as np

from rlsbench import load_experiment, prepare
from rlsbench.cli.options import COUNT


@click.command()
@click.argument("subjects", nargs=-1, required=True)
@click.option("--preset", default="sinusoid", show_default=True)
@click.option("--neurons", type=COUNT, help="By default those of the preset.")
@click.option("--rounds", type=COUNT, default=6, show_default=True, help="Iterations of each; the first is left out.")
@click.option("--threads", type=COUNT, help="By default all.")
def main(subjects: tuple[str, ...], preset: str, neurons: int | None, rounds: int, threads: int | None) -> None:
    """Time whole iterations of SUBJECTS."""
    overrides: dict[str, object] = {}
    if neurons is not None:
        overrides["network.neurons"] = neurons
    if threads is not None:
        overrides["numerics.threads"] = threads
    keys = ("numerics.storage", "numerics.algorithm", "numerics.p_precision")
    trainings = []
    for name in subjects:
        backend, *parts = name.split(":")
        trainings.append(
            prepare(load_experiment(preset, overrides=overrides | dict(zip(keys, parts, strict=False))), backend)
        )
    runs = [training.run(rounds) for training in trainings]
    iterations = [[next(run) for run in runs] for _ in range(rounds)][1:]
    seconds = np.array([[i.seconds for i in row] for row in iterations])
    rls = np.array([[i.rls_seconds for i in row] for row in iterations])
    click.echo(f"{preset}, N = {trainings[0].problem.neurons:,}, seconds of an iteration; {len(seconds)} rounds")
    click.echo(f"{'':44} {'median':>8} {'quartiles':>15} {'to first':>9} {'updates':>8}")
    for i, (name, training) in enumerate(zip(subjects, trainings, strict=True)):
        low, middle, high = np.percentile(seconds[:, i], (25, 50, 75))
        o = training.options
        label = f"{name} ({o.p_precision} {o.storage}, {o.algorithm})"
        ratio = np.median(seconds[:, i] / seconds[:, 0])
        click.echo(f"{label:44} {middle:8.3f} {low:7.3f} {high:7.3f} {ratio:9.2f} {np.median(rls[:, i]):8.3f}")


if __name__ == "__main__":
    main()
