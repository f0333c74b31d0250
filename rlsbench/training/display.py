"""A line about the last iteration, which a notebook shows in place of the one before.

In: iterations.  Out: text in the output of a notebook, or lines on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from rlsbench.training.records import Iteration


def told(iteration: Iteration, total: int, drift_hz: float | None = None) -> str:
    """One line about an iteration; the drift of the firing rate is that in 100 iterations."""
    drift = "" if drift_hz is None else f" ({drift_hz:+.1f} Hz in 100)"
    correlation = "-" if iteration.correlation is None else f"{iteration.correlation:.3f}"
    return (
        f"iteration {iteration.iteration}/{total}  {iteration.seconds:.3f} s  {iteration.firing_rate_hz:.2f} Hz{drift}"
        f"  correlation {correlation}"
    )


def line() -> Callable[[str], None]:
    """A function that shows a text: in a notebook, each replaces the one before."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return lambda text: print(text, file=sys.stderr, flush=True)
    handle = import_module("IPython.display").display({"text/plain": ""}, raw=True, display_id=True)
    return lambda text: handle.update({"text/plain": text}, raw=True)
