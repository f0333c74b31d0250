"""Effect of the precision of P on learning: the tutorial network with each precision and storage.

    python -m benchmarks.precision --iterations 100 --seeds 1,2,3 --output precision.csv

Appends one line per run to the CSV file; runs that are already there are not repeated.  Then prints
a table in Markdown: correlation (mean of the last ten iterations, then mean and range over seeds),
firing rate of the last iteration, and bytes of P per neuron.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
import pandas as pd

from rlsbench import load_experiment, prepare
from rlsbench.precision import PRECISIONS, STORAGES

FIELDS = (
    *("precision", "p_precision", "storage", "algorithm", "seed", "iterations"),
    *("correlation", "rate_hz", "bytes_of_P", "seconds_per_iteration"),
)


@click.command()
@click.option("--preset", default="tutorial", show_default=True)
@click.option("--backend", default="numba", show_default=True)
@click.option("--iterations", type=int, default=100, show_default=True)
@click.option("--seeds", default="1,2,3", show_default=True)
@click.option("--p-precisions", default="float64,float32,float16,bfloat16,int16", show_default=True)
@click.option("--storages", default="full,packed", show_default=True)
@click.option("--algorithm", default="auto", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("precision.csv"))
def main(
    preset: str,
    backend: str,
    iterations: int,
    seeds: str,
    p_precisions: str,
    storages: str,
    algorithm: str,
    output: Path,
) -> None:
    """Train with each precision of P and tabulate the results."""
    keys = [
        (p, s, int(seed)) for seed in seeds.split(",") for p in p_precisions.split(",") for s in storages.split(",")
    ]
    for p_precision, storage, seed in keys:
        precision = "float64" if p_precision == "float64" else "float32"
        overrides = {
            "training.iterations": iterations,
            "training.seed": seed,
            "numerics.precision": precision,
            "numerics.p_precision": p_precision,
            "numerics.storage": storage,
            "numerics.algorithm": algorithm,
        }
        training = prepare(load_experiment(preset, overrides=overrides), backend)
        chosen = training.options.algorithm
        if output.exists():
            done = pd.read_csv(output)
            same = (done.p_precision == p_precision) & (done.storage == storage) & (done.seed == seed)
            if (same & (done.algorithm == chosen) & (done.iterations == iterations)).any():
                continue
        for _ in training.run():
            pass
        n = training.problem.n
        entries = STORAGES[storage].entries(n)
        correlations = [i.correlation for i in training.iterations[-10:] if i.correlation is not None]
        row = (
            *(precision, p_precision, storage, chosen, seed, iterations),
            *(f"{np.mean(correlations):.4f}", f"{training.iterations[-1].firing_rate_hz:.3f}"),
            *(entries * PRECISIONS[p_precision].bytes, f"{training.seconds_per_iteration():.3f}"),
        )
        new = not output.exists()
        with output.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(FIELDS)
            writer.writerow(row)
        click.echo(" ".join(map(str, row)))
    click.echo(table(pd.read_csv(output)))


def table(results: pd.DataFrame) -> str:
    """Results in Markdown, one line per precision, storage and algorithm."""
    lines = [
        "| P | storage | update | correlation, mean (range) | rate (Hz), mean (range) | bytes of P per neuron |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (p_precision, storage, algorithm), runs in results.groupby(["p_precision", "storage", "algorithm"], sort=False):
        c, r = runs.correlation, runs.rate_hz
        lines.append(
            f"| {p_precision} | {storage} | {algorithm} | {c.mean():.3f} ({c.min():.3f}-{c.max():.3f}) "
            f"| {r.mean():.2f} ({r.min():.2f}-{r.max():.2f}) | {runs.bytes_of_P.iloc[0]:,} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
