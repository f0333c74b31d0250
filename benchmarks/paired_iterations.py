"""Whole iterations, paired: several backends train the same network side by side, in turns.

    python -m benchmarks.paired_iterations --preset sinusoid --neurons 1e4 numba numba-blas:full

Subjects are backend[:storage[:algorithm[:p_precision]]].  Prints the median and quartiles of the
seconds of an iteration, the median of the ratios to the first subject within each round, and the
seconds of the updates.
"""

from __future__ import annotations

import click
import numpy as np

from benchmarks.common import print_table, subject
from rlsbench import prepare
from rlsbench.cli.options import COUNT


@click.command()
@click.argument("subjects", nargs=-1, required=True)
@click.option("--preset", default="sinusoid", show_default=True)
@click.option("--neurons", type=COUNT, help="By default those of the preset.")
@click.option("--rounds", type=COUNT, default=6, show_default=True, help="Iterations of each; the first is left out.")
@click.option("--threads", type=COUNT, help="By default all.")
def main(subjects: tuple[str, ...], preset: str, neurons: int | None, rounds: int, threads: int | None) -> None:
    """Time whole iterations of SUBJECTS."""
    overrides = {"network.neurons": neurons, "numerics.threads": threads}
    trainings = [prepare(*reversed(subject(name, preset, overrides))) for name in subjects]
    runs = [training.run(rounds) for training in trainings]
    iterations = [[next(run) for run in runs] for _ in range(rounds)][1:]
    seconds = np.array([[i.seconds for i in row] for row in iterations]).T
    rls = np.median([[i.rls_seconds for i in row] for row in iterations], axis=0)
    click.echo(f"{preset}, N = {trainings[0].problem.neurons:,}, seconds per iteration; {rounds - 1} rounds")
    print_table(subjects, [training.options for training in trainings], seconds, {"updates": rls})


if __name__ == "__main__":
    main()
