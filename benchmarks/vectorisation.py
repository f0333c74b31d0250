"""Instructions of the compiled kernels of `numba`: fused multiply-adds by register width.

    python -m benchmarks.vectorisation

Compiles everything anew.  `zmm` registers hold 16 float32 numbers, `ymm` 8 and `xmm` 4; `scalar`
instructions process one.  The inner loops must not be scalar; the scalar instructions that remain
belong to numbers of which each neuron has one.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter

import click

KERNELS = (
    ("rls_event", "learn_range"),
    ("rls_event", "apply_range"),
    ("rls_plain", "learn_range"),
    ("steps", "advance_range"),
)
FMA = re.compile(r"^\s*vfn?m(?:add|sub)\d+(p|s)[sd]\s+(.*)$", re.MULTILINE)


def count(assembly: str) -> Counter[str]:
    """Fused multiply-adds by register."""
    found: Counter[str] = Counter()
    for kind, operands in FMA.findall(assembly):
        width = next((name for name in ("zmm", "ymm", "xmm") if name in operands), "xmm")
        found["scalar" if kind == "s" else width] += 1
    return found


@click.command()
@click.option("--storage", type=click.Choice(["full", "packed"]), default="full", show_default=True)
@click.option("--p-precision", default="float32", show_default=True)
def main(storage: str, p_precision: str) -> None:
    """Compile the kernels of `numba` and count their instructions."""
    with tempfile.TemporaryDirectory() as empty:
        os.environ["NUMBA_CACHE_DIR"] = empty  # machine code from a cache cannot be inspected
        from importlib import import_module

        from benchmarks.common import made_up
        from rlsbench import load_experiment, run_trial
        from rlsbench.backend import get_backend, resolve_options

        backend = get_backend("numba")
        for algorithm in ("plain", "event"):
            numerics = {"storage": storage, "algorithm": algorithm, "p_precision": p_precision}
            experiment = load_experiment("smoke", overrides={f"numerics.{k}": v for k, v in numerics.items()})
            problem = made_up(experiment)
            run_trial(backend.trainer(problem, resolve_options(backend, experiment.numerics)), 1)
        click.echo(f"P {p_precision} {storage}; fused multiply-adds in the machine code")
        click.echo(f"{'kernel':28}{'zmm':>7}{'ymm':>7}{'xmm':>7}{'scalar':>8}")
        for module, name in KERNELS:
            dispatcher = getattr(import_module(f"rlsbench_numba.{module}"), name)
            found: Counter[str] = sum((count(asm) for asm in dispatcher.inspect_asm().values()), Counter())
            click.echo(
                f"{module}.{name:{27 - len(module)}}{found['zmm']:7}{found['ymm']:7}{found['xmm']:7}{found['scalar']:8}"
            )


if __name__ == "__main__":
    main()
