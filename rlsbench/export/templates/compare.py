"""What simulate.py loads, measures and draws: spikes, learned currents and PSTHs beside targets.

Written by rlsbench for a trained network. Needs NumPy and Matplotlib only.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

FOLDER = Path(__file__).parent


def load(folder=FOLDER):
    """The files of a network: settings, neurons, synapses, inputs and targets."""
    found = {"settings": SimpleNamespace(**json.loads((folder / "settings.json").read_text()))}
    for name in ("neurons", "synapses", "inputs", "targets"):
        with np.load(folder / f"{name}.npz") as file:
            found[name] = dict(file)
    return SimpleNamespace(**found)


def learned_current(steps, samples, s):
    """Mean of the samples (samples, N), taken at these steps, around each bin, (bins, N)."""
    half = round(s.window_ms / s.dt_ms)
    width = max(1, round(2 * half / s.learn_every_steps))
    first = (steps - s.stimulus_off_step - half) // s.learn_every_steps
    bins = [(first <= b) & (b < first + width) for b in range(s.bins)]
    return np.array([samples[b].mean(axis=0, dtype=float) if b.any() else np.nan * samples[0] for b in bins])


def psth(steps, neurons, s):
    """Firing rates in each bin, Hz, (bins, N)."""
    bins = (steps - s.stimulus_off_step - 1) // s.learn_every_steps
    inside = (steps > s.stimulus_off_step) & (bins < s.bins)
    counts = np.bincount(bins[inside] * s.neurons + neurons[inside], minlength=s.bins * s.neurons)
    return counts.reshape(s.bins, s.neurons) / (s.learn_every_steps * s.dt_ms / 1000)


def correlation(a, b):
    """Pearson's correlation of the columns of two arrays (bins, N), (N,)."""
    rows = np.isfinite(a).all(axis=1)
    a, b = (m[rows] - m[rows].mean(axis=0) for m in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


def smoothed(rates, width=15):
    """Moving average over bins, which shrinks at the ends."""
    kernel = np.ones(width)
    norm = np.convolve(np.ones(len(rates)), kernel, "same")
    return np.apply_along_axis(lambda column: np.convolve(column, kernel, "same") / norm, 0, rates)


def summarize(trials, network, task=0):
    """Currents and rates (bins, N), means over trials; prints rates and correlations.

    A trial has the spikes as `step` and `neuron`, and the currents `samples` at `sample_steps`.
    """
    s = network.settings
    each = [learned_current(t.sample_steps, t.samples, s) for t in trials]
    rates = np.mean([psth(t.step, t.neuron, s) for t in trials], axis=0)
    currents, target = np.mean(each, axis=0), network.targets["currents"][task]
    spikes = [len(t.step) / s.neurons / (s.steps * s.dt_ms / 1000) for t in trials]
    single = [np.nanmean(correlation(c, target)) for c in each]
    print(f"rate {np.mean(spikes):.3f} Hz, spread between trials {np.std(spikes):.3f}")
    print(f"correlation of target and current: {np.mean(single):.3f} in a trial", end=", ")
    print(f"spread {np.std(single):.3f}; {np.nanmean(correlation(currents, target)):.3f} of the mean")
    if "rates_hz" in network.targets:
        found = correlation(smoothed(rates), network.targets["rates_hz"][task])
        print(f"correlation of recorded and simulated PSTH: {np.nanmean(found):.3f}")
    return currents, rates


def draw(file, trials, currents, rates, network, task=0):
    """Raster of the first trial, and currents and PSTHs of four neurons beside their targets."""
    import matplotlib.pyplot as plt

    s = network.settings
    with_target = np.flatnonzero(~np.isnan(network.targets["currents"][task][0]))
    neurons = with_target[np.linspace(0, len(with_target) - 1, min(4, len(with_target))).astype(int)]
    ms = (s.stimulus_off_step + (np.arange(s.bins) + 1) * s.learn_every_steps) * s.dt_ms
    figure, axes = plt.subplots(3, len(neurons), figsize=(12, 8), squeeze=False, sharex="col")
    for axis in axes[0, 1:]:
        axis.remove()
    raster = figure.add_subplot(axes[0, 0].get_gridspec()[0, :])
    axes[0, 0].remove()
    shown = trials[0].neuron < 200
    raster.plot(trials[0].step[shown] * s.dt_ms, trials[0].neuron[shown], ",k")
    raster.axvspan(s.stimulus_on_step * s.dt_ms, s.stimulus_off_step * s.dt_ms, color="0.9")
    raster.set(xlabel="time (ms)", ylabel="neuron", title="spikes of the first trial; grey: stimulus")
    for column, neuron in enumerate(neurons):
        above, below = axes[1:, column]
        above.plot(ms, network.targets["currents"][task][:, neuron], "k", label="target")
        above.plot(ms, currents[:, neuron], label="current")
        above.set(title=f"neuron {neuron}")
        if "rates_hz" in network.targets:
            below.plot(ms, network.targets["rates_hz"][task][:, neuron], "k", label="recorded")
        below.plot(ms, smoothed(rates[:, [neuron]])[:, 0], label="PSTH")
        below.set(xlabel="time (ms)")
    axes[1, 0].set_ylabel(f"current ({s.current_unit})")
    axes[2, 0].set_ylabel("rate (Hz)")
    for axis in axes[1:, -1]:
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(file, dpi=150)


def save(file, trials, currents, rates):
    """Spikes, currents and rates as arrays, for other pictures."""
    spikes = {f"{name}{i}": getattr(t, name) for i, t in enumerate(trials) for name in ("step", "neuron")}
    np.savez_compressed(file, currents=currents, rates_hz=rates, trials=len(trials), **spikes)
