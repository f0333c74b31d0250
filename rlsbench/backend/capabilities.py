"""`Capabilities`: what a backend supports.  `Options`: the numeric options of a run."""

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
"""Features that a problem may require and a backend need not support, with descriptions."""


@dataclass(frozen=True)
class Options:
    """Resolved numeric options: how a problem is computed.

    Parameters
    ----------
    precision : {"float64", "float32"}
        Precision of currents, voltages and weights.
    p_precision : str
        Precision in which P is stored, a key of `rlsbench.precision.PRECISIONS`.
    storage : {"full", "packed"}
        Whether P is stored as n x n matrices or as lower triangles.
    threads : int
        At least 1.
    device : str
        For example "cpu" or "cuda:0".
    algorithm : {"auto", "plain", "event"}
        Form of the update. The trainer chooses the form for "auto", or if the requested form does
        not apply; its `options` then hold the form in use, and its `notes` the reason.
    compile : bool
        Let the backend's library compile its operations; needs `Capabilities.compiles`.
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
    """What a backend supports. The first entry of each tuple is preferred.

    Parameters
    ----------
    precisions : tuple of str
        Precisions of currents, voltages and weights.
    p_precisions : tuple of str
        Precisions of P. "auto" means that of the currents or, if that does not fit into memory, the
        first 16-bit precision listed here.
    storages : tuple of str
        Storages of P. "auto" means the first that fits into memory.
    algorithms : tuple of str
        Forms of the update.
    devices : tuple of str
        Kinds of devices; "cuda" stands for cuda:0, cuda:1 and so on.
    features : frozenset of str
        Supported `FEATURES`; all by default.
    compiles : bool
        Whether `Options.compile` is supported.
    library_bytes : int
        Resident memory of Python and the libraries before any array is allocated, as measured.
    max_plastic_inputs : int or None
        Largest n; None if there is no limit.
    caveat : str
        A known limitation that users should read; empty if none.
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
        """Whether it supports a device other than the CPU."""
        return self.devices != ("cpu",)
