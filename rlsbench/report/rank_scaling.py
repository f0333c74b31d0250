"""Strong and weak scaling: time against the number of MPI ranks, and parallel efficiency.

In: a `Study` with runs on several numbers of ranks.  Out: `Series`, `Picture`s, and tables.

All ranks of a series have the same number of threads, so that more ranks have more processors. In
strong scaling they share the same network, ideally in time 1/R; in weak scaling they have the same
number of neurons each, ideally in the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from rlsbench.report.picture import GREY, Picture, Style, curve, log_axis, paint, plain_labels, style
from rlsbench.report.scaling import same_software
from rlsbench.report.series import Contender, Line, Study, line_labels
from rlsbench.report.words import Spread, number, several, spread, times
from rlsbench.results.table import counted_exchange, counted_seconds, rank_memory

Kind = Literal["strong", "weak"]
TableParts = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...], str]  #: title, columns, rows and note
_SIZE = ("", "neurons", "ranks", "nodes", "threads per rank")
_MOST_LABELS = 9  # on the axis of ranks
_BEYOND = "more threads than processors, which shows no scaling"


class Point(NamedTuple):
    """Runs of one size on one number of ranks."""

    line: Line
    neurons: int
    ideal: float  #: seconds, from the fewest ranks of the series

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.line.contender.ranks

    @property
    def seconds(self) -> Spread:
        """Seconds per iteration."""
        return self.line.seconds(self.neurons)

    @property
    def efficiency(self) -> float:
        """Parallel efficiency: the ideal time over the median."""
        return self.ideal / self.seconds.median

    @property
    def beyond(self) -> bool:
        """Whether the ranks have more threads than their nodes have processors."""
        usable = self.line.at(self.neurons)[0].machine.get("usable_threads")
        of = self.line.contender
        return isinstance(usable, int) and of.ranks * of.threads > usable * of.nodes


class Series(NamedTuple):
    """Points of one backend with the same options, in the order of ranks."""

    label: str
    size: int  #: neurons: of all ranks in strong scaling, of each in weak scaling
    points: tuple[Point, ...]


def rank_series(study: Study, kind: Kind) -> list[Series]:
    """The series of a study that have at least two numbers of ranks."""
    alike: dict[Contender, Line] = {}
    found: dict[tuple[Contender, float], dict[int, tuple[Line, int]]] = {}
    for line in sorted(study.lines, key=lambda line: line.contender.nodes, reverse=True):
        of = line.contender
        if of.ranks < 1:  # documents are untrusted input
            continue
        plain = of._replace(ranks=1, nodes=1)
        alike[plain] = line
        for neurons in line.sizes:
            size = neurons if kind == "strong" else neurons / of.ranks
            found.setdefault((plain, size), {})[of.ranks] = (line, neurons)  # that on the fewest nodes
    labels = line_labels({plain: line.runs for plain, line in alike.items()})
    begins = [(plain, min(by_ranks)) for (plain, _), by_ranks in found.items()]
    series = []
    for (plain, size), by_ranks in sorted(found.items()):
        fewest, first = min(by_ranks.items())
        base = first[0].seconds(first[1]).median
        points = tuple(
            Point(line, neurons, base * (fewest / count if kind == "strong" else 1.0))
            for count, (line, neurons) in sorted(by_ranks.items())
            if same_software(line.runs[0], first[0].runs[0])
        )
        # Efficiencies of networks that grow are relative to the fewest ranks of all.
        if len(points) > 1 and (kind == "strong" or fewest == min(n for other, n in begins if other == plain)):
            series.append(Series(labels[plain], round(size), points))
    return series


def draw_ranks(study: Study, kind: Kind) -> Picture | None:
    """Time and efficiency against the number of ranks; None without a series."""
    series = rank_series(study, kind)
    if not series:
        return None
    every = [point for one in series for point in one.points]

    def draw(above: Axes, below: Axes) -> None:
        for i, one in enumerate(series):
            _draw_series(above, below, one, style(i), f"{one.label}, {one.size:,} neurons{_per(kind)}")
        above.plot([], [], color=GREY, linestyle="--", linewidth=1.0, label="ideal")
        log_axis(above, "y", [v for p in every for v in (*p.seconds[1:3], p.ideal)], "seconds per iteration (s)")
        ranks = sorted({point.ranks for point in every})
        log_axis(below, "x", ranks, "MPI ranks, R")
        below.xaxis.set_major_locator(FixedLocator(ranks[:: -(-len(ranks) // _MOST_LABELS)]))
        below.xaxis.set_minor_locator(NullLocator())
        plain_labels(below)
        below.axhline(100.0, color=GREY, linestyle="--", linewidth=1.0)
        top = max(100.0, *(100.0 * min(point.efficiency, 1e3) for point in every))
        below.set_ylim(-0.04 * top, 1.1 * top)
        below.set_ylabel("efficiency (%)")

    counts = study.iterations - study.warm_up
    fixed = "neurons, and of threads per rank" if kind == "strong" else "neurons and threads per rank"
    caption = (
        f"The same number of {fixed}. Above: median over runs of the median over {several(counts, 'iteration')}, "
        "bars from the fastest to the slowest. Below: parallel efficiency, the ideal time (dashed) over the median."
    )
    beyond = f" Hollow: {_BEYOND}." if any(point.beyond for point in every) else ""
    return paint(
        f"{kind}-scaling-{study.name}", _finding(series, kind), study.context, caption + beyond, draw, (3.0, 1.5)
    )


def _draw_series(above: Axes, below: Axes, series: Series, style: Style, label: str) -> None:
    ranks = [point.ranks for point in series.points]
    curve(above, ranks, [point.seconds for point in series.points], style, label)
    above.plot(ranks, [point.ideal for point in series.points], color=GREY, linestyle="--", linewidth=1.0)
    own: dict[str, Any] = style._asdict()
    below.plot(ranks, [100.0 * point.efficiency for point in series.points], **own)
    beyond = [point for point in series.points if point.beyond]
    own |= {"linestyle": "none", "markerfacecolor": "white"}
    for ax, values in ((above, [p.seconds.median for p in beyond]), (below, [100.0 * p.efficiency for p in beyond])):
        ax.plot([p.ranks for p in beyond], values, **own, zorder=3)


def _per(kind: Kind) -> str:
    return " per rank" if kind == "weak" else ""


def _finding(series: list[Series], kind: Kind) -> str:
    """What most ranks reach that have a processor for each thread, or else most ranks."""
    ends = [(one, [p for p in one.points[1:] if not p.beyond] or one.points[1:]) for one in series]
    one, points = max(ends, key=lambda end: (not end[1][-1].beyond, end[1][-1].ranks, end[0].size))
    first, last = one.points[0], points[-1]
    fewest, most = several(first.ranks, "rank"), several(last.ranks, "rank")
    before, after = first.seconds.median, last.seconds.median
    if kind == "weak":
        found = f"{most} of {one.label} with {one.size:,} neurons each take {times(after / before)} times as long as "
        found += fewest
    elif after < before:
        found = f"{one.label} trains {one.size:,} neurons {times(before / after)} times as fast on {most} as on "
        found += fewest
    else:
        found = f"{one.size:,} neurons take {one.label} {times(after / before)} times as long on {most} as on {fewest}"
    found += f": a parallel efficiency of {last.efficiency:.0%}"
    return found + (f", with {_BEYOND.partition(',')[0]}" if last.beyond else "")


def scaling_table(study: Study, kind: Kind) -> TableParts | None:
    """The numbers in the picture; None without a series."""
    points = [(one.label, point) for one in rank_series(study, kind) for point in one.points]
    rows = tuple((label, *_size(p), spread(p.seconds), number(p.ideal), f"{p.efficiency:.0%}") for label, p in points)
    note = "Efficiency is the ideal time over the median."
    note += f" † {_BEYOND.capitalize()}." if any(point.beyond for _, point in points) else ""
    columns = (*_SIZE, "s per iteration (range)", "ideal (s)", "efficiency")
    return (study.context, columns, rows, note) if rows else None


def ranks_table(study: Study) -> TableParts | None:
    """Exchange and memory of runs on several ranks; None if there are none."""
    points = [Point(line, n, 0.0) for line in study.lines for n in line.sizes if line.contender.ranks > 1]
    rows = tuple((point.line.label, *_size(point), *_exchange_and_memory(point)) for point in points)
    note = f"† {_BEYOND.capitalize()}." if any(point.beyond for point in points) else ""
    columns = (*_SIZE, "exchange", "memory of a rank (GiB)", "of a node (GiB)", "of all (GiB)", "runs")
    return (study.context, columns, rows, note) if rows else None


def _size(point: Point) -> Iterator[str]:
    of = point.line.contender
    yield from (f"{point.neurons:,}", f"{of.ranks:,}{' †' if point.beyond else ''}", f"{of.nodes:,}", f"{of.threads:,}")


def _exchange_and_memory(point: Point) -> Iterator[str]:
    runs = point.line.at(point.neurons)
    shares = [sum(seconds) / sum(counted_seconds(run)) for run in runs if (seconds := counted_exchange(run))]
    yield f"{median(shares):.1%}" if shares else ""
    nodes = [list(rank_memory(run).values()) for run in runs]
    peaks = (
        [max(map(max, of_run)) for of_run in nodes],
        [max(map(sum, of_run)) for of_run in nodes],
        [sum(map(sum, of_run)) for of_run in nodes],
    )
    yield from (number(median(peak) / 2**30, 2) if all(peak) else "" for peak in peaks)
    yield f"{len(runs)}"
