"""Speed and memory of saving and loading a checkpoint, compared with the disk.

    python -m benchmarks.checkpoint --gigabytes 2.2 --repetitions 3 --folder /path/on/the/disk

In each repetition, dd writes as many zeros into the same folder and waits for the disk
(conv=fsync), the checkpoint is saved, dd reads it, and it is loaded; the file is evicted from the
page cache before each reading. Figures are medians over repetitions; memory is the peak resident
memory during saving or loading, above that before. `--chunked` saves and loads the same state in
HDF5 chunks with the Fletcher-32 filter as well, interleaved.

Two gigabytes of float32, two cores, shared disk, median of three: saving 206 MB/s (dd 123, chunked
80), loading 289 MB/s (dd 293, chunked 236); at most 64 MiB of additional memory in either form.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import click
import h5py
import numpy as np
import psutil

from benchmarks.common import sinusoid, usable
from rlsbench.backend import Block, Kept, resolve_options
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.problem import InitialTrial, build_problem
from rlsbench.results import read_checkpoint, save_checkpoint
from rlsbench.results.checkpoint_file import BLOCK_BYTES
from rlsbench.targets.making import make_targets
from rlsbench.training import Training


def made(backend_name: str, gigabytes: float, p_precision: str, storage: str) -> Training:
    """A training with so many gigabytes of P and an otherwise small network."""
    backend = usable(backend_name)
    numerics = {"numerics.p_precision": p_precision, "numerics.storage": storage}
    small = {"network.K": 16, "network.L": 45, **numerics}
    n = sinusoid(4096, **small).plastic_inputs
    entries = STORAGES[storage].entries(n)
    experiment = sinusoid(round(gigabytes * 1e9 / (entries * PRECISIONS[p_precision].bytes)), **small)
    N = experiment.network.neurons
    initial = InitialTrial(np.ones(N), np.full(N, -1.0), np.ones(N))
    problem = build_problem(experiment, initial, make_targets(experiment, initial))
    trainer = backend.trainer(problem, resolve_options(backend, experiment.numerics))
    random = np.random.default_rng(0)
    x = random.random((N, n), np.float32)
    trainer.rls_update(x, np.zeros(N, np.float32), np.zeros(N, np.float32))
    return Training(experiment, backend, trainer.options, problem, trainer, initial, 0.0, 0.0)


def dd(*arguments: str) -> None:
    """Run dd."""
    subprocess.run(["dd", "bs=16M", *arguments], check=True, capture_output=True)


def uncached(path: Path) -> None:
    """Evict a file from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def reset_peak() -> int:
    """Reset the peak resident memory; the current resident memory, bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return int(psutil.Process().memory_info().rss)


def peak() -> int:
    """The peak resident memory since, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def save_chunked(path: Path, training: Training) -> None:
    """Save w and P in HDF5 chunks with Fletcher-32 checksums."""
    with h5py.File(path, "w", libver="latest", rdcc_nbytes=0) as file:
        trainer, N = training.trainer, training.problem.neurons
        example = next(trainer.blocks(1))
        rows = max(1, BLOCK_BYTES // example.P.values.nbytes)
        w, P = (
            file.create_dataset(
                name, (N, *part.shape[1:]), part.dtype, chunks=(min(rows, N), *part.shape[1:]), fletcher32=True
            )
            for name, part in (("w", example.w), ("P", example.P.values))
        )
        for i, block in enumerate(trainer.blocks(rows)):
            w[i * rows : (i + 1) * rows], P[i * rows : (i + 1) * rows] = block.w, block.P.values
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def load_chunked(path: Path, training: Training) -> None:
    """Load w and P from HDF5 chunks."""
    precision = training.options.p_precision

    def blocks() -> Iterator[tuple[int, Block]]:
        for first in range(0, len(P), P.chunks[0]):
            part = slice(first, min(first + P.chunks[0], len(P)))
            yield first, Block(w[part], {"P": Kept(P[part], precision)})

    with h5py.File(path, "r", rdcc_nbytes=0) as file:
        w, P = file["w"], file["P"]
        training.trainer.load_blocks(blocks())


@click.command()
@click.option("--backend", default="numba", show_default=True)
@click.option("--gigabytes", default=2.2, show_default=True)
@click.option("--p-precision", default="float32", show_default=True)
@click.option("--storage", default="full", show_default=True)
@click.option("--repetitions", default=1, show_default=True)
@click.option("--chunked", is_flag=True, help="Compare with HDF5 chunks and Fletcher-32, without int16.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path("."))
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False))
def main(
    backend: str,
    gigabytes: float,
    p_precision: str,
    storage: str,
    repetitions: int,
    chunked: bool,
    folder: Path,
    output: Path | None,
) -> None:
    """Save and load a large P, and compare with dd."""
    training = made(backend, gigabytes, p_precision, storage)
    count = round(gigabytes * 1e9 / 2**24)
    rates: dict[str, list[float]] = {}
    memory: dict[str, list[int]] = {}

    def measured(name: str, size: float, work: Callable[[], object]) -> None:
        held = reset_peak()
        before = perf_counter()
        work()
        rates.setdefault(name, []).append(size / (perf_counter() - before))
        memory.setdefault(name, []).append(peak() - held)

    with tempfile.TemporaryDirectory(dir=folder) as place:
        zeros, path, other = (Path(place) / name for name in ("zeros", "checkpoint.h5", "chunked.h5"))
        for _ in range(repetitions):
            measured(
                "dd write", count * 2**24, lambda: dd("if=/dev/zero", f"of={zeros}", f"count={count}", "conv=fsync")
            )
            zeros.unlink()
            path.unlink(missing_ok=True)
            measured("save", gigabytes * 1e9, lambda: save_checkpoint(path, training))
            state = next(training.trainer.blocks(1)).P.values.copy()
            uncached(path)
            measured("dd read", path.stat().st_size, lambda: dd(f"if={path}", "of=/dev/null"))
            uncached(path)
            measured("load", path.stat().st_size, lambda: read_checkpoint(path).load(training.trainer))
            assert np.array_equal(state, next(training.trainer.blocks(1)).P.values)
            if chunked:
                other.unlink(missing_ok=True)
                measured("chunked save", gigabytes * 1e9, lambda: save_chunked(other, training))
                uncached(other)
                measured("chunked load", other.stat().st_size, lambda: load_chunked(other, training))
    speed = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "backend": backend,
        "p_precision": p_precision,
        "storage": storage,
        "neurons": training.problem.neurons,
        "bytes_per_second": speed,
        "save_over_dd": speed["save"] / speed["dd write"],
        "load_over_dd": speed["load"] / speed["dd read"],
        "extra_bytes": {name: statistics.median(values) for name, values in memory.items() if "dd" not in name},
    }
    text = json.dumps(result, indent=2)
    click.echo(text)
    if output is not None:
        output.write_text(text + "\n")


if __name__ == "__main__":
    main()
