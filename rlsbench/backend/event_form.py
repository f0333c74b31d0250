"""Choice between the plain and the event form of the update, and the number of pending updates.

In: `Sizes`, `Options`, and constants measured for a backend (its `tuning.py`).  Out: the form, m,
and notes for the user.

The event form (docs/performance.md) reads only the columns of P whose inputs have spiked since the
last update, and writes P every m updates. It requires the same decay for all inputs, and weights
that only change along k.
"""

from __future__ import annotations

import math

from rlsbench.backend.arrays import Sizes
from rlsbench.backend.capabilities import Options
from rlsbench.rules import NumpyRule

__all__ = ["choose_form", "pending_updates", "why_not_event"]


def why_not_event(sizes: Sizes) -> str | None:
    """Why the event form does not apply, or None."""
    if isinstance(sizes.rule, NumpyRule):
        return "the event form is for RLS with P"
    if sizes.rule.keeps_signs:
        return "weights keep their signs, but the event form cannot follow w.x when one is held at 0"
    if sizes.one_decay:
        return None
    if sizes.tau_per_neuron:
        return "each neuron has its own tau_plas, but the event form needs one decay for all inputs"
    return "feed-forward inputs have their own time constant, but the event form needs one decay for all inputs"


def choose_form(sizes: Sizes, options: Options, *, plain_is_faster: bool = False) -> tuple[str, list[str]]:
    """Choose the form of the update for a backend that supports both.

    Parameters
    ----------
    sizes : Sizes
    options : Options
    plain_is_faster : bool
        Whether the backend's plain form is the faster one at these sizes; decides "auto".

    Returns
    -------
    str
        "plain" or "event".
    list of str
        Why it is not the requested form; usually empty.
    """
    requested = options.algorithm
    if requested == "plain" or (requested == "auto" and plain_is_faster):
        return "plain", []
    reason = why_not_event(sizes)
    if reason is None:
        return "event", []
    return "plain", [f"using the plain update: {reason}"] if requested == "event" else []


def pending_updates(n: int, per_root_n: float) -> int:
    """m, the number of rank-1 updates that stay pending before P is written; a multiple of 4.

    Each update reads n m / 2 numbers of pending updates and, on average, writes n^2 / m numbers of
    P, so the best m grows with the square root of n. Each backend measures the factor.
    """
    return max(4, 4 * round(per_root_n * math.sqrt(n) / 4))
