"""NumPy: files NPZ, written in parts, and settings as JSON; also what scripts of simulators load.

In: a `TrainedNetwork`.  Out: settings.json, neurons.npz, synapses.npz, inputs.npz and targets.npz
(docs/export.md).  A synapse is a row of a structured array.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench.export.network import SYNAPSES, Kind, Synapses, TrainedNetwork

__all__ = ["SYNAPSE", "Units", "write", "write_arrays"]

SYNAPSE = np.dtype([("pre", "<i4"), ("post", "<i4"), ("weight", "<f8"), ("delay_steps", "u1")])

Numbers = NDArray[Any]


class Units:
    """What the numbers of a file are in: here those of docs/model.md; formats override."""

    def current(self, rows: Numbers) -> Numbers:
        """Currents of all neurons, (.., N)."""
        return rows

    def weight(self, kind: Kind, synapses: Synapses) -> Numbers:
        """Weights of some synapses."""
        return synapses.weight


def write(network: TrainedNetwork, folder: Path) -> None:
    """Write a network as NPZ files in the units of docs/model.md."""
    write_arrays(network, folder, network.settings(), network.neurons(), Units())


def write_arrays(
    network: TrainedNetwork, folder: Path, settings: Mapping[str, Any], neurons: Mapping[str, Numbers], units: Units
) -> None:
    """Write the files of this format.

    Parameters
    ----------
    network : TrainedNetwork
    folder : path
    settings : mapping
        The content of settings.json.
    neurons : mapping of str to ndarray, shape (N,)
        The content of neurons.npz.
    units : Units
        Of currents and weights.

    Raises
    ------
    InsufficientDiskError
        If they do not fit on the disk.
    """
    network.check_space(folder, SYNAPSE.itemsize)
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    with NPZ(folder / "neurons.npz") as file:
        for name, values in neurons.items():
            file.write(name, values.dtype, values.shape, [values])
    with NPZ(folder / "synapses.npz") as file:
        for kind in SYNAPSES:
            rows = (_rows(synapses, units.weight(kind, synapses)) for synapses in network.synapses(kind))
            file.write(kind, SYNAPSE, (network.count(kind),), rows)
    p, N = network.problem, network.problem.neurons
    tasks = range(p.tasks)
    with NPZ(folder / "inputs.npz") as file:
        path = (units.current(x) for task in tasks for x in network.stimulus(task))
        file.write("stimulus", network.precision, (p.tasks, network.stimulus_steps, N), path)
        if p.feedforward:
            rates = [p.feedforward.rates_hz(p.seed, task) for task in tasks]
            file.write("feedforward_hz", np.float64, (p.tasks, *rates[0].shape), rates)
    if p.targets is None:
        return
    with NPZ(folder / "targets.npz") as file:
        bins = p.targets.bins
        every = chain.from_iterable(network.targets(task) for task in tasks)
        file.write("currents", np.float64, (p.tasks, bins, N), (units.current(row) for row in every))
        if network.correlation is not None:
            file.write("correlation", np.float64, network.correlation.shape, [network.correlation])
        if network.recorded_hz is not None:
            file.write("rates_hz", np.float64, network.recorded_hz.shape, [network.recorded_hz])


def _rows(synapses: Synapses, weight: Numbers) -> Numbers:
    rows = np.empty(len(weight), SYNAPSE)
    rows["pre"], rows["post"], rows["weight"], rows["delay_steps"] = *synapses[:2], weight, synapses.delay
    return rows


class NPZ:
    """An NPZ file that is written in parts, for `np.load` to read."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w")

    def __enter__(self) -> NPZ:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def write(self, name: str, dtype: DTypeLike, shape: tuple[int, ...], parts: Iterable[Numbers]) -> None:
        """Write an array as the parts that make it up in C order; a ValueError if they do not."""
        dtype, size = np.dtype(dtype), 0
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_2_0(stream, header)
            for part in parts:
                stream.write(np.ascontiguousarray(part, dtype).data)
                size += part.size
        if size != np.prod(shape, dtype=np.int64):
            raise ValueError(f"{name} has {size} values, not {shape}")
