"""Cost of the numerical checks of a training: seconds in `Watch` compared with iterations.

python -m benchmarks.watching --presets smoke,tutorial --backends numba,numpy-full
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import click

from rlsbench import load_experiment, prepare
from rlsbench.training.health import Watch


@click.command()
@click.option("--presets", default="smoke,tutorial", show_default=True)
@click.option("--backends", default="numba", show_default=True)
@click.option("--algorithms", default="auto,plain", show_default=True)
@click.option("--storages", default="full,packed", show_default=True)
@click.option("--iterations", default=8, show_default=True)
def main(presets: str, backends: str, algorithms: str, storages: str, iterations: int) -> None:
    """Print seconds per iteration, time of the checks, and their ratio, for each form; medians."""
    for preset in presets.split(","):
        for name in backends.split(","):
            for algorithm in algorithms.split(","):
                for storage in storages.split(","):
                    numerics = {"numerics.algorithm": algorithm, "numerics.storage": storage}
                    _line(preset, name, numerics, iterations)


def _line(preset: str, name: str, numerics: dict[str, Any], iterations: int) -> None:
    training = prepare(load_experiment(preset, overrides=numerics), name)
    elapsed = [0.0]

    def timed(method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            before = perf_counter()
            method(*arguments)
            elapsed[0] += perf_counter() - before

        return call

    checks = []
    Watch.learned, Watch.ended, kept = timed(Watch.learned), timed(Watch.ended), (Watch.learned, Watch.ended)  # type: ignore[method-assign]
    try:
        for _ in training.run(iterations):
            checks.append(elapsed[0])
            elapsed[0] = 0.0
    finally:
        Watch.learned, Watch.ended = kept  # type: ignore[method-assign]
    seconds, checking = median(i.seconds for i in training.iterations[1:]), median(checks[1:])
    o = training.options
    click.echo(
        f"{preset:10} {name:12} {o.algorithm:6} {o.storage:7} {seconds:.4f} s  {1e3 * checking:.2f} ms  "
        f"{100 * checking / seconds:.2f} %"
    )


if __name__ == "__main__":
    main()
