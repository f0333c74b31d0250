"""A neuron model with its parameters, by its name; and its arithmetic on NumPy arrays.

In: the settings of an experiment.  Out: `Neurons`.  States are arrays (variables, N), row 0 the
voltage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench import plugins
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError
from rlsbench.neurons.definition import NeuronModel
from rlsbench.neurons.lif import LIF
from rlsbench.neurons.nodes import NODE_FILES, node_columns

GROUP: Final = "rlsbench.neurons"

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Value = float | NDArray[np.float64]  # of all neurons, or (N,)

_SETTINGS = {"tau_m_ms": "tau_m_ms", "threshold": "threshold", "reset_voltage": "reset"}  # in the table `neuron`


@dataclass(frozen=True, eq=False)
class Neurons:
    """A neuron model with its parameters; docs/model.md section 2, steps 5 and 6."""

    model: type[NeuronModel] = LIF
    values: Mapping[str, Value] = field(default_factory=dict)  #: parameters that are not the model's defaults
    refractory_ms: float = 0.1  #: refractory period, ms
    name: str = "lif"  #: in the configuration

    def __post_init__(self) -> None:
        """Complete the parameters."""
        defaults = {name: parameter.default for name, parameter in self.model.parameters().items()}
        object.__setattr__(self, "values", MappingProxyType(defaults | dict(self.values)))

    @property
    def varying(self) -> tuple[str, ...]:
        """Names of the parameters that are one number for each neuron, (N,)."""
        return tuple(name for name, value in self.values.items() if isinstance(value, np.ndarray))

    @property
    def plain(self) -> bool:
        """Whether these are leaky integrate-and-fire neurons, all with the same parameters."""
        return self.integrates_and_fires and not self.varying

    @property
    def integrates_and_fires(self) -> bool:
        """Whether these are leaky integrate-and-fire neurons."""
        functions = ("step", "spikes", "reset", "refractory", "initial")
        return all(getattr(self.model, name) is getattr(LIF, name) for name in functions)

    def part(self, neurons: NDArray[np.int64]) -> Neurons:
        """Some of the neurons; parameters that these share are numbers."""
        values: dict[str, Value] = dict(self.values)
        for name in self.varying:
            own = np.asarray(values[name])[neurons]
            values[name] = float(own[0]) if len(own) and (own == own[0]).all() else own
        return replace(self, values=values)

    def consecutive(self, some: slice) -> Neurons:
        """Some neurons that follow one another; what varies among all of them stays an array."""
        return replace(self, values={k: v[some] if isinstance(v, np.ndarray) else v for k, v in self.values.items()})

    @property
    def tau_m_ms(self) -> Any:
        """Membrane time constant, ms; (N,) if it varies."""
        return self.values["tau_m_ms"]

    @property
    def threshold(self) -> Any:
        """Threshold; (N,) if it varies."""
        return self.values["threshold"]

    @property
    def reset_voltage(self) -> Any:
        """Voltage after a spike; (N,) if it varies."""
        return self.values["reset_voltage"]

    def parameters(self, dtype: DTypeLike) -> Any:
        """The named tuple p of the model's functions; arrays have this dtype."""
        rounded = {k: v.astype(dtype) if isinstance(v, np.ndarray) else float(v) for k, v in self.values.items()}
        return self.model.values()(**rounded)

    def initial_state(self, normals: Floats) -> Floats:
        """State (variables, N) at the start of a trial, from standard normals (N,)."""
        state = np.zeros((len(self.model.variables), len(normals)), normals.dtype)
        for row, value in zip(state, self.model.initial(normals, self.parameters(normals.dtype)), strict=False):
            row[:] = value
        return state

    def advance(self, state: Floats, drive: Floats, active: Mask, dt_ms: float, p: Any = None) -> Mask:
        """Advance a state, in place, by a step with the input `drive` = X + u; returns who spiked.

        Parameters
        ----------
        state : ndarray, shape (variables, N)
        drive : ndarray, shape (N,)
        active : ndarray of bool, shape (N,)
            The neurons that are not refractory.
        dt_ms : float
        p : named tuple, optional
            `parameters(state.dtype)`, if it is at hand.
        """
        model = self.model
        p = self.parameters(state.dtype) if p is None else p
        s = model.state()(*state)
        with np.errstate(over="ignore", invalid="ignore"):  # a state that explodes is told after the trial
            new, held = model.step(s, drive, p, dt_ms), model.refractory(s, drive, p, dt_ms)
        state[:] = [np.where(active, stepped, kept) for stepped, kept in zip(new, held, strict=True)]
        spiked = np.asarray(model.spikes(s, p) & active)
        if spiked.any():
            state[:] = [np.where(spiked, value, row) for value, row in zip(model.reset(s, p), state, strict=True)]
        return spiked


def model_names() -> list[str]:
    """Names of all registered models, in alphabetical order."""
    return list(plugins.registered(GROUP))


@lru_cache
def neuron_model(name: str) -> type[NeuronModel]:
    """The model with a registered name, or module:Name.

    Raises
    ------
    ConfigurationError
        If it cannot be imported, or its definition is not complete.
    """
    kind: type[NeuronModel] = plugins.subclass(GROUP, name, NeuronModel, "neuron.model", importable=True)
    kind.check(name)
    return kind


def make_neurons(e: Experiment) -> Neurons:
    """The neurons of an experiment.

    Raises
    ------
    ConfigurationError
        If the model cannot be used, or a parameter is unknown or out of range.
    """
    section = e.neuron
    model = neuron_model(section.model)
    known = model.parameters()

    def checked(where: str, name: str, value: Value, accepted: Collection[str]) -> Value:
        if name in _SETTINGS and name not in accepted:
            raise ConfigurationError(f"{where}: is set by neuron.{_SETTINGS[name]}")
        if name not in accepted:
            raise ConfigurationError(f"{where}: model {section.model} has {', '.join(accepted) or 'no parameters'}")
        low, high = known[name].low, known[name].high
        wrong = ~((np.asarray(value) >= low) & (np.asarray(value) <= high))
        if wrong.any():
            which = "" if np.ndim(value) == 0 else f" of neuron {np.argmax(wrong)}"
            first = np.ravel(value)[np.argmax(wrong)]
            raise ConfigurationError(f"{where} = {first:g}{which}: should be from {low:g} to {high:g}")
        return value

    values: dict[str, Any] = {parameter: getattr(section, key) for parameter, key in _SETTINGS.items()}
    own = [name for name in known if name not in values]
    for name, value in section.parameters.items():
        values[name] = checked(f"neuron.parameters.{name}", name, value, own)
    N = e.network.neurons
    for name, column in (_table(section.table, section.node_types, N, (*known,)) if section.table else {}).items():
        values[name] = checked(f"neuron.table = {section.table!r}: column {name}", name, column, known)
    first = 0
    for population in e.populations:
        for name, number in population.neuron.items():
            checked(f"populations.{population.name}.neuron.{name}", name, number, known)
            values[name] = np.array(np.broadcast_to(values.get(name, known[name].default), e.network.neurons))
            values[name][first : first + population.size] = number
        first += population.size
    return Neurons(model, values, section.refractory_ms, section.model)


@lru_cache(maxsize=4)
def _table(path: str, types: str, neurons: int, known: tuple[str, ...]) -> dict[str, Value]:
    """Columns of a table, CSV or Parquet, with a row for each neuron; or those of SONATA nodes."""
    import pandas as pd

    told = f"neuron.table = {path!r}"
    if Path(path).suffix in NODE_FILES:
        try:
            found = node_columns(path, types, neurons, known)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{told} cannot be read: {plugins.reason(error)}") from None
        return {name: float(v[0]) if (v == v[0]).all() else v for name, v in found.items()}
    if types:
        raise ConfigurationError(f"neuron.node_types = {types!r}: is for SONATA nodes ({', '.join(NODE_FILES)})")
    read = pd.read_parquet if Path(path).suffix == ".parquet" else pd.read_csv
    try:
        frame = read(path)
        columns: dict[str, Value] = {str(name): np.asarray(frame[name], np.float64) for name in frame}
    except (OSError, ValueError, ImportError) as error:
        raise ConfigurationError(f"{told} cannot be read: {plugins.reason(error)}") from None
    if len(frame) != neurons:
        raise ConfigurationError(f"{told} has {len(frame)} rows: should be {neurons}, one for each neuron")
    return columns
