"""SONATA: nodes, edges, their types and a circuit configuration, which rlsbench reads again.

In: a `TrainedNetwork`.  Out: a folder (docs/export.md).  Weights are in the units of docs/model.md,
so that the network that is read again is the same, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration import changed, to_toml
from rlsbench.export.network import BLOCK, SYNAPSES, Kind, TrainedNetwork

__all__ = ["NODES", "write"]

NODES: Final = "all_neurons"
"""The node population; its node types are the populations of the network."""
INPUTS: Final = "feedforward_inputs"
COLUMNS: Final = {  # of an edge
    "source_node_id": np.uint64,
    "target_node_id": np.uint64,
    "edge_group_index": np.uint64,
    "0/syn_weight": np.float64,
    "0/delay": np.float64,
}

Numbers = NDArray[Any]


def write(network: TrainedNetwork, folder: Path) -> None:
    """Write a network as SONATA files, with inputs and targets beside them in inputs.h5."""
    import h5py

    network.check_space(folder, sum(np.dtype(kind).itemsize for kind in COLUMNS.values()))
    kinds = [kind for kind in SYNAPSES if network.count(kind)]
    with h5py.File(folder / "nodes.h5", "w") as file:
        _nodes(file, NODES, network.neurons())
        if network.problem.plastic.feedforward:
            types = np.full(network.problem.plastic.feedforward, len(network.problem.populations))
            _nodes(file, INPUTS, {"population": types})
    for kind in kinds:
        with h5py.File(folder / f"{kind}_edges.h5", "w") as file:
            _edges(file, network, kind)
    with h5py.File(folder / "inputs.h5", "w") as file:
        _inputs(file, network)
    _write_texts(network, folder, kinds)


def _write_texts(network: TrainedNetwork, folder: Path, kinds: list[Kind]) -> None:
    """The tables of types, the circuit configuration, and the experiment that reads it again."""
    p = network.problem
    nodes = [f"{i} {q.name} {p.neuron.name} {q.sign} point_neuron" for i, q in enumerate(p.populations)]
    if p.plastic.feedforward:
        nodes.append(f"{len(p.populations)} {INPUTS} NULL 1 virtual")
    edges = [f"{SYNAPSES.index(kind)} {kind} {p.clock.dt_ms!r}" for kind in kinds]
    node_files = {"nodes_file": "$DIR/nodes.h5", "node_types_file": "$DIR/node_types.csv"}
    of_nodes = {NODES: {"type": "point_neuron"}}
    if p.plastic.feedforward:
        of_nodes[INPUTS] = {"type": "virtual"}
    edge_files = [
        {"edges_file": f"$DIR/{kind}_edges.h5", "edge_types_file": "$DIR/edge_types.csv", "populations": {kind: {}}}
        for kind in kinds
    ]
    circuit = {
        "manifest": {"$DIR": "."},
        "networks": {"nodes": [node_files | {"populations": of_nodes}], "edges": edge_files},
    }
    tables = [
        {"file": f"{kind}_edges.h5", "kind": kind, "self_loops": True, "any_sign": kind == "plastic"}
        for kind in kinds
        if kind != "feedforward"
    ]
    texts = {
        "node_types.csv": "\n".join(["node_type_id pop_name model_template sign model_type", *nodes]) + "\n",
        "edge_types.csv": "\n".join(["edge_type_id kind delay", *edges]) + "\n",
        "circuit_config.json": json.dumps(circuit, indent=2) + "\n",
        "settings.json": json.dumps(network.settings(), indent=2) + "\n",
    }
    adapted = network.experiment.learning.external != "fixed"
    if not p.plastic.feedforward and not adapted:  # which tables of connectivity do not have
        own = {"connectivity": tables, "neuron.table": "nodes.h5", "neuron.node_types": ""}
        texts["experiment.toml"] = to_toml(changed(network.experiment, own))
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _nodes(file: Any, name: str, values: dict[str, Numbers]) -> None:
    """A node population with these attributes, of which `population` becomes the node type."""
    count = len(values["population"])
    group = file.create_group(f"nodes/{name}")
    group["node_type_id"] = values["population"].astype(np.uint32)
    group["node_group_id"] = np.zeros(count, np.uint32)
    group["node_group_index"] = np.arange(count, dtype=np.uint64)
    group.create_group("0")
    for attribute, column in values.items():
        if attribute != "population":
            group[f"0/{attribute}"] = np.ascontiguousarray(column)


def _edges(file: Any, network: TrainedNetwork, kind: Kind) -> None:
    """The edge population of a kind, with an index by the neuron by which edges are sorted."""
    count, dt_ms = network.count(kind), network.problem.clock.dt_ms
    group = file.create_group(f"edges/{kind}")
    # Not compressed, for libsonata may lack the filter.
    columns = {name: group.create_dataset(name, (count,), dtype) for name, dtype in COLUMNS.items()}
    for name, value in (("edge_group_id", 0), ("edge_type_id", SYNAPSES.index(kind))):
        # Never written, it takes no space.
        group.create_dataset(name, (count,), np.uint32, fillvalue=value, chunks=(min(BLOCK, count),))
    columns["source_node_id"].attrs["node_population"] = INPUTS if kind == "feedforward" else NODES
    columns["target_node_id"].attrs["node_population"] = NODES
    columns["0/syn_weight"].attrs["units"] = "(threshold - reset) ms"
    columns["0/delay"].attrs["units"] = "ms"
    degrees, first = np.zeros(network.problem.neurons, np.int64), 0
    for synapses in network.synapses(kind):
        some = slice(first, first := first + len(synapses.pre))
        columns["source_node_id"][some], columns["target_node_id"][some] = synapses.pre, synapses.post
        columns["edge_group_index"][some] = np.arange(some.start, some.stop)
        columns["0/syn_weight"][some], columns["0/delay"][some] = synapses.weight, synapses.delay * dt_ms
        degrees += np.bincount(synapses.pre if kind == "static" else synapses.post, minlength=len(degrees))
    index = group.create_group("indices/source_to_target" if kind == "static" else "indices/target_to_source")
    ends, number = np.cumsum(degrees), np.arange(len(degrees))
    index["node_id_to_ranges"] = np.stack([number, number + 1], axis=1).astype(np.uint64)
    index["range_to_edge_id"] = np.stack([ends - degrees, ends], axis=1).astype(np.uint64)


def _inputs(file: Any, network: TrainedNetwork) -> None:
    """What SONATA has no place for: the stimulus, feed-forward rates, targets and correlations."""
    p, tasks = network.problem, range(network.problem.tasks)

    def rows(name: str, length: int, dtype: Any, made: Any) -> None:
        data = file.create_dataset(name, (p.tasks, length, p.neurons), dtype)
        for task in tasks:
            for first, block in _blocks(made(task), max(1, BLOCK // p.neurons)):
                data[task, first : first + len(block)] = block

    if network.stimulus_steps:
        rows("stimulus", network.stimulus_steps, network.precision, network.stimulus)
    if p.feedforward:
        file["feedforward_hz"] = np.stack([p.feedforward.rates_hz(p.seed, task) for task in tasks])
    if p.targets is not None:
        rows("targets", p.targets.bins, np.float64, network.targets)
    for name, values in (("correlation", network.correlation), ("rates_hz", network.recorded_hz)):
        if values is not None:
            file[name] = values


def _blocks(rows: Iterator[Numbers], at_once: int) -> Iterator[tuple[int, Numbers]]:
    """Rows in blocks, each with the number of its first row."""
    held: list[Numbers] = []
    first = 0
    for row in rows:
        held.append(row.copy())
        if len(held) == at_once:
            yield first, np.stack(held)
            first, held = first + len(held), []
    if held:
        yield first, np.stack(held)
