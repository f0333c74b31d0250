"""Parameters of neurons from SONATA: a file of nodes, and a table of their types.

In: nodes.h5, and perhaps a CSV of node types.  Out: numbers by name, (N,).  Knows no neuron model.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NODE_FILES", "node_columns"]

NODE_FILES = (".h5", ".hdf5", ".sonata")  #: suffixes

Array = NDArray[np.float64]


def node_columns(path: str, types: str, neurons: int, wanted: Collection[str]) -> dict[str, Array]:
    """The attributes of the nodes of the network, one number for each neuron.

    Parameters
    ----------
    path : str
        File of nodes. The one population of as many nodes as neurons is read.
    types : str
        CSV of node types, for what the nodes do not have; empty: none.
    neurons : int
    wanted : collection of str
        Names of the attributes.

    Returns
    -------
    dict of str to ndarray, shape (N,)
        Of the wanted ones, those that are there.

    Raises
    ------
    OSError, ValueError
        If a file cannot be read, or has no such nodes or attributes.
    """
    import h5py

    with h5py.File(path) as file:
        found = {name: group for name, group in _members(file.get("nodes", {})).items() if "node_type_id" in group}
        fitting = [name for name, group in found.items() if group["node_type_id"].shape == (neurons,)]
        if len(fitting) != 1:
            sizes = ", ".join(f"{name} ({group['node_type_id'].size:,})" for name, group in found.items()) or "none"
            raise ValueError(f"its node populations are {sizes}: one of them should have {neurons:,} nodes")
        nodes = found[fitting[0]]
        order = np.asarray(nodes["node_id"]) if "node_id" in nodes else np.arange(neurons)
        if not np.array_equal(np.sort(order), np.arange(neurons)):
            raise ValueError(f"its node_id should be the numbers 0 to {neurons - 1}")
        columns, there = _of_groups(nodes, neurons, wanted)
        if types:
            of_types, names = _of_types(types, np.asarray(nodes["node_type_id"]), wanted)
            there += names
            for name, values in of_types.items():
                own = columns.get(name, np.full(neurons, np.nan))
                columns[name] = np.where(np.isnan(own), values, own)
    if not columns:
        raise ValueError(
            f"it has {', '.join(dict.fromkeys(there)) or 'no attributes'}, but none of {', '.join(wanted)}"
        )
    for name, values in columns.items():
        values[order] = values.copy()
        if np.isnan(values).any():
            raise ValueError(f"node {int(np.argmax(np.isnan(values)))} has no number {name}")
    return columns


def _members(group: Any) -> dict[str, Any]:
    """What a group holds itself, without links to elsewhere."""
    import h5py

    return {name: group[name] for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)}


def _of_groups(nodes: Any, neurons: int, wanted: Collection[str]) -> tuple[dict[str, Array], list[str]]:
    """Wanted attributes of the node groups, NaN where a group lacks them, and the names of all."""
    columns: dict[str, Array] = {}
    names: list[str] = []
    for number, group in _members(nodes).items():
        if not number.isdecimal():
            continue
        attributes = _members(group)
        attributes |= _members(attributes.pop("dynamics_params", {}))
        names += attributes
        rows = np.arange(neurons)
        at = rows
        if "node_group_id" in nodes:
            rows = np.flatnonzero(np.asarray(nodes["node_group_id"]) == int(number))
            at = np.asarray(nodes["node_group_index"])[rows].astype(np.int64)
        for name in wanted:
            if name in attributes and len(rows):
                values = np.asarray(attributes[name], np.float64)
                if values.ndim != 1 or at.max() >= len(values):
                    raise ValueError(f"{name} should have a number for each node of its group")
                columns.setdefault(name, np.full(neurons, np.nan))[rows] = values[at]
    return columns, names


def _of_types(path: str, types: NDArray[Any], wanted: Collection[str]) -> tuple[dict[str, Array], list[str]]:
    """Wanted columns of a CSV of SONATA, separated by spaces, by the type of each node."""
    import pandas as pd

    frame = pd.read_csv(Path(path), sep=r"\s+")
    if "node_type_id" not in frame or not frame["node_type_id"].is_unique:
        raise ValueError(f"{Path(path).name} should have a row for each node_type_id")
    numbers = frame.set_index("node_type_id").apply(pd.to_numeric, errors="coerce")
    chosen = numbers[[name for name in wanted if name in numbers]].reindex(types)
    return {str(name): chosen[name].to_numpy(np.float64) for name in chosen}, [str(name) for name in numbers]
