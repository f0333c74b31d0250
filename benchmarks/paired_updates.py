"""The RLS update alone, paired: several backends side by side on the scaling network.

    python -m benchmarks.paired_updates --neurons 1e4 --inputs 90 numba:full:event numba-blas:full

Each subject (backend[:storage[:algorithm[:p_precision]]]) trains its own copy of the network.  All
go through the trials together, bin by bin, and only the updates are timed, so that disturbances
affect all subjects.  The event form writes P every m updates only (8 at n = 32, 12 at n = 90, 20 at
n = 256), so times are averaged over blocks of --block updates, which should be m.  Prints the
median and quartiles over blocks, and the median of the ratios to the first subject within each
block.
"""

from __future__ import annotations

from time import perf_counter

import click
import numpy as np

from benchmarks.common import print_table, subject
from rlsbench.backend import Trainer, get_backend, resolve_options
from rlsbench.cli.options import COUNT
from rlsbench.problem import build_problem, initial_problem
from rlsbench.targets.making import make_targets
from rlsbench.training.initial_trial import measure_initial_trial
from rlsbench.training.trial import segments


@click.command()
@click.argument("subjects", nargs=-1)
@click.option("--preset", default="sinusoid", show_default=True)
@click.option("--neurons", type=COUNT, default=10_000, show_default=True)
@click.option("--inputs", type=COUNT, help="Plastic inputs per neuron; by default those of the preset.")
@click.option("--bins", type=COUNT, default=96, show_default=True, help="Timed updates per trial.")
@click.option("--trials", type=COUNT, default=1, show_default=True)
@click.option("--block", type=COUNT, default=12, show_default=True, help="Updates per sample.")
@click.option("--learn-every-ms", type=float, help="Time between updates; more inputs spike in a longer one.")
@click.option("--threads", type=COUNT, help="By default all.")
def main(
    subjects: tuple[str, ...],
    preset: str,
    neurons: int,
    inputs: int | None,
    bins: int,
    trials: int,
    block: int,
    learn_every_ms: float | None,
    threads: int | None,
) -> None:
    """Time the updates of SUBJECTS; ratios are to the first."""
    overrides: dict[str, object] = {"network.neurons": neurons, "numerics.threads": threads}
    if inputs is not None:
        overrides["network.L"] = inputs // 2
    if learn_every_ms is not None:
        overrides |= {"time.learn_every_ms": learn_every_ms, "time.train_duration_ms": 96 * learn_every_ms}
    names = subjects or ("numba:full:event", "numba-blas:full", "numba-blas:packed")
    trainers: list[Trainer] = []
    initial = None
    for name in names:
        backend_name, experiment = subject(name, preset, overrides)
        backend = get_backend(backend_name)
        options = resolve_options(backend, experiment.numerics)
        if initial is None:
            initial = measure_initial_trial(
                backend.trainer(initial_problem(experiment), options), experiment.training.average_from_ms
            )
        problem = build_problem(experiment, initial, make_targets(experiment, initial))
        trainers.append(backend.trainer(problem, options))
    _run(trainers, 0, 2)  # compiles
    seconds = np.concatenate([_run(trainers, trial, bins) for trial in range(1, trials + 1)], axis=1)
    blocks = seconds[:, : seconds.shape[1] // block * block].reshape(len(trainers), -1, block).mean(axis=2)
    per_update = 1e9 * blocks / neurons
    n, samples = trainers[0].problem.n, per_update.shape[1]
    click.echo(f"{preset}, N = {neurons:,}, n = {n}, ns per neuron and update; {samples} blocks of {block}")
    print_table(names, [trainer.options for trainer in trainers], per_update)


def _run(trainers: list[Trainer], trial: int, bins: int) -> np.ndarray:
    """Seconds of each update, (subjects, bins)."""
    for trainer in trainers:
        trainer.begin_trial(trial, 0, np.empty(0, np.int64))
    seconds: list[list[float]] = [[] for _ in trainers]
    for segment in segments(trainers[0].problem.clock):
        if len(seconds[0]) == bins:
            break
        for trainer, times in zip(trainers, seconds, strict=True):
            if segment.learning_bin is not None:
                trainer.synchronize()
                start = perf_counter()
                trainer.learn(segment.learning_bin)
                trainer.synchronize()
                times.append(perf_counter() - start)
            trainer.advance(segment.first, segment.last)
    return np.array(seconds)


if __name__ == "__main__":
    main()
