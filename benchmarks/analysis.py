"""Figure of docs/analysis.md: what training changed in the tutorial network.

    python -m benchmarks.analysis docs/_static/analysis.png

Trains the preset `tutorial-lasting` (4,096 neurons), and for the eigenvalues the same experiment
with 1,024 neurons: minutes on two cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from rlsbench import load_experiment, prepare
from rlsbench.report.picture import BLUE, GREY, ORANGE, default_style, plain_labels, save, tidy
from rlsbench.training import Training
from rlsbench.training.evaluation import Evaluation, evaluate

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)  # of a population, silenced


@click.command()
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("--preset", default="tutorial-lasting", show_default=True)
@click.option("--backend", default="numba", show_default=True)
@click.option("--small", default=1024, show_default=True, help="Neurons whose eigenvalues are computed.")
@click.option("--trials", default=10, show_default=True)
@click.option("--iterations", type=int, help="By default those of the preset.")
def main(picture: Path, preset: str, backend: str, small: int, trials: int, iterations: int | None) -> None:
    """Train both networks and draw PICTURE."""
    how = {} if iterations is None else {"training.iterations": iterations}
    training, smaller = (
        trained(preset, backend, **how, **size) for size in ({}, {"network.neurons": small, "network.K": small // 20})
    )
    draw(training, smaller, trials, picture)


def trained(preset: str, backend: str, **settings: Any) -> Training:
    """A network after all its iterations."""
    training = prepare(load_experiment(preset, overrides=settings), backend)
    for _ in training.run():
        pass
    return training


@default_style
def draw(training: Training, smaller: Training, trials: int, picture: Path) -> None:
    """Weights, eigenvalues, principal components and silenced neurons."""
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    axes = figure.subplots(2, 3)
    (weights, before, after), (space, variance, silenced) = axes
    draw_weights(training, weights)
    draw_eigenvalues(smaller, before, after)
    draw_components(training, evaluate(training, trials), space, variance)
    draw_silenced(training, trials, silenced)
    for ax in axes.flat:
        tidy(ax)
    save(figure, picture)


def draw_weights(training: Training, ax: Any) -> None:
    """Histograms of trained weights by sign, and the initial ones."""
    problem = training.problem
    W = problem.plastic_matrix(training.weights()).tocoo()
    excitatory = problem.populations.excitatory(W.col)
    for some, name, color in ((excitatory, "excitatory", BLUE), (~excitatory, "inhibitory", ORANGE)):
        ax.hist(W.data[some], 80, histtype="step", color=color, label=f"{name} inputs, trained")
    for weight in np.unique(problem.plastic_matrix().data):
        ax.axvline(weight, color=GREY, linestyle="--", linewidth=1)
    ax.set(xlabel="plastic weight (thr. − reset) ms", ylabel="synapses", yscale="log")
    ax.set_title("Weights (dashed: before training)")
    plain_labels(ax)
    ax.legend(fontsize="x-small", loc="lower center")


def draw_eigenvalues(training: Training, before: Any, after: Any) -> None:
    """Eigenvalues of static and plastic weights together."""
    problem = training.problem
    for ax, w, when in ((before, None, "before"), (after, training.weights(), "after")):
        found = np.linalg.eigvals((problem.static_matrix() + problem.plastic_matrix(w)).toarray())
        ax.plot(found.real, found.imag, ".", markersize=2, color=BLUE)
        ax.set(xlabel="real part (ms)", ylabel="imaginary part (ms)")
        ax.set_title(f"{problem.neurons:,} eigenvalues {when} training")
    before.sharex(after)
    before.sharey(after)


def draw_components(training: Training, found: Evaluation, space: Any, variance: Any) -> None:
    """Targets and learned currents on the principal components of the targets."""
    targets = training.problem.targets
    assert targets is not None
    wanted, learned = (m - m.mean(axis=0) for m in (targets.matrix(0), found.currents[0]))
    _, _, components = np.linalg.svd(wanted, full_matrices=False)
    for currents, style, color, name in ((wanted, "-", GREY, "target"), (learned, "--", BLUE, "network")):
        space.plot(*(currents @ components[:2].T).T, style, color=color, label=name)
        s = np.linalg.svd(currents, compute_uv=False)[:15] ** 2 / np.square(currents).sum()
        variance.plot(np.arange(1, 16), np.cumsum(s), style, color=color, label=name)
    space.set(xlabel="component 1", ylabel="component 2", title="Currents, components of the targets")
    variance.set(xlabel="components", ylabel="part of the variance", ylim=(0, 1.02))
    variance.set_title("Variance of the mean current")
    for ax in (space, variance):
        ax.legend(fontsize="x-small")


def draw_silenced(training: Training, trials: int, ax: Any) -> None:
    """Correlation of the others against the part of a population that is silenced."""
    for population, color in zip(training.problem.populations, (BLUE, ORANGE), strict=True):
        scores = []
        for share in SHARES:
            last = population.first + round(share * population.size)
            found = evaluate(training, trials, silence=np.arange(population.first, last))
            scores.append(found.summary()["tasks"][0]["current_correlation"])
            print(f"{population.name} {share:.0%}: {scores[-1]:.3f}")
        ax.plot([100 * share for share in SHARES], scores, "o-", color=color, label=population.name)
    ax.set(xlabel="silenced part of a population (%)", ylabel="correlation of the others", ylim=(0, 1.02))
    ax.set_title("Frozen trials with silenced neurons")
    ax.legend(fontsize="x-small")


if __name__ == "__main__":
    main()
