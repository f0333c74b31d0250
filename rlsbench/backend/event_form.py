"""Where the event form of the update applies, which form is taken, and how many updates stay pending.

In: `Sizes` and `Options`.  Out: the form, the notes that a user should read, and m.  Knows no backend:
what was measured on a machine is passed in (a backend's `tuning.py`).

The event form (docs/performance.md) reads the columns of P that belong to inputs which have spiked
since the last update, and writes P only every m updates. It needs one decay for all inputs.
"""

from __future__ import annotations

import math

from rlsbench.backend.arrays import Sizes
from rlsbench.backend.capabilities import Options

__all__ = ["choose_form", "pending_updates", "why_not_event"]


def why_not_event(sizes: Sizes) -> str | None:
    """Why the event form does not apply, or None."""
    if sizes.one_decay:
        return None
    if sizes.tau_per_neuron:
        return "each neuron has its own tau_plas, but the event form needs one decay for all inputs"
    return "feed-forward inputs have their own time constant, but the event form needs one decay for all inputs"


def choose_form(sizes: Sizes, options: Options, *, plain_is_faster: bool = False) -> tuple[str, list[str]]:
    """The form of the update that a backend with both forms takes.

    Parameters
    ----------
    sizes : Sizes
    options : Options
    plain_is_faster : bool
        Whether the backend is faster with the plain form where both apply; decides "auto".

    Returns
    -------
    str
        "plain" or "event".
    list of str
        Why it is not the form that was requested; mostly empty.
    """
    asked = options.algorithm
    if asked == "plain" or (asked == "auto" and plain_is_faster):
        return "plain", []
    reason = why_not_event(sizes)
    if reason is None:
        return "event", []
    return "plain", [f"using the plain update: {reason}"] if asked == "event" else []


def pending_updates(n: int, per_root_n: float) -> int:
    """m, the updates that stay pending before P is written; a multiple of 4.

    Reading the pending rank-1 updates costs n m / 2 numbers an update, writing P costs n^2 / m, so
    the best m grows with the square root of n. The factor is measured for each backend.
    """
    return max(4, 4 * round(per_root_n * math.sqrt(n) / 4))
