"""Figure of an `Evaluation` with frozen weights, compared with recorded rates or with targets."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlsbench.report.figures import draw_spikes
from rlsbench.report.picture import BLUE, GREY, ORANGE, PALETTE, default_style, plain_labels, save, tidy
from rlsbench.training import Training
from rlsbench.training.evaluation import Evaluation

EXAMPLES = (95, 75, 50, 25)  # percentiles of the correlation
ROWS = 400  # of a heat map; larger numbers of neurons are averaged in groups
REGIONS = 6  # shown separately, the largest first

Array = NDArray[np.float64]


@default_style
def save_evaluation(training: Training, evaluation: Evaluation, file: Path) -> Path:
    """Draw heat maps, examples, histograms, rates and spikes of the first task into a PNG file."""
    figure = Figure(figsize=(17.0, 9.0), layout="constrained")
    rows = evaluation.neurons[evaluation.neurons.task == 0]
    figure.suptitle(_title(training, evaluation, rows), fontsize="large")
    panels: Any = figure.subfigures(1, 3, width_ratios=[1.25, 1.0, 1.0])
    left, middle, right = panels
    _draw_heat_maps(training, evaluation, left)
    examples = middle.subplots(len(EXAMPLES), 1, sharex=True)
    _draw_examples(training, evaluation, rows, examples)
    top, centre, bottom = right.subplots(3, 1)
    _draw_histogram(rows, top)
    (_draw_single_trials if training.recording is None else _draw_rates)(rows, centre)
    draw_spikes(training, evaluation.spikes[0], bottom, training.problem.clock.dt_ms / 1000.0)
    bottom.set(xlabel="time in the trial (s)", title="Spikes of one frozen trial")
    for ax in (*examples, top, centre, bottom):
        tidy(ax)
    return save(figure, file)


def _time_s(training: Training) -> tuple[Array, str]:
    """End of each bin in seconds, after the stimulus or relative to the event of the recording."""
    if training.recording is not None and (edges := training.recording.edges_s) is not None:
        return np.asarray(edges[1:], np.float64), "time from the event (s)"
    clock = training.problem.clock
    return np.arange(1.0, clock.bins + 1) * (clock.learn_every * clock.dt_ms / 1000.0), "time after the stimulus (s)"


def _draw_heat_maps(training: Training, evaluation: Evaluation, panel: Any) -> None:
    """Draw data and model with the same order of neurons and the same scale."""
    targets = training.problem.targets
    assert targets is not None
    neurons = np.flatnonzero(~np.isnan(targets.row(0, 0)))
    data = training.recorded_rates(0)
    if data is not None:
        wanted, found = data, evaluation.rates_hz[0]
        first, what, peak = "recorded", "rate", "recorded rate"
    else:
        wanted, found = targets.matrix(0), evaluation.currents[0]
        first, what, peak = "target", "current", "target"
    mean, deviation = wanted[:, neurons].mean(axis=0), wanted[:, neurons].std(axis=0)
    scaled = [(m[:, neurons] - mean) / np.where(deviation > 0, deviation, 1.0) for m in (wanted, found)]
    order = np.argsort(np.argmax(scaled[0], axis=0), kind="stable")
    axes = panel.subplots(1, 2, sharey=True)
    t, label = _time_s(training)
    ranges: dict[str, Any] = {"vmin": -2, "vmax": 2, "extent": (t[0], t[-1], len(neurons), 0)}
    for ax, matrix, title in zip(axes, scaled, (first, "network, frozen weights"), strict=True):
        ax.imshow(_averaged(matrix[:, order].T), aspect="auto", cmap="cividis", interpolation="nearest", **ranges)
        ax.set_xlabel(label)
        ax.set_title(title, fontsize="small")
    axes[0].set_ylabel(f"neuron, by the time of its largest {peak}")
    label = f"{what}, in standard deviations of the {first} one"
    panel.colorbar(axes[-1].images[0], ax=list(axes), location="bottom", shrink=0.6, label=label)


def _averaged(matrix: Array) -> Array:
    """Average rows in groups, so that a figure of many neurons shows all of them."""
    if len(matrix) <= ROWS:
        return matrix
    edges = np.linspace(0, len(matrix), ROWS + 1).astype(int)
    return np.stack([matrix[a:b].mean(axis=0) for a, b in pairwise(edges)])


def _draw_examples(training: Training, evaluation: Evaluation, rows: pd.DataFrame, axes: Any) -> None:
    """Draw currents of neurons at some percentiles of the correlation."""
    targets = training.problem.targets
    assert targets is not None
    ranked = rows.dropna(subset=["current_correlation"]).sort_values("current_correlation")
    t, label = _time_s(training)
    for ax, percentile in zip(axes, EXAMPLES if len(ranked) else (), strict=False):
        chosen = ranked.iloc[min(len(ranked) - 1, int(percentile / 100 * len(ranked)))]
        c = int(chosen.neuron)
        mean, spread = evaluation.currents[0][:, c], evaluation.spread[0][:, c]
        ax.fill_between(t, mean - spread, mean + spread, color=BLUE, alpha=0.2, linewidth=0, label="± s.d. over trials")
        ax.plot(t, evaluation.single[0][:, c], color=GREY, linewidth=0.8, label="one trial")
        ax.plot(t, mean, color=BLUE, label="mean over trials")
        ax.plot(t, targets.matrix(0, np.array([c]))[:, 0], color=ORANGE, linestyle="--", label="target")
        name = f"{chosen.id or f'neuron {c}'}{f', {chosen.region}' if chosen.region else ''}"
        ax.set_title(f"{name}: correlation {chosen.current_correlation:.2f}, {percentile}th percentile")
        ax.set_ylabel("current\n(thr. − reset)", fontsize="small")
    axes[-1].set_xlabel(label)
    axes[0].legend(fontsize="x-small", ncols=2, loc="best", framealpha=0.9)


def _draw_histogram(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw histograms of correlations, by region if there are several, and of the control."""
    psth = rows.psth_correlation.notna().any()
    measure = "psth_correlation" if psth else "current_correlation"
    bins = [float(edge) for edge in np.linspace(-1, 1, 41)]
    regions = [r for r in rows.region.value_counts().index if r][:REGIONS]
    groups = [(r, rows[rows.region == r][measure].dropna()) for r in regions] or [("network", rows[measure].dropna())]
    for (name, values), color in zip(groups, PALETTE, strict=False):
        if len(values):
            label = f"{name}: mean {values.mean():.2f} (n = {len(values):,})"
            ax.hist(values, bins, density=True, histtype="step", color=color, linewidth=1.5, label=label)
    control = rows[f"{measure}_shuffled"].dropna()
    if len(control):
        label = f"control, another neuron's: mean {control.mean():.2f}"
        ax.hist(control, bins, density=True, color=GREY, alpha=0.4, label=label)
    what = "PSTHs, recorded and network's" if psth else "target and learned current"
    ax.set(title=f"Correlation of {what}, averaged over trials", xlabel="correlation", ylabel="density of neurons")
    ax.legend(fontsize="x-small", loc="upper left")


def _draw_rates(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw the mean rate of each neuron against its recorded rate."""
    known = rows[rows.data_rate_hz.notna()]
    x, y = known.data_rate_hz.to_numpy(), known.rate_hz.to_numpy()
    low, top = 0.05, 1.5 * max(float(x.max(initial=1.0)), float(y.max(initial=1.0)))
    if len(known) > 5000:
        edges = np.geomspace(low, top, 80)
        counts = np.histogram2d(np.maximum(x, low), np.maximum(y, low), edges)[0]
        ax.pcolormesh(edges, edges, np.where(counts > 0, counts, np.nan).T, cmap="cividis", rasterized=True)
    else:
        ax.plot(np.maximum(x, low), np.maximum(y, low), ".", color=BLUE, markersize=2, alpha=0.5)
    ax.plot([low, top], [low, top], color=ORANGE, linewidth=1)
    ax.set(xscale="log", yscale="log", xlim=(low, top), ylim=(low, top))
    plain_labels(ax)
    ax.set(xlabel="recorded rate (Hz)", ylabel="network's rate (Hz)")
    ax.set_title(f"Mean rates: {np.mean(x):.2f} Hz recorded, {np.mean(y):.2f} Hz in the network")


def _draw_single_trials(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw correlations of the mean over trials against those of single trials."""
    ax.plot(rows.single_trial_current_correlation, rows.current_correlation, ".", color=BLUE, markersize=2, alpha=0.5)
    ax.plot([-1, 1], [-1, 1], color=ORANGE, linewidth=1)
    ax.set(xlabel="correlation, single trials", ylabel="correlation, mean over trials", xlim=(-1, 1), ylim=(-1, 1))
    ax.set_title("Target and learned current: effect of averaging over trials")


def _title(training: Training, evaluation: Evaluation, rows: pd.DataFrame) -> str:
    psth = f", PSTH {rows.psth_correlation.mean():.2f}" if rows.psth_correlation.notna().any() else ""
    learned = "" if (c := evaluation.correlation_while_learning) is None else f"; {c:.2f} while learning"
    silenced = f"; {evaluation.silenced.sum():,} silenced" if evaluation.silenced.any() else ""
    return (
        f"{training.experiment.preset}, {training.problem.neurons:,} neurons, {evaluation.trials} trials with frozen "
        f"weights: mean correlation of current {rows.current_correlation.mean():.2f}{psth}{learned}{silenced}"
    )
