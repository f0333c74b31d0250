"""Spikes and currents as objects of libraries for data analysis: Pynapple and Neo.

In: spikes of trials, matrices and labels.  Out: objects of these libraries, which are optional and
imported when they are used.  Times are in s.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import SpikeTrain
from rlsbench.clock import Clock
from rlsbench.errors import RlsbenchError

if TYPE_CHECKING:
    import pandas as pd

PAUSE_S = 1.0  # between two trials, which follow one another in Pynapple

Array = NDArray[np.float64]


class PynappleObjects(NamedTuple):
    """The trials of one task for Pynapple."""

    trials: Any  #: IntervalSet; metadata: task, trial
    spikes: Any  #: TsGroup of all neurons, in these trials; metadata: the labels of neurons
    rates: Any  #: TsdFrame, smoothed PSTHs, Hz; the time is that in a trial
    currents: Any  #: TsdFrame, mean learned currents, threshold - reset; likewise


def pynapple_objects(
    spikes: Sequence[SpikeTrain], rates_hz: Array, currents: Array, neurons: pd.DataFrame, clock: Clock, task: int
) -> PynappleObjects:
    """The trials of a task, one after the other, with a pause of `PAUSE_S` between them.

    Parameters
    ----------
    spikes : sequence of SpikeTrain
        Of each trial.
    rates_hz, currents : ndarray, shape (bins, N)
    neurons : DataFrame
        A row for each neuron, whose columns are its labels.
    clock : Clock
    task : int
        Its number, which is stored with the trials.
    """
    nap = imported("pynapple")
    start = np.arange(len(spikes)) * (clock.seconds + PAUSE_S)
    labels = {"task": np.full(len(spikes), task), "trial": np.arange(len(spikes))}
    trials = nap.IntervalSet(start, start + clock.seconds, metadata=labels)
    times = [_by_neuron(train, clock, len(neurons)) for train in spikes]
    within: dict[str, Any] = {"time_support": trials}
    group = {
        neuron: nap.Ts(np.concatenate([t0 + trial[neuron] for t0, trial in zip(start, times, strict=True)]), **within)
        for neuron in range(len(neurons))
    }
    t = (clock.stimulus_off + clock.learn_every * np.arange(1, clock.bins + 1)) * clock.dt_ms / 1000.0
    return PynappleObjects(
        trials,
        nap.TsGroup(group, bypass_check=True, metadata=neurons, **within),
        *(nap.TsdFrame(t, matrix, metadata=neurons) for matrix in (rates_hz, currents)),
    )


def neo_block(spikes: Sequence[Sequence[SpikeTrain]], neurons: pd.DataFrame, clock: Clock) -> Any:
    """A `neo.Block` with a segment for each trial.

    A segment has a spike train of each neuron, annotated with its labels, and an epoch, from the
    end of the stimulus to that of the trial, in which the neurons follow the targets.

    Parameters
    ----------
    spikes : sequence of sequences of SpikeTrain
        Of each trial of each task.
    neurons : DataFrame
        A row for each neuron, whose columns are its labels.
    clock : Clock
    """
    neo, pq = imported("neo"), imported("quantities")
    block = neo.Block(name="rlsbench")
    labels: Any = neurons.reset_index(names="neuron").to_dict("records")
    after = clock.stimulus_off * clock.dt_ms / 1000.0
    for task, trials in enumerate(spikes):
        for number, train in enumerate(trials):
            segment = neo.Segment(name=f"task {task}, trial {number}", task=task, trial=number)
            segment.epochs.append(neo.Epoch([after] * pq.s, [clock.seconds - after] * pq.s, labels=["targets"]))
            for times, label in zip(_by_neuron(train, clock, len(neurons)), labels, strict=True):
                segment.spiketrains.append(neo.SpikeTrain(times, t_stop=clock.seconds, units="s", **label))
            block.segments.append(segment)
    return block


def imported(name: str) -> Any:
    """An optional library, or an `RlsbenchError` that says how to install it."""
    try:
        return import_module(name)
    except ImportError:
        raise RlsbenchError(f"the package {name} is not installed: pip install 'rlsbench[analysis]'") from None


def _by_neuron(spikes: SpikeTrain, clock: Clock, neurons: int) -> list[Array]:
    """Times of the spikes of each neuron in a trial, s."""
    order = np.argsort(spikes.neuron, kind="stable")
    bounds = np.searchsorted(spikes.neuron[order], np.arange(1, neurons))
    return np.split(spikes.step[order] * clock.dt_ms / 1000.0, bounds)
