"""`rlsbench report`: results as a page, figures, a summary and a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from rlsbench.cli.console import echo

_OUTPUT = "Folder for the report: new, empty, or with an earlier report, which is replaced."
_HEADLINE = "Also draw the published and measured times of the scaling experiment into an SVG file."
_SCHEMA = "Print the JSON Schema of result documents and exit."
_FOLDER, _FILE = click.Path(path_type=Path, file_okay=False), click.Path(path_type=Path, dir_okay=False)


def _print_schema(context: click.Context, _: click.Parameter, wanted: Any) -> None:
    if wanted:
        from rlsbench.results import result_schema

        click.echo(json.dumps(result_schema(), indent=2))
        context.exit()


@click.command(short_help="Make a page and figures from results.")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULTS...")
@click.option("-o", "--output", required=True, type=_FOLDER, metavar="DIR", help=_OUTPUT)
@click.option("--title", default="rlsbench", show_default=True, help="Title of the page.")
@click.option("--compare-with", metavar="BACKEND", help="Baseline of the speed-ups; by default the slowest backend.")
@click.option("--headline", type=_FILE, metavar="FILE", help=_HEADLINE)
@click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema, help=_SCHEMA)
def report(
    results: tuple[Path, ...], output: Path, title: str, compare_with: str | None, headline: Path | None
) -> None:
    """Report the results in RESULTS: .json and .jsonl files, or folders that contain such files.

    The folder then contains index.html, a self-contained page; the figures as SVG and PNG;
    summary.md; results.csv; and results.jsonl, all documents in one file. Only runs of a backend
    that passed the conformance suite are drawn; all others are listed with the reason. The same
    results give the same bytes. See docs/report.md.

    Files and lines that cannot be read are named and skipped; the report is then written from the
    others, and the exit status is 1.
    """
    from rlsbench.report.folder import write_report  # imports Matplotlib and pandas
    from rlsbench.report.headline import write_headline
    from rlsbench.results import read_results

    written = write_report(results, output, title=title, compared_with=compare_with)
    if headline is not None:
        write_headline(read_results(results), headline)
    for problem in written.problems:
        echo(f"warning: skipped {problem}", err=True)
    for finding in written.findings:
        echo(finding)
    left = f", {written.not_drawn} not drawn (the page says why)" if written.not_drawn else ""
    echo(f"{written.drawn} results drawn{left}; page: {written.page}")
    if written.problems:
        sys.exit(1)
