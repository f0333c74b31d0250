"""`rlsbench report`: results as a page, pictures, a summary and a table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["report"]


@click.command(short_help="Make a page and pictures of results.")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULTS...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the report: a new one, or one with an earlier report, which is replaced.",
)
@click.option("--title", default="rlsbench", show_default=True, help="Title of the page.")
@click.option("--compare-with", metavar="BACKEND", help="What others are compared with; by default the slowest.")
def report(results: tuple[Path, ...], output: Path, title: str, compare_with: str | None) -> None:
    """Draw the results in RESULTS, files or folders that are searched through, into a folder.

    It takes index.html, one page that needs nothing else; figures as SVG and PNG; summary.md; and results.csv. Only
    results whose backend passed the conformance suite are drawn; the rest is listed with its reason. The same results
    give the same bytes. See docs/report.md.

    A file that cannot be read (cut short, not a result, of a later release) is named and left out; the exit status is
    then 1, and the report of the rest is written.
    """
    from rlsbench.report import write_report  # imports Matplotlib

    written = write_report(results, output, title=title, compared_with=compare_with)
    for problem in written.problems:
        click.echo(f"warning: left out {problem}", err=True)
    for finding in written.findings:
        click.echo(finding)
    left = f", {written.not_drawn} not drawn (the page says why)" if written.not_drawn else ""
    click.echo(f"{written.drawn} results drawn{left}; page in {written.page}")
    if written.problems:
        sys.exit(1)
