"""Figure of a `Training`: learning curve, targets and learned currents, spike raster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlsbench.backend import SpikeTrain
from rlsbench.published import LEARNING_CURVES
from rlsbench.report.picture import BLUE, GREEN, GREY, ORANGE, default_style, save, tidy
from rlsbench.training import Training
from rlsbench.training.learned_current import pearson


@default_style
def save_summary(training: Training, directory: Path) -> Path:
    """Draw everything that was recorded, side by side, into summary.png."""
    free = training.target_mean is not None and training.target_mean.adapts
    parts: list[tuple[Callable[[Training, list[Axes]], None], int]] = [(draw_learning_curve, 3 if free else 2)]
    if training.first_learned is not None and training.last_learned is not None:
        parts.append((draw_currents, len(training.shown_neurons())))
    if len(training.spikes().step):
        parts.append((draw_raster, 1))
    figure = Figure(figsize=(5.0 * len(parts), 4.8), layout="constrained")
    figure.suptitle(_title(training), fontsize="medium" if len(parts) < 3 else "large")
    panels: Any = figure.subfigures(1, len(parts), squeeze=False)
    for panel, (draw, rows) in zip(panels[0], parts, strict=True):
        draw(training, list(panel.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]))
    return save(figure, directory / "summary.png")


def draw_learning_curve(training: Training, axes: list[Axes]) -> None:
    """Draw correlation, firing rate and, on a third of the axes, the offset of the targets."""
    iterations = [i.iteration for i in training.iterations]
    correlations = np.array([i.correlation for i in training.iterations], float)  # None becomes NaN
    rates = [i.firing_rate_hz for i in training.iterations]
    top, bottom, *third = axes
    marker = "o" if len(iterations) <= 30 else None
    top.plot(iterations, correlations, color=BLUE, marker=marker, markersize=3)
    published = [p for p in LEARNING_CURVES.get(training.experiment.preset, ()) if p[0] <= max(iterations)]
    if published:
        top.plot(*zip(*published, strict=True), "o", color=GREY, fillstyle="none", markersize=5, label="published")
        top.legend(fontsize="x-small", loc="upper left")
    top.set(ylabel="correlation", title="Mean correlation of target and learned current")
    top.set_ylim(min(0.0, float(np.nanmin([0.0, *correlations])) - 0.02), 1.0)
    bottom.plot(iterations, rates, color=ORANGE, marker=marker, markersize=3)
    bottom.set(ylabel="firing rate (Hz)", title="Mean firing rate")
    bottom.set_ylim(0.0, 1.25 * max(rates, default=1.0) or 1.0)
    for ax in third:
        for name, color in (("excitatory", BLUE), ("inhibitory", ORANGE)):
            offsets = np.array([getattr(i, f"target_offset_{name}") for i in training.iterations], float)
            ax.plot(iterations, offsets, color=color, marker=marker, markersize=3, label=name)
        ax.set(ylabel="current\n(thr. − reset)", title="Mean offset of the targets")
        ax.legend(fontsize="x-small", loc="upper right")
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes:
        tidy(ax)


def draw_currents(training: Training, axes: list[Axes]) -> None:
    """Draw target and learned current of a few neurons in the first and the last iteration."""
    neurons = training.shown_neurons()
    clock = training.problem.clock
    t = clock.learn_every * clock.dt_ms * np.arange(1, clock.bins + 1)
    target, last, first = training.target_current(neurons), training.learned_current(neurons), training.first_learned
    assert first is not None
    correlations = pearson(target, last)
    for column, (ax, neuron) in enumerate(zip(axes, neurons, strict=True)):
        ax.plot(t, first[:, column], color=GREY, linewidth=1, label="learned, iteration 1")
        ax.plot(t, last[:, column], color=BLUE, label=f"learned, iteration {len(training.iterations)}")
        ax.plot(t, target[:, column], color=ORANGE, linestyle="--", label="target")
        populations = training.problem.populations
        kind = populations[int(populations.index(neuron))].name
        correlation = "undefined" if np.isnan(r := correlations[column]) else f"{r:.2f}"
        ax.set_title(f"neuron {neuron} ({kind}), correlation {correlation}")
        ax.set_ylabel("current\n(thr. − reset)", fontsize="small")
        tidy(ax)
    axes[-1].set_xlabel("time after the stimulus (ms)")
    axes[0].legend(fontsize="x-small", loc="upper right", ncols=3, framealpha=0.9)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high + 0.6 * (high - low))  # space for the legend


def draw_raster(training: Training, axes: list[Axes]) -> None:
    """Draw spikes of some excitatory and inhibitory neurons in the last iteration."""
    (ax,) = axes
    draw_spikes(training, training.spikes(), ax, training.problem.clock.dt_ms)
    ax.set(xlabel="time (ms)", title=f"Spikes in iteration {len(training.iterations)}")
    tidy(ax)


def draw_spikes(training: Training, spikes: SpikeTrain, ax: Axes, dt: float) -> None:
    """Draw spikes of the recorded neurons, and the stimulus; `dt` is in units of the axis."""
    problem, shown = training.problem, training.recorded_neurons()
    row = np.searchsorted(shown, spikes.neuron)
    known = shown[np.minimum(row, len(shown) - 1)] == spikes.neuron
    inhibitory = ~problem.populations.excitatory(spikes.neuron)
    for mask, color, label in ((~inhibitory, BLUE, "excitatory"), (inhibitory, ORANGE, "inhibitory")):
        t, y = spikes.step[known & mask] * dt, row[known & mask]
        ax.plot(t, y, "|", color=color, markersize=3, markeredgewidth=0.8, label=label)
    if problem.stimulus is not None:
        on, off = problem.stimulus.on * dt, problem.stimulus.off * dt
        ax.axvspan(on, off, color=GREEN, alpha=0.2, linewidth=0, label="stimulus")
    ax.set(ylabel="neuron (sample)", xlim=(0, problem.clock.steps * dt), ylim=(-2, len(shown) + 20))
    ax.legend(fontsize="x-small", loc="upper right", ncols=3, framealpha=0.9)


def _title(training: Training) -> str:
    last = training.iterations[-1]
    reached = "" if last.correlation is None else f": correlation {last.correlation:.2f}"
    return (
        f"{training.experiment.preset}, {training.problem.neurons:,} neurons, backend {training.backend.name}{reached} "
        f"after {last.iteration} iterations"
    )
