"""Estimated and measured peak memory of runs, for every backend at several sizes.

    python -m benchmarks.memory_estimates
    python -m benchmarks.memory_estimates --neurons 2e3,1e4 --set numerics.storage=packed numba

Each run is `rlsbench run` with a short trial in a separate process.  Its peak is VmHWM of /proc,
which unlike ru_maxrss starts at zero for a new program.  The exit status is 1 if the error of an
estimate exceeds `--within`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import click

from rlsbench.backend import get_backend
from rlsbench.capacity import fitting_options, needed_bytes
from rlsbench.configuration import load_experiment, parse_assignments

# 120 ms instead of 2 s: only arrays with one row per learning bin depend on it.
SHORT = (
    "stimulus.on_ms=0.0",
    "stimulus.off_ms=20.0",
    "time.train_duration_ms=100.0",
    "training.average_from_ms=0.0",
    "training.iterations=2",
)
BACKENDS = ("reference", "numpy-full", "numpy-packed", "numba", "numba-blas")
NEURONS = (2_000, 5_000, 12_000)

_RUN = """
import sys
from rlsbench.cli import main
try:
    main(sys.argv[1:])
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")), end="", file=sys.stderr)
"""


class Comparison(NamedTuple):
    """One run."""

    backend: str
    neurons: int
    how: str
    """Precision and storage of P."""
    estimated: int
    """Bytes."""
    measured: int
    """Bytes."""

    @property
    def error(self) -> float:
        """Relative error of the estimate."""
        return self.estimated / self.measured - 1


def compare(backend_name: str, neurons: int, settings: tuple[str, ...] = (), preset: str = "sinusoid") -> Comparison:
    """Estimate the memory of a run, perform it, and read its peak.

    Raises
    ------
    RuntimeError
        If the run fails, with its message.
    """
    settings = (*SHORT, *settings, f"network.neurons={neurons}")
    experiment = load_experiment(preset, overrides=parse_assignments(settings))
    backend = get_backend(backend_name)
    options, _ = fitting_options(backend, experiment)
    needed = sum(needed_bytes(backend, experiment, options).values())
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["run", "--preset", preset, "--backend", backend_name, "--output", str(Path(folder) / "run")]
        arguments += [part for setting in settings for part in ("--set", setting)]
        done = subprocess.run([sys.executable, "-c", _RUN, *arguments], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines() or [""]
    if done.returncode != 0:
        raise RuntimeError(f"{backend_name} with {neurons:,} neurons: {lines[0]}")
    measured = 1024 * int(lines[-1].split()[1])
    return Comparison(backend_name, neurons, f"{options.p_precision} {options.storage}", needed, measured)


@click.command()
@click.argument("backends", nargs=-1)
@click.option("--preset", default="sinusoid", show_default=True)
@click.option("--neurons", default=",".join(map(str, NEURONS)), show_default=True, help="Comma-separated sizes.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE")
@click.option("--within", default=0.15, show_default=True, help="Largest accepted relative error.")
def main(backends: tuple[str, ...], preset: str, neurons: str, settings: tuple[str, ...], within: float) -> None:
    """Compare estimates for BACKENDS, by default all that compute on the CPU."""
    off = 0
    click.echo(f"{'backend':14} {'neurons':>9} {'P':>17} {'estimated':>12} {'measured':>12} {'error':>8}")
    for size in (int(float(size)) for size in neurons.split(",")):
        for name in backends or BACKENDS:
            found = compare(name, size, settings, preset)
            off += abs(found.error) > within
            mib = [f"{value / 2**20:,.0f} MiB" for value in (found.estimated, found.measured)]
            click.echo(f"{name:14} {size:9,} {found.how:>17} {mib[0]:>12} {mib[1]:>12} {found.error:+8.1%}")
    if off:
        click.echo(f"{off} estimates have an error of more than {within:.0%}")
        sys.exit(1)


if __name__ == "__main__":
    main()
