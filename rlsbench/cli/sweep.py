"""`rlsbench sweep`: a grid of runs, whose results go into a store."""

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
from rlsbench.sweep import Progress, SweepPlan, SweepSummary, load_plan, run_sweep

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class DurationType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A duration: 90, 90s, 30m or 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert a duration to seconds.

        Raises
        ------
        click.BadParameter
        """
        found = re.fullmatch(r"(\d+\.?\d*)\s*(s|m|min|h|)", str(value).strip())
        if found is None or float(found[1]) == 0:
            return self.fail(f"{value!r} is not a duration; write 90, 90s, 30m or 2h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class ListType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Values separated by commas."""

    name = "list"

    def __init__(self, part: click.ParamType | None = None) -> None:  # type: ignore[type-arg,unused-ignore]
        self.part = part

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Convert each value.

        Raises
        ------
        click.BadParameter
        """
        parts = [part.strip() for part in str(value).split(",")]
        if not all(parts):
            return self.fail(f"{value!r} contains an empty value; separate values with commas", param, ctx)
        return tuple(part if self.part is None else self.part.convert(part, param, ctx) for part in parts)


_OPTIONS = {
    "--backend": ("backends", ListType()),
    "--neurons": ("neurons", ListType(COUNT)),
    "--seed": ("seeds", ListType(COUNT)),
    "--precision": ("precisions", ListType()),
    "--p-precision": ("p_precisions", ListType()),
    "--storage": ("storages", ListType()),
    "--algorithm": ("algorithms", ListType()),
    "--device": ("devices", ListType()),
    "--threads": ("threads", ListType(COUNT)),
    "--iterations": ("iterations", COUNT),
    "--warm-up": ("warm_up", COUNT),
    "--repetitions": ("repetitions", COUNT),
    "--time-limit": ("time_limit_s", DurationType()),
    "--correlate/--no-correlate": ("correlate", None),
}


def _plan_options(command: Any) -> Any:
    """Add the options that set a field of the plan, with the description of that field."""
    for option, (name, kind) in reversed(_OPTIONS.items()):
        metavar = "LIST" if isinstance(kind, ListType) else None
        text = SweepPlan.model_fields[name].description
        command = click.option(option, name, type=kind, metavar=metavar, default=None, help=text)(command)
    return command


@click.command(short_help="Run a grid of experiments and store the results.")
@click.argument("plan_file", metavar="[PLAN.toml]", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--preset", metavar="NAME", help="The experiment; sinusoid unless the plan sets another.")
@_plan_options
@click.option("--budget", type=DurationType(), help="Time for the whole sweep, such as 90, 30m or 2h.")
@click.option("--retry", is_flag=True, help="Repeat runs that did not complete.")
@set_option
def sweep(
    plan_file: Path | None,
    output: Path,
    budget: float | None,
    retry: bool,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Run every combination of backends, sizes and precisions, each in its own process.

    Options or a TOML file (see docs/sweeps.md) define the grid. Each run adds a document to the
    folder --output. Runs that are already there are skipped, so repeating the same command
    continues an interrupted sweep. The exit status is 1 if a run failed or a backend did not pass
    the conformance suite.
    """
    overrides: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for key, value in parse_assignments(assignments).items():
        section, _, name = key.partition(".")
        overrides.setdefault("set", {}).setdefault(section, {})[name] = value
    plan = load_plan(plan_file, overrides)
    for name in plan.backends:
        with suppress(UnavailableBackendError):  # recorded by the sweep; an unknown name is an error
            registered_backend(name)
    store = Store(output)
    try:
        summary = run_sweep(plan, store, budget_s=budget, retry=retry, show=_show)
    except KeyboardInterrupt:
        click.echo(f"results so far are in {output}; repeat the command to continue")
        raise
    for problem in summary.problems:
        click.echo(f"warning: ignored {problem}", err=True)
    click.echo(_told(summary, output))
    if summary.not_made.keys() & {"failed", "timed out"} or summary.failed_checks:
        sys.exit(1)


def _show(progress: Progress) -> None:
    document, place = progress.document, f"{progress.number}/{progress.total}"
    if document is None:
        click.echo(f"{place}  {progress.point} (repetition {progress.repetition}) ... ", nl=False)
    elif isinstance(document, AttemptDocument):
        click.echo(f"{document.outcome}: {document.reason}")
    else:
        checked = {"passed": "", "failed": "; FAILS the conformance suite", "not checked": "; not checked"}
        seconds = document.seconds_per_iteration or 0.0
        click.echo(f"{seconds:.3g} s per iteration{checked[document.validity]}")


def _told(summary: SweepSummary, output: Path) -> str:
    parts = [f"{summary.completed} runs completed"]
    parts += [f"{count} {outcome}" for outcome, count in summary.not_made.items()]
    if summary.before:
        parts.append(f"{summary.before} already present")
    if summary.left:
        parts.append(f"{summary.left} remaining because {summary.stopped}; repeat the command to continue")
    return f"{'; '.join(parts)}; results in {output}"
