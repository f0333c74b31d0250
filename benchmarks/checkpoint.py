"""Saving and loading a checkpoint against the disk's own speed, and the memory that it takes.

    python -m benchmarks.checkpoint --gigabytes 2.2 --folder /path/on/the/disk

Before and after saving, dd writes as many zeros into the same folder and waits for the disk (conv=fsync); before and
after loading, dd reads the file, which is put out of the page cache each time.  Rates are of the whole file, memory is
the highest resident memory of the process while it saves or loads, above what it held before.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

import click
import numpy as np
import psutil

from benchmarks.common import sinusoid, usable
from rlsbench.backend import resolve_options
from rlsbench.precision import PRECISION_BYTES
from rlsbench.problem import InitialTrial, build_problem
from rlsbench.results import read_checkpoint, save_checkpoint
from rlsbench.targets.making import make_targets
from rlsbench.training import Training


def made(backend_name: str, gigabytes: float, p_precision: str, storage: str) -> Training:
    """A training whose P takes so many gigabytes, and whose network is otherwise small."""
    backend = usable(backend_name)
    numerics = {"numerics.p_precision": p_precision, "numerics.storage": storage}
    small = {"network.K": 16, "network.L": 45, **numerics}
    n = sinusoid(4096, **small).plastic_inputs
    entries = n * n if storage == "full" else n * (n + 1) // 2
    experiment = sinusoid(round(gigabytes * 1e9 / (entries * PRECISION_BYTES[p_precision])), **small)
    N = experiment.network.neurons
    initial = InitialTrial(np.ones(N), np.full(N, -1.0), np.ones(N))
    problem = build_problem(experiment, initial, make_targets(experiment, initial))
    trainer = backend.trainer(problem, resolve_options(backend, experiment.numerics))
    random = np.random.default_rng(0)
    x = random.random((N, n), np.float32)
    trainer.rls_update(x, np.zeros(N, np.float32), np.zeros(N, np.float32))
    return Training(experiment, backend, trainer.options, problem, trainer, initial, 0.0, 0.0)


def dd(*arguments: str) -> float:
    """Seconds that dd takes."""
    before = perf_counter()
    subprocess.run(["dd", "bs=16M", *arguments], check=True, capture_output=True)
    return perf_counter() - before


def uncached(path: Path) -> None:
    """Put a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def reset_peak() -> int:
    """Forget the highest resident memory; the one of now, bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return int(psutil.Process().memory_info().rss)


def peak() -> int:
    """The highest resident memory since, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


@click.command()
@click.option("--backend", default="numba", show_default=True)
@click.option("--gigabytes", default=2.2, show_default=True)
@click.option("--p-precision", default="float32", show_default=True)
@click.option("--storage", default="full", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path("."))
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False))
def main(backend: str, gigabytes: float, p_precision: str, storage: str, folder: Path, output: Path | None) -> None:
    """Save and load a large P beside dd."""
    training = made(backend, gigabytes, p_precision, storage)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        zeros, path = Path(place) / "zeros", Path(place) / "checkpoint.h5"
        size = round(gigabytes * 1e9)
        count = f"count={round(size / 2**24)}"

        def write_zeros() -> float:
            seconds = dd("if=/dev/zero", f"of={zeros}", count, "conv=fsync")
            zeros.unlink()
            return 2**24 * round(size / 2**24) / seconds

        write = [write_zeros()]
        held = reset_peak()
        before = perf_counter()
        save_checkpoint(path, training)
        saving, extra_saving = perf_counter() - before, peak() - held
        write.append(write_zeros())
        size = path.stat().st_size
        uncached(path)
        read = [size / dd(f"if={path}", "of=/dev/null")]
        uncached(path)
        state = training.trainer.block(0, 1).P.copy()  # type: ignore[attr-defined]
        held = reset_peak()
        before = perf_counter()
        read_checkpoint(path).load(training.trainer)
        loading, extra_loading = perf_counter() - before, peak() - held
        assert np.array_equal(state, training.trainer.block(0, 1).P)  # type: ignore[attr-defined]
        uncached(path)
        read.append(size / dd(f"if={path}", "of=/dev/null"))
    result = {
        "backend": backend,
        "p_precision": p_precision,
        "storage": storage,
        "neurons": training.problem.neurons,
        "file_bytes": size,
        "save_bytes_per_second": size / saving,
        "dd_write_bytes_per_second": write,
        "save_over_dd": size / saving / max(write),
        "load_bytes_per_second": size / loading,
        "dd_read_bytes_per_second": read,
        "load_over_dd": size / loading / max(read),
        "extra_bytes_saving": extra_saving,
        "extra_bytes_loading": extra_loading,
    }
    text = json.dumps(result, indent=2)
    click.echo(text)
    if output is not None:
        output.write_text(text + "\n")


if __name__ == "__main__":
    main()
