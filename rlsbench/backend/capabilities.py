"""`Capabilities`: what a backend supports.  `Options`: the numeric options of a run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from rlsbench.precision import PRECISIONS, STORAGES

__all__ = ["FEATURES", "Capabilities", "Options"]

FEATURES: Final = {
    "neuron:lif": "leaky integrate-and-fire neurons",
    "neuron-models": "other neuron models, and parameters that vary from neuron to neuron",
    "voltage-noise": "Gaussian noise on the voltage",
    "current-noise": "Gaussian noise on the current",
    "populations": "populations other than an excitatory and an inhibitory half",
    "background": "Poisson spikes from outside the network",
    "feedforward": "feed-forward Poisson inputs with plastic weights",
    "tau-plas-per-neuron": "a separate plastic time constant for each neuron",
    "partial-targets": "neurons without a target, which keep their weights",
    "static-weights": "a separate weight for each static synapse",
    "static-edges": "static synapses by rule or from a file, any number for each neuron",
    "static-delays": "static synapses with delays of more than one step",
    "plastic-delays": "plastic synapses with delays of more than one step",
    "benchmark": "learning that leaves the weights unchanged",
    "numpy-rules": "learning rules that are written in NumPy",
    "signs": "weights that keep their signs",
    "varying-in-degree": "numbers of plastic inputs that vary from neuron to neuron",
    "ranks": "a network that is spread over MPI ranks",
}
"""Features that a problem may require and a backend need not support, with descriptions."""


@dataclass(frozen=True)
class Options:
    """Resolved numeric options: how a problem is computed."""

    precision: str  #: of currents, voltages and weights: "float64" or "float32"
    p_precision: str  #: precision in which P is stored, a key of `rlsbench.precision.PRECISIONS`
    storage: str  #: of P: "full", n x n matrices, or "packed", lower triangles
    threads: int = 1  #: at least 1
    device: str = "cpu"  #: for example "cpu" or "cuda:0"
    #: Form of the update: "auto", "plain" or "event". The trainer chooses for "auto", or if the
    #: requested form does not apply; its `options` then hold the form in use, its `notes` why.
    algorithm: str = "auto"
    compile: bool = False  #: let the backend's library compile its operations; needs `Capabilities.compiles`


@dataclass(frozen=True)
class Capabilities:
    """What a backend supports. The first entry of each tuple is preferred."""

    precisions: tuple[str, ...] = ("float32", "float64")  #: of currents, voltages and weights
    #: Precisions of P. "auto" means that of the currents or, if that does not fit into memory, the
    #: first 16-bit precision listed here.
    p_precisions: tuple[str, ...] = ("float32", "float64")
    storages: tuple[str, ...] = ("full",)  #: of P; "auto" means the first that fits into memory
    algorithms: tuple[str, ...] = ("plain",)  #: forms of the update
    devices: tuple[str, ...] = ("cpu",)  #: kinds of devices; "cuda" stands for cuda:0, cuda:1 and so on
    #: supported `FEATURES`; by default all but those that ask for more than RLS as published
    features: frozenset[str] = frozenset(FEATURES) - {
        "background",
        "neuron-models",
        "numpy-rules",
        "plastic-delays",
        "populations",
        "ranks",
        "signs",
        "static-edges",
        "static-delays",
        "varying-in-degree",
    }
    compiles: bool = False  #: whether `Options.compile` is supported
    #: whether kernels are compiled for the sizes of a network, so that running a tiny one first, to
    #: compile outside of measured times, would compile others; setting up then includes compilation
    specialized: bool = False
    #: resident memory of Python and the libraries before any array is allocated, as measured
    library_bytes: int = 76 * 2**20
    max_plastic_inputs: int | None = None  #: largest n; None if there is no limit
    caveat: str = ""  #: a known limitation that users should read; empty if none

    def __post_init__(self) -> None:
        accepted: dict[str, Collection[str] | None] = {
            "precisions": ("float64", "float32"),
            "p_precisions": PRECISIONS,
            "storages": STORAGES,
            "algorithms": ("plain", "event"),
            "devices": None,
        }
        for name, values in accepted.items():
            given = getattr(self, name)
            if not (isinstance(given, tuple) and given and all(isinstance(v, str) for v in given)):
                raise ValueError(f"{name} = {given!r} must be a tuple of names")
            if values is not None and not set(given) <= set(values):
                raise ValueError(f"{name} = {given!r}: accepted are {', '.join(values)}")
        if not isinstance(self.features, frozenset | set) or not isinstance(self.caveat, str):
            raise ValueError(f"features must be a set, not {self.features!r}, and caveat text, not {self.caveat!r}")

    @property
    def has_device(self) -> bool:
        """Whether it supports a device other than the CPU."""
        return self.devices != ("cpu",)
