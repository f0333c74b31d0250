"""What a backend offers, and the numeric options that are chosen from it.

In: nothing.  Out: `Capabilities`, `Options`, `FEATURES`.  Knows no backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FEATURES", "Capabilities", "Options"]

FEATURES: Final = {
    "neuron:lif": "leaky integrate-and-fire neurons",
    "voltage-noise": "Gaussian noise on the voltage",
    "current-noise": "Gaussian noise on the current",
    "feedforward": "feed-forward Poisson inputs with plastic weights",
    "tau-plas-per-neuron": "a separate plastic time constant for each neuron",
    "partial-targets": "neurons without a target, which keep their weights",
    "static-weights": "a separate weight for each static synapse",
    "benchmark": "learning that leaves the weights unchanged",
}
"""What a problem may need and a backend may lack, with a description of each."""


@dataclass(frozen=True)
class Options:
    """Numeric options, resolved: how to compute, not what.

    Parameters
    ----------
    precision : {"float64", "float32"}
        Of currents, voltages and weights.
    p_precision : str
        In which P is stored, a key of `rlsbench.precision.PRECISIONS`.
    storage : {"full", "packed"}
        P as n x n matrices or as lower triangles.
    threads : int
        At least 1.
    device : str
        For example "cpu" or "cuda:0".
    algorithm : {"auto", "plain", "event"}
        Form of the update. With "auto" the trainer chooses; it also chooses where the form that
        was requested does not apply. Its `options` then say which form it took, its `notes` why.
    compile : bool
        Let the backend's library compile what it can; only where `Capabilities.compiles`.
    """

    precision: str
    p_precision: str
    storage: str
    threads: int = 1
    device: str = "cpu"
    algorithm: str = "auto"
    compile: bool = False


@dataclass(frozen=True)
class Capabilities:
    """What a backend offers. The first entry of each tuple is the preferred one.

    Parameters
    ----------
    precisions : tuple of str
        Of currents, voltages and weights.
    p_precisions : tuple of str
        Of P. "auto" takes the precision of the currents and, where that does not fit into memory,
        the first one here that takes 16 bits.
    storages : tuple of str
        Of P. "auto" takes the first that fits into memory.
    algorithms : tuple of str
        Forms of the update.
    devices : tuple of str
        Kinds of devices; "cuda" stands for cuda:0, cuda:1 and so on.
    features : frozenset of str
        Which of `FEATURES` it has; all by default.
    compiles : bool
        Whether `Options.compile` does anything.
    library_bytes : int
        Resident memory of its process before any array: Python and libraries, as measured.
    max_plastic_inputs : int or None
        Largest n; None where there is no limit.
    caveat : str
        What a user should know before trusting it; empty if nothing.
    """

    precisions: tuple[str, ...] = ("float32", "float64")
    p_precisions: tuple[str, ...] = ("float32", "float64")
    storages: tuple[str, ...] = ("full",)
    algorithms: tuple[str, ...] = ("plain",)
    devices: tuple[str, ...] = ("cpu",)
    features: frozenset[str] = frozenset(FEATURES)
    compiles: bool = False
    library_bytes: int = 72 * 2**20
    max_plastic_inputs: int | None = None
    caveat: str = ""

    @property
    def has_device(self) -> bool:
        """Whether it can compute elsewhere than on the CPU."""
        return self.devices != ("cpu",)
