"""The cortical microcircuit of Potjans and Diesmann: a network from a file of edges.

    python -m benchmarks.microcircuit write FOLDER
    python -m benchmarks.microcircuit rates FOLDER --results rates.csv
    python -m benchmarks.microcircuit nest FOLDER --results rates.csv
    python -m benchmarks.microcircuit table --results rates.csv
    python -m benchmarks.microcircuit figure FOLDER PICTURE --results rates.csv --run RUN

`write` draws the synapses, which become edges.parquet, and writes the settings, microcircuit.toml,
for `rlsbench run --preset alm --config`.  `rates` simulates this network without plastic synapses,
and `nest` simulates it with NEST: the same edges, another simulator.  Both append the rates of the
populations to the CSV file.

Numbers are from Table 5 of Potjans and Diesmann (2014), Cereb. Cortex 24:785, but the delay of
inhibitory synapses, 0.75 ms instead of 0.8, and PUBLISHED_HZ are those of NEST's example.  A
smaller network keeps the connection probabilities, so that in-degrees shrink with it; weights grow
by 1/sqrt(scale) and a constant current replaces the mean input that is lost (van Albada, Helias and
Diesmann 2015, PLoS Comput. Biol. 11:e1004490).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import tomli_w
from numpy.typing import NDArray

from rlsbench import Experiment, load_experiment, run_trial
from rlsbench.backend import get_backend, make_trainer, resolve_options
from rlsbench.problem import initial_problem

NAMES = ("L23e", "L23i", "L4e", "L4i", "L5e", "L5i", "L6e", "L6i")
SIGNS = np.array([1, -1] * 4)
SIZES = np.array([20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948])
PROBABILITIES = np.array(  # of at least one synapse; rows: postsynaptic
    [
        [0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0],
        [0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0],
        [0.0077, 0.0059, 0.0497, 0.1350, 0.0067, 0.0003, 0.0453, 0.0],
        [0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0],
        [0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0],
        [0.0548, 0.0269, 0.0257, 0.0022, 0.0600, 0.3158, 0.0086, 0.0],
        [0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252],
        [0.0364, 0.0010, 0.0034, 0.0005, 0.0277, 0.0080, 0.0658, 0.1443],
    ]
)
EXTERNAL = np.array([1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100])  # inputs from outside, of 8 Hz
EXTERNAL_HZ = 8.0
PUBLISHED_HZ = np.array([0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829])  # NEST, full size
WEIGHT_pA, G, SPREAD = 87.8, -4.0, 0.1  # a postsynaptic potential of 0.15 mV; relative standard deviation
DELAYS_ms, DELAY_SPREAD = (1.5, 0.75), 0.5  # from excitatory and inhibitory neurons
TAU_M_ms, TAU_SYN_ms, REFRACTORY_ms, C_pF, THRESHOLD_mV = 10.0, 0.5, 2.0, 250.0, 15.0  # above the reset
STEP_ms = 0.1
UNIT_pA = THRESHOLD_mV * C_pF / TAU_M_ms  # threshold - reset, as a current

PLASTIC = {"L23e": 96, "L5e": 32}  # inputs of each neuron that learns, which are from neurons that learn
LEARNING = {
    "target_mean": "neuron",
    "external": "rate",
    "external_gain": 0.05,
    "lambda_plastic": 0.4,
    "lambda_feedforward": 1.0,
    "mu": 1.0,
}
WARM_UP_ms = 1000.0
FIELDS = ("simulator", "seed", *NAMES)
results_option = click.option(
    "--results", type=click.Path(dir_okay=False, path_type=Path), default=Path("rates.csv"), show_default=True
)
folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


def sizes(scale: float) -> NDArray[np.int64]:
    """Neurons of each population, (8,)."""
    return np.rint(SIZES * scale).astype(np.int64)


def full_synapses() -> NDArray[np.float64]:
    """Synapses between populations at full size, (8, 8), [post, pre]: neurons may share several."""
    pairs = np.outer(SIZES, SIZES).astype(np.float64)
    return np.log1p(-PROBABILITIES) / np.log1p(-1 / pairs)


def weights_pA(scale: float) -> NDArray[np.float64]:
    """Mean peak current of a synapse of each pair, (8, 8), [post, pre]."""
    weights = np.tile(np.where(SIGNS > 0, WEIGHT_pA, G * WEIGHT_pA), (8, 1))
    weights[0, 2] *= 2  # from L4e to L23e
    return weights / np.sqrt(scale)


def constant_pA(scale: float) -> NDArray[np.float64]:
    """The current that replaces the mean input that a smaller network lacks, (8,)."""
    recurrent = (weights_pA(1) * full_synapses() / SIZES[:, None]) @ PUBLISHED_HZ
    per_s = recurrent + WEIGHT_pA * EXTERNAL * EXTERNAL_HZ
    return np.asarray((1 - np.sqrt(scale)) * TAU_SYN_ms / 1000 * per_s)


def drawn_edges(scale: float, seed: int) -> Iterator[pd.DataFrame]:
    """The synapses, in parts: those onto one population from one other."""
    rng = np.random.default_rng(seed)
    first = np.cumsum([0, *sizes(scale)])
    counts = np.rint(full_synapses() * scale**2).astype(np.int64)
    means = weights_pA(scale)
    for post, pre in np.ndindex(8, 8):
        count = int(counts[post, pre])
        factor, delay = _normal(rng, 1.0, SPREAD, 0.0, count), DELAYS_ms[int(SIGNS[pre] < 0)]
        steps = _normal(rng, delay, DELAY_SPREAD * delay, STEP_ms, count) / STEP_ms
        columns = {
            "pre": rng.integers(first[pre], first[pre + 1], count),
            "post": rng.integers(first[post], first[post + 1], count),
            "weight": (means[post, pre] * factor / UNIT_pA * TAU_SYN_ms).astype(np.float32),
            "delay_ms": (np.rint(steps) * STEP_ms).astype(np.float32),
        }
        yield pd.DataFrame(columns)


def _normal(rng: np.random.Generator, mean: float, std: float, low: float, count: int) -> NDArray[np.float64]:
    """Normal numbers; those below `low` are drawn again."""
    values = rng.normal(mean, std, count)
    while (wrong := values < low).any():
        values[wrong] = rng.normal(mean, std, int(wrong.sum()))
    return values


def settings(scale: float, seed: int, file: Path) -> dict[str, Any]:
    """The network with its `file` of edges; excitatory neurons of layers 2/3 and 5 learn."""
    weight = WEIGHT_pA / np.sqrt(scale) / UNIT_pA * TAU_SYN_ms
    populations = [
        {
            "name": name,
            "size": int(size),
            "sign": int(sign),
            "external": float(current / UNIT_pA),
            "background_hz": float(rate),
            "background_weight": float(weight),
        }
        for name, size, sign, current, rate in zip(
            NAMES, sizes(scale), SIGNS, constant_pA(scale), EXTERNAL * scale * EXTERNAL_HZ, strict=True
        )
    ]
    edges = {"kind": "static", "file": str(file.absolute()), "duplicates": "sum", "self_loops": True}
    drawn = [
        {"kind": "plastic", "source": pre, "target": post, "rule": "fixed-in-degree", "weight": 0.0}
        | {"parameters": {"degree": degree}}
        for post in PLASTIC
        for pre, degree in PLASTIC.items()
    ]
    return {
        "description": f"The microcircuit of Potjans and Diesmann (2014), scaled by {scale:g}",
        "populations": populations,
        "network": {"K": 1, "L": 0},  # K = 1: populations.external is the current
        "connectivity": [edges, *drawn],
        "feedforward": {"LX": 100},
        "external": {"scale": 1.0},
        "neuron": {"tau_m_ms": TAU_M_ms, "refractory_ms": REFRACTORY_ms},
        "synapse": {"tau_E_ms": TAU_SYN_ms, "tau_I_ms": TAU_SYN_ms},
        "noise": {"kind": "none", "sigma": 0.0},
        "time": {"dt_ms": STEP_ms},
        "learning": LEARNING | {"neurons": list(PLASTIC)},
        "targets": {"transfer": "simulated"},
        "training": {"seed": seed},
    }


@click.group()
def main() -> None:
    """Write, simulate and compare the microcircuit."""


@main.command()
@folder_argument
@click.option("--scale", type=click.FloatRange(0, 1, min_open=True), default=0.1, show_default=True)
@click.option("--seed", default=1, show_default=True)
def write(folder: Path, scale: float, seed: int) -> None:
    """Draw the synapses, and write them and the settings to FOLDER."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "edges.parquet"
    writer, count = None, 0
    for part in drawn_edges(scale, seed):
        rows = pyarrow.Table.from_pandas(part, preserve_index=False)
        writer = writer or pyarrow.parquet.ParquetWriter(file, rows.schema)
        writer.write_table(rows)
        count += len(part)
    assert writer is not None
    writer.close()
    with (folder / "microcircuit.toml").open("wb") as stream:
        tomli_w.dump(settings(scale, seed, file), stream)
    click.echo(f"{sizes(scale).sum():,} neurons, {count:,} synapses")


def experiment(folder: Path, seconds: float = 1.0, **changes: Any) -> Experiment:
    """The network in `folder`, for a trial of this duration after a warm-up."""
    own = {"stimulus.on_ms": 0.0, "stimulus.off_ms": WARM_UP_ms, "time.train_duration_ms": 1000 * seconds}
    return load_experiment("alm", config=folder / "microcircuit.toml", overrides=own | changes)


@main.command()
@folder_argument
@click.option("--seconds", default=10.0, show_default=True, help="Model time, after a second of warm-up.")
@click.option("--backend", default="numba", show_default=True)
@click.option("--precision", default="float32", show_default=True)
@click.option("--threads", default=1, show_default=True, help="They do not change the results.")
@results_option
def rates(folder: Path, seconds: float, backend: str, precision: str, threads: int, results: Path) -> None:
    """Simulate the network in FOLDER without plastic synapses."""
    e = experiment(folder, seconds, **{"numerics.precision": precision, "numerics.threads": threads})
    problem, chosen = initial_problem(e), get_backend(backend)
    trainer = make_trainer(chosen, problem, resolve_options(chosen, e.numerics))
    counts = run_trial(trainer, 0, learn=False).late_counts
    append(results, f"{backend} {precision}", e, counts, seconds)


@main.command()
@folder_argument
@click.option("--seconds", default=10.0, show_default=True, help="Model time, after a second of warm-up.")
@results_option
def nest(folder: Path, seconds: float, results: Path) -> None:
    """Simulate the same network with NEST 3, which is to be installed."""
    import nest as simulator

    e = experiment(folder, seconds)
    first = np.cumsum([0, *(p.size for p in e.populations)])
    edges = pd.read_parquet(folder / "edges.parquet")
    simulator.set_verbosity("M_WARNING")
    simulator.ResetKernel()
    simulator.SetKernelStatus({"resolution": STEP_ms, "rng_seed": 1 + e.training.seed})
    parameters = {"E_L": 0.0, "V_reset": 0.0, "V_th": THRESHOLD_mV, "C_m": C_pF, "tau_m": TAU_M_ms}
    parameters |= {"t_ref": REFRACTORY_ms, "tau_syn_ex": TAU_SYN_ms, "tau_syn_in": TAU_SYN_ms}
    neurons = simulator.Create("iaf_psc_exp", int(first[-1]), parameters)
    neurons.V_m = simulator.random.normal(mean=0.0, std=THRESHOLD_mV)
    to_pA = UNIT_pA / TAU_SYN_ms
    for a, b, p in zip(first[:-1], first[1:], e.populations, strict=True):
        neurons[a:b].I_e = p.external * UNIT_pA
        background = simulator.Create("poisson_generator", params={"rate": p.background_hz})
        simulator.Connect(background, neurons[a:b], syn_spec={"weight": p.background_weight * to_pA, "delay": 1.5})
    pre, post = (edges[name].to_numpy() + 1 for name in ("pre", "post"))
    how = {"weight": edges.weight.to_numpy(np.float64) * to_pA, "delay": edges.delay_ms.to_numpy(np.float64).round(1)}
    simulator.Connect(pre, post, "one_to_one", how | {"synapse_model": "static_synapse"})
    recorder = simulator.Create("spike_recorder", params={"start": WARM_UP_ms})
    simulator.Connect(neurons, recorder)
    simulator.Simulate(WARM_UP_ms + 1000 * seconds)
    counts = np.bincount(np.asarray(recorder.get("events", "senders")) - 1, minlength=int(first[-1]))
    append(results, "NEST", e, counts, seconds)


def append(results: Path, simulator: str, e: Experiment, counts: NDArray[np.int64], seconds: float) -> None:
    """Add the rates of the populations to the CSV file."""
    of = np.repeat(NAMES, [p.size for p in e.populations])
    row = {"simulator": simulator, "seed": e.training.seed}
    row |= {name: f"{counts[of == name].mean() / seconds:.4g}" for name in NAMES}
    new = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    click.echo(row)


@main.command()
@results_option
def table(results: Path) -> None:
    """Print the rates in Markdown: mean and standard deviation over seeds."""
    runs = pd.read_csv(results).groupby("simulator", sort=False)[list(NAMES)]
    mean, std, count = runs.mean(), runs.std(), runs.size()
    click.echo("| population | " + " | ".join(f"{name}, {count[name]} seeds" for name in mean.index) + " | published |")
    click.echo("| --- |" + " ---: |" * (len(mean) + 1))
    for name, published in zip(NAMES, PUBLISHED_HZ, strict=True):
        spreads = ["" if np.isnan(value) else f" ± {value:.2f}" for value in std[name]]
        cells = [f"{value:.2f}{spread}" for value, spread in zip(mean[name], spreads, strict=True)]
        click.echo(f"| {name} | " + " | ".join(cells) + f" | {published:.2f} |")


@main.command()
@folder_argument
@click.argument("picture", type=click.Path(dir_okay=False, path_type=Path))
@results_option
@click.option("--run", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A training, for a panel.")
def figure(folder: Path, picture: Path, results: Path, run: Path | None) -> None:
    """Draw spikes of the network in FOLDER, the rates in the CSV file, and a learning curve."""
    import matplotlib.pyplot as plt

    e = experiment(folder, 0.4)
    chosen = get_backend("numba")
    trainer = make_trainer(chosen, initial_problem(e), resolve_options(chosen, e.numerics))
    spikes = run_trial(trainer, 0, learn=False, record=np.arange(e.network.neurons)).spikes
    first = np.cumsum([0, *(p.size for p in e.populations)])
    shown, axes = plt.subplots(1, 3 if run else 2, figsize=(11 if run else 8, 3.6), layout="constrained")
    for i, sign in enumerate(SIGNS):
        of = (spikes.neuron >= first[i]) & (spikes.neuron < first[i + 1])
        times = spikes.step[of] * STEP_ms - WARM_UP_ms
        axes[0].plot(times, spikes.neuron[of], ",", color="C0" if sign > 0 else "C3", rasterized=True)
    axes[0].set(xlim=(0, 400), ylim=(first[-1], 0), xlabel="time (ms)", title="(a) spikes")
    axes[0].set_yticks((first[:-1] + first[1:]) / 2, NAMES, fontsize=7)
    rows = pd.read_csv(results)
    bars = {str(name): runs[list(NAMES)] for name, runs in rows.groupby("simulator", sort=False)}
    at, width = np.arange(len(NAMES)), 0.8 / (len(bars) + 1)
    for number, (name, runs) in enumerate(bars.items()):
        axes[1].bar(at + number * width, runs.mean(), width, yerr=runs.std() if len(runs) > 1 else None, label=name)
    axes[1].bar(at + len(bars) * width, PUBLISHED_HZ, width, color="0.6", label="published, full size")
    axes[1].set_xticks(at + 0.4 - width / 2, NAMES)
    axes[1].set(ylabel="rate (Hz)", title="(b) spontaneous rates")
    axes[1].legend(frameon=False, fontsize=8)
    if run:
        curve = pd.read_csv(run / "learning_curve.csv")
        axes[2].plot(curve.iteration, curve.correlation)
        axes[2].set(xlabel="iteration", ylabel="correlation", title="(c) training")
    for ax in axes:
        ax.title.set_size(10)
        ax.spines[["top", "right"]].set_visible(False)
    shown.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
