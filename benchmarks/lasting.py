"""Long training: correlation, firing rate and weights over many iterations, and frozen trials.

    python -m benchmarks.lasting run --preset tutorial --set learning.target_mean=population
    python -m benchmarks.lasting table
    python -m benchmarks.lasting figure PICTURE

`run` appends a row for every ten iterations to the CSV file: the mean correlation over them (c10),
the firing rate, the mean offset of the targets, and means over neurons of the sums of excitatory
and inhibitory weights and of the norm of the weights.  After the iterations in `--evaluate`, the
row also has the correlations of frozen trials (`rlsbench.training.evaluation`) and, for a
recording, the mean absolute error of the firing rates.  Runs that are already in the file are not
repeated.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
import pandas as pd

from rlsbench import load_experiment, prepare
from rlsbench.configuration import parse_assignments
from rlsbench.training import Training
from rlsbench.training.evaluation import evaluate

FIELDS = (
    *("preset", "variant", "seed", "iteration", "c10", "rate_hz", "offset_E", "offset_I"),
    *("sum_E", "sum_I", "norm", "frozen", "single", "psth", "rate_error_hz"),
)
BLOCK = 10  # iterations in a row


@click.group()
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=Path("lasting.csv"))
@click.pass_context
def main(context: click.Context, results: Path) -> None:
    """Train for many iterations, and compare."""
    context.obj = results


@main.command()
@click.option("--preset", default="tutorial", show_default=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="As in rlsbench run; they name the variant.")
@click.option("--recording", multiple=True, metavar="FILE", help="Recorded rates; the variant does not name it.")
@click.option("--backend", default="numba", show_default=True)
@click.option("--iterations", type=int, default=1000, show_default=True)
@click.option("--seeds", default="1,2,3", show_default=True)
@click.option("--evaluate", "evaluated", default="100,500,1000", show_default=True)
@click.option("--trials", default=20, show_default=True, help="Frozen trials.")
@click.option("--threads", default=1, show_default=True, help="They do not change the results.")
@click.pass_obj
def run(
    results: Path,
    preset: str,
    changes: tuple[str, ...],
    recording: tuple[str, ...],
    backend: str,
    iterations: int,
    seeds: str,
    evaluated: str,
    trials: int,
    threads: int,
) -> None:
    """Train one variant with several seeds."""
    variant = " ".join(changes) or "published"
    frozen_after = {int(iteration) for iteration in evaluated.split(",") if iteration}
    for seed in map(int, seeds.split(",")):
        if results.exists():
            done = pd.read_csv(results)
            if ((done.preset == preset) & (done.variant == variant) & (done.seed == seed)).any():
                continue
        own = {"training.iterations": iterations, "training.seed": seed, "numerics.threads": threads}
        own |= {"recording.files": list(recording)} if recording else {}
        training = prepare(load_experiment(preset, overrides=parse_assignments(changes) | own), backend)
        for iteration in training.run():
            if iteration.iteration % BLOCK == 0:
                row = {"preset": preset, "variant": variant, "seed": seed} | measured(training)
                if iteration.iteration in frozen_after:
                    row |= frozen(training, trials)
                append_row(results, row)
                click.echo(row)


def measured(training: Training) -> dict[str, float | None]:
    """The last ten iterations, and the weights after them."""
    block = training.iterations[-BLOCK:]
    w, LX = training.weights().astype(np.float64), training.problem.plastic.feedforward
    L = (training.problem.n - LX) // 2
    return {
        "iteration": block[-1].iteration,
        "c10": training.progress.correlation,
        "rate_hz": float(np.mean([i.firing_rate_hz for i in block])),
        "offset_E": block[-1].target_offset_excitatory,
        "offset_I": block[-1].target_offset_inhibitory,
        "sum_E": float(w[:, LX : LX + L].sum(axis=1).mean()),
        "sum_I": float(w[:, LX + L :].sum(axis=1).mean()),
        "norm": float(np.linalg.norm(w, axis=1).mean()),
    }


def frozen(training: Training, trials: int) -> dict[str, float]:
    tasks = evaluate(training, trials).summary()["tasks"]
    names = {
        "frozen": "current_correlation",
        "single": "single_trial_current_correlation",
        "psth": "psth_correlation",
        "rate_error_hz": "absolute_rate_error_hz",
    }
    known = {short: [task.get(name) for task in tasks] for short, name in names.items()}
    return {short: float(np.mean(values)) for short, values in known.items() if None not in values}


def append_row(results: Path, row: dict[str, object]) -> None:
    new = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: f"{x:.4g}" if isinstance(x, float) else x for name, x in row.items()})


@main.command()
@click.pass_obj
def table(results: Path) -> None:
    """Print the evaluated iterations in Markdown: mean over seeds, and range."""
    rows = pd.read_csv(results).dropna(subset="frozen")
    names = ("c10", "frozen", "single", "psth", "rate_error_hz", "rate_hz", "offset_E", "offset_I", "sum_E", "sum_I")
    shown = [name for name in names if name in rows and rows[name].notna().any()]
    click.echo("| preset | variant | iteration | seeds | " + " | ".join(shown) + " |")
    click.echo("| --- " * (len(shown) + 4) + "|")
    for keys, runs in rows.groupby(["preset", "variant", "iteration"], sort=False):
        cells = [_cell(runs[name]) for name in shown]
        click.echo("| " + " | ".join([*map(str, keys), str(len(runs)), *cells]) + " |")


def _cell(values: pd.Series) -> str:
    if values.isna().any():
        return "-"
    spread = f" ({values.min():.3g} to {values.max():.3g})" if len(values) > 1 else ""
    return f"{values.mean():.3g}{spread}"


@main.command()
@click.argument("picture", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--preset", default="tutorial", show_default=True)
@click.option("--variant", "variants", multiple=True, help="Variants to show; all by default.")
@click.pass_obj
def figure(results: Path, picture: Path, preset: str, variants: tuple[str, ...]) -> None:
    """Draw correlation, firing rate, offset and summed weights against the iteration."""
    import matplotlib.pyplot as plt

    rows = pd.read_csv(results).query("preset == @preset")
    panels = {
        "c10": "correlation while learning",
        "rate_hz": "firing rate (Hz)",
        "offset_E": "offset of the targets",
        "sum_I": "summed inhibitory weights",
    }
    shown, axes = plt.subplots(2, 2, figsize=(9, 5.5), sharex=True, layout="constrained")
    for variant, runs in rows.groupby("variant", sort=False):
        if variants and variant not in variants:
            continue
        label = _label(str(variant))
        for (name, title), ax, letter in zip(panels.items(), axes.flat, "abcd", strict=True):
            if name == "offset_E":
                runs = runs.fillna({name: 0.0})
            curve = runs.dropna(subset=name).groupby("iteration")[name].agg(["mean", "min", "max"])
            (line,) = ax.plot(curve.index, curve["mean"], label=label)
            ax.fill_between(curve.index, curve["min"], curve["max"], alpha=0.25, color=line.get_color(), linewidth=0)
            ax.set_title(f"({letter}) {title}", loc="left", fontsize=10)
            ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[1]:
        ax.set_xlabel("iteration")
    axes[0, 0].legend(frameon=False, fontsize=9)
    shown.savefig(picture, dpi=110)


def _label(variant: str) -> str:
    """The settings of a variant, in a few words."""
    words = {"learning.": "", "target_mean_rate=": "rate ", "target_mean=": "mean: ", "lambda_plastic=": "$\\lambda$ "}
    for setting, word in words.items():
        variant = variant.replace(setting, word)
    return variant.replace(" mean: ", ", mean: ").replace(" rate ", ", rate ").replace(" $", ", $")


if __name__ == "__main__":
    main()
