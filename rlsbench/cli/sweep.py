"""`rlsbench sweep`: a grid of runs, into a store of results."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from rlsbench.backend import registered_backend
from rlsbench.cli.options import COUNT, set_option
from rlsbench.configuration import parse_assignments
from rlsbench.errors import UnavailableBackendError
from rlsbench.results import AttemptDocument, Store
from rlsbench.sweep import Progress, SweepSummary, load_plan, run_sweep

__all__ = ["sweep"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class DurationType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A time: 90, 90s, 30m or 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a time, in seconds.

        Raises
        ------
        click.BadParameter
            For anything else.
        """
        found = re.fullmatch(r"(\d+\.?\d*)\s*(s|m|min|h|)", str(value).strip())
        if found is None or float(found[1]) == 0:
            return self.fail(f"{value!r} is not a time; write 90, 90s, 30m or 2h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class ListType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Several values, with commas between."""

    name = "list"

    def __init__(self, part: click.ParamType | None = None) -> None:  # type: ignore[type-arg,unused-ignore]
        self.part = part

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Read the values.

        Raises
        ------
        click.BadParameter
            If one of them cannot be read.
        """
        parts = [part.strip() for part in str(value).split(",")]
        if not all(parts):
            return self.fail(f"{value!r} holds an empty value; write one or more, with commas between", param, ctx)
        return tuple(part if self.part is None else self.part.convert(part, param, ctx) for part in parts)


_AXES = {
    "--backend": ("backends", ListType(), "Names of backends, with commas between; see `rlsbench backends`."),
    "--neurons": ("neurons", ListType(COUNT), "Sizes, as 1e3,1e4."),
    "--seed": ("seeds", ListType(COUNT), "Seeds."),
    "--precision": ("precisions", ListType(), "auto, float64, float32; of currents, voltages and weights."),
    "--p-precision": ("p_precisions", ListType(), "auto, float64, float32, float16, bfloat16, int16; of P."),
    "--storage": ("storages", ListType(), "auto, full, packed; of P."),
    "--algorithm": ("algorithms", ListType(), "auto, plain, event; form of the update."),
    "--device": ("devices", ListType(), "auto, cpu, cuda:0, ...; see `rlsbench backends`."),
    "--threads": ("threads", ListType(COUNT), "Numbers of threads; 0: all that may be used."),
}


def _axes(command: Any) -> Any:
    for option, (name, kind, text) in reversed(_AXES.items()):
        command = click.option(option, name, type=kind, metavar="LIST", help=text)(command)
    return command


@click.command(short_help="Run a grid of experiments, into a store of results.")
@click.argument("plan_file", metavar="[PLAN.toml]", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--preset", metavar="NAME", help="The experiment; sinusoid unless the plan says otherwise.")
@_axes
@click.option("--iterations", type=COUNT, help="That count, in each run; 3 unless the plan says otherwise.")
@click.option("--warm-up", type=COUNT, help="Iterations before them; 1 unless the plan says otherwise.")
@click.option("--repetitions", type=COUNT, help="Runs of each configuration; 1 unless the plan says otherwise.")
@click.option("--correlate/--no-correlate", default=None, help="Measure the correlation; on unless the plan says not.")
@click.option("--time-limit", type=DurationType(), help="Of one run, as 90, 30m or 2h; 1h unless planned otherwise.")
@click.option("--budget", type=DurationType(), help="Of the whole sweep, as 90, 30m or 2h.")
@click.option("--retry", is_flag=True, help="Try again what could not be run before.")
@set_option
def sweep(
    plan_file: Path | None,
    output: Path,
    budget: float | None,
    retry: bool,
    time_limit: float | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Run every combination of backends, sizes and precisions, each in a process of its own.

    The grid is given by options, or by a TOML file (see docs/sweeps.md). Each run leaves a document in the folder of
    --output; what is there already is not run again, so a sweep that was stopped goes on where it was when the same
    command is given once more. The exit status is 1 if a run failed or a backend did not pass the conformance suite.
    """
    overrides: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if time_limit is not None:
        overrides["time_limit_s"] = time_limit
    for key, value in parse_assignments(assignments).items():
        section, _, name = key.partition(".")
        overrides.setdefault("set", {}).setdefault(section, {})[name] = value
    plan = load_plan(plan_file, overrides)
    for name in plan.backends:
        _known(name)
    store = Store(output)
    try:
        summary = run_sweep(plan, store, budget_s=budget, retry=retry, show=_show)
    except KeyboardInterrupt:
        click.echo(f"results so far are in {output}; the same command goes on where it was")
        raise
    for problem in summary.problems:
        click.echo(f"warning: left out {problem}", err=True)
    click.echo(_told(summary, output))
    if summary.not_made.keys() & {"failed", "timed out"} or summary.failed_checks:
        sys.exit(1)


def _known(name: str) -> None:
    """Refuse a name that nothing registers; one that cannot be used is recorded by the sweep."""
    with suppress(UnavailableBackendError):
        registered_backend(name)


def _show(progress: Progress) -> None:
    document, place = progress.document, f"{progress.number}/{progress.total}"
    if document is None:
        click.echo(f"{place}  {progress.point} (repetition {progress.repetition}) ... ", nl=False)
    elif isinstance(document, AttemptDocument):
        click.echo(f"{document.outcome}: {document.reason}")
    else:
        checked = {"passed": "", "failed": "; FAILS the conformance suite", "not checked": "; not checked"}
        seconds = document.seconds_per_iteration or 0.0
        click.echo(f"{seconds:.3g} s an iteration{checked[document.validity]}")


def _told(summary: SweepSummary, output: Path) -> str:
    parts = [f"{summary.completed} runs made"]
    parts += [f"{count} {outcome}" for outcome, count in summary.not_made.items()]
    if summary.before:
        parts.append(f"{summary.before} were there before")
    if summary.left:
        parts.append(f"{summary.left} left, since {summary.stopped}; the same command goes on")
    return f"{'; '.join(parts)}; results in {output}"
