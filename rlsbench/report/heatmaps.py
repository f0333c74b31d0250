"""Heat maps of the rates of a `Recording` around an event; their colours are colour-blind safe."""

from __future__ import annotations

import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rlsbench.errors import OutputError
from rlsbench.recordings import Recording
from rlsbench.report.picture import GREY, default_style, plain_labels, save, tidy

SUFFIXES = (".png", ".pdf", ".svg")
_REGIONS = 8  # shown by name; the others are pooled


@default_style
def save_psth_heatmap(recording: Recording, path: Path) -> Path:
    """Draw the PSTHs of all neurons by time of peak and, if there are several regions, by region.

    The file is a .png, .pdf or .svg file; its path is returned.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot draw into {path}: the file name must end in {', '.join(SUFFIXES)}")
    groups = _regions(recording)
    parts = [[("", np.arange(recording.neurons))], *([groups] if len(groups) > 1 else [])]
    columns, means = len(recording.conditions), recording.mean_rates_hz
    figure = Figure(figsize=(1.9 + 3.6 * columns + 1.3, 1.0 + 4.2 * len(parts)), layout="constrained")
    rates = f"mean {means.mean():.2f} Hz, median {np.median(means):.2f} Hz"
    figure.suptitle(f"{recording.source}: {recording.neurons:,} neurons, {rates}", fontsize="medium")
    widths = [3.6] * columns + [1.0]
    axes: Any = figure.subplots(len(parts), columns + 1, squeeze=False, width_ratios=widths, sharey="row")
    bar: dict[str, Any] = {"pad": 0.01, "aspect": 40, "fraction": 0.04, "label": "rate / highest rate of the neuron"}
    for row, part in zip(axes, parts, strict=True):
        figure.colorbar(draw_psth_heatmap(recording, list(row), part), ax=list(row), **bar)
    return save(figure, path)


def draw_psth_heatmap(recording: Recording, axes: list[Axes], groups: list[tuple[str, NDArray[np.int64]]]) -> Any:
    """Draw each condition as a heat map, with one neuron a row, and the mean rates beside them.

    Parameters
    ----------
    recording : Recording
    axes : list of Axes
        One for each condition, and one for the mean rates.
    groups : list of (str, ndarray)
        Name and neurons of each group, from the top; neurons are sorted by time of peak in it.

    Returns
    -------
    AxesImage
        For a colour bar.
    """
    order = np.concatenate([neurons[peak_order(recording.rates_hz[:, neurons])] for _, neurons in groups])
    rates = recording.rates_hz[:, order]
    highest = rates.max(axis=(0, 2))
    relative = rates / np.where(highest > 0, highest, 1.0)[None, :, None]
    edges, neurons = recording.edges_s, len(order)
    left, right = (0.0, float(recording.bins)) if edges is None else (float(edges[0]), float(edges[-1]))
    image = None
    for condition, (name, ax) in enumerate(zip(recording.conditions, axes, strict=False)):
        shown, extent = relative[:, :, condition].T, (left, right, neurons, 0)
        image = ax.imshow(shown, aspect="auto", extent=extent, cmap="viridis", vmin=0.0, vmax=1.0)
        if edges is not None and left < 0 < right:
            ax.axvline(0.0, color="white", linestyle="--", linewidth=1)
        trials = "" if recording.trials is None else f" ({recording.trials[condition]} trials)"
        ax.set_title(textwrap.fill(f"{name}{trials}", 48), fontsize="small")
        ax.set_xlabel("bin" if edges is None else "time from the event (s)")
    axes[0].set_ylabel("neuron, by time of peak")
    _draw_means(rates.mean(axis=(0, 2)), axes[-1])
    _draw_groups(axes, groups)
    return image


def peak_order(rates_hz: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sort neurons by the time of their highest rate in the first condition; silent ones come last.

    `rates_hz` has the shape (bins, neurons, conditions).
    """
    peak = np.where(rates_hz.max(axis=(0, 2)) > 0, rates_hz[:, :, 0].argmax(axis=0), len(rates_hz))
    return np.argsort(peak, kind="stable")


def _draw_means(means: NDArray[np.float64], ax: Axes) -> None:
    ax.plot(np.where(means > 0, means, np.nan), np.arange(len(means)) + 0.5, ".", color=GREY, markersize=1.5)
    ax.set_xscale("log")
    plain_labels(ax)
    ax.set_xlabel("mean rate (Hz)")
    tidy(ax)
    ax.tick_params(labelleft=False)


def _draw_groups(axes: list[Axes], groups: list[tuple[str, NDArray[np.int64]]]) -> None:
    """Draw lines between groups, and their names at the left."""
    if len(groups) == 1:
        axes[0].yaxis.set_major_locator(MaxNLocator(integer=True))
        return
    ends = np.cumsum([len(neurons) for _, neurons in groups])
    for ax in axes:
        for end in ends[:-1]:
            ax.axhline(end, color="white" if ax is not axes[-1] else GREY, linewidth=1.5)
    shown = [i for i, (_, neurons) in enumerate(groups) if len(neurons) >= 0.04 * ends[-1]]
    middles = [float(ends[i] - len(groups[i][1]) / 2) for i in shown]
    names = [textwrap.fill(f"{groups[i][0]} ({len(groups[i][1])})", 20) for i in shown]
    axes[0].set_yticks(middles, names, fontsize="small")
    axes[0].set_ylabel("neuron, by region and time of peak")


def _regions(recording: Recording) -> list[tuple[str, NDArray[np.int64]]]:
    """Neurons of each region, the largest region first; small regions are pooled."""
    if recording.regions is None:
        return []
    labels = np.array(recording.regions, dtype=object)
    counts = Counter(recording.regions)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    named = ordered if len(ordered) <= _REGIONS else ordered[: _REGIONS - 1]
    groups = [(name or "unknown", np.flatnonzero(labels == name)) for name in named]
    if len(named) < len(ordered):
        groups.append((f"{len(ordered) - len(named)} others", np.flatnonzero(~np.isin(labels, named))))
    return groups
