"""What a neuron model is: parameters, variables, and functions of one time step.

In: nothing.  Out: `NeuronModel`, from which models derive, and the functions that they use.  Knows
neither networks nor backends.

The functions of a model are written once, in ordinary arithmetic. NumPy and PyTorch call them with
arrays, Numba compiles them for vectors, and SymPy traces them for CUDA and for the documentation.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections import namedtuple
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rlsbench.errors import ConfigurationError

__all__ = ["NeuronModel", "Parameter", "exp", "muladd", "where"]

LARGEST = 1e9  # as of every number in a configuration


class Parameter(NamedTuple):
    """A parameter of a neuron model, a number for all neurons or one for each."""

    default: float
    unit: str = ""  #: such as "ms"; empty for a number or a voltage in units of (threshold - reset)
    meaning: str = ""  #: for the documentation
    low: float = -LARGEST  #: least value that is accepted
    high: float = LARGEST  #: largest value


def _library(*values: Any) -> Any:
    """The library of the first value that is an array or a symbol; math for numbers alone."""
    kinds = [type(value) for value in values if not isinstance(value, float | int)]
    return sys.modules[kinds[0].__module__.partition(".")[0]] if kinds else math


def exp(x: Any) -> Any:
    """e^x, of a number, an array, a tensor or a symbol."""
    return _library(x).exp(x)


def where(condition: Any, a: Any, b: Any) -> Any:
    """A where the condition holds, b elsewhere."""
    library = _library(condition, a, b)
    if library is math:
        return a if condition else b
    if library.__name__ == "sympy":
        return library.Piecewise((a, condition), (b, True))
    if _library(a, b) is math:  # in the precision of numbers
        a = library.asarray(a, dtype=library.float64)
    return library.where(condition, a, b)


def muladd(a: Any, b: Any, c: Any) -> Any:
    """A b + c; compiled, or of tensors, it is rounded once."""
    library = _library(b, c)
    if hasattr(library, "addcmul") and not isinstance(b, float | int) and not isinstance(c, float | int):
        return library.add(c, b, alpha=a) if isinstance(a, float | int) else library.addcmul(c, a, b)
    return a * b + c


class NeuronModel:
    """A neuron model; see docs/neurons.md.

    A subclass has attributes that are `Parameter`s, and static methods `step`, `spikes` and
    `reset`, perhaps also `refractory` and `initial`. Their arguments are s, the variables, and p,
    the parameters, both named tuples; I, the input X + u; and dt_ms, the time step. Each entry is a
    number or an array: the functions must not branch on it, but use `where`.
    """

    variables: ClassVar[tuple[str, ...]] = ("v",)
    """Names of the state variables. The first is the voltage, in units of (threshold - reset)."""

    tau_m_ms: ClassVar[Any] = Parameter(10.0, "ms", "membrane time constant", low=1 / LARGEST)
    threshold: ClassVar[Any] = Parameter(1.0, "", "threshold")
    reset_voltage: ClassVar[Any] = Parameter(0.0, "", "reset voltage")

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """The variables after a step with the input I."""
        raise NotImplementedError

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """Whether a neuron spikes, after the step."""
        raise NotImplementedError

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """The variables after a spike."""
        raise NotImplementedError

    @staticmethod
    def refractory(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """The variables after a step in the refractory period; unchanged by default."""
        return tuple(s)

    @staticmethod
    def initial(normals: Any, p: Any) -> tuple[Any, ...]:
        """The voltage at the start of a trial, from standard normals; other variables are 0."""
        return (normals * (p.threshold - p.reset_voltage) + p.reset_voltage,)

    @classmethod
    @cache
    def parameters(cls) -> dict[str, Parameter]:
        """The parameters by name, in the order of their definition."""
        found: dict[str, Parameter] = {}
        for kind in reversed(cls.__mro__):
            found |= {name: value for name, value in vars(kind).items() if isinstance(value, Parameter)}
        return found

    @classmethod
    @cache
    def state(cls) -> Any:
        """The type of s, a named tuple."""
        return namedtuple("State", cls.variables)

    @classmethod
    @cache
    def values(cls) -> Any:
        """The type of p, a named tuple."""
        return namedtuple("Values", cls.parameters())

    @classmethod
    def _hint(cls, error: Exception, part: str) -> str:
        """What to do about an error of a function, as the end of a message."""
        if isinstance(error, AttributeError):
            return f"; s has {', '.join(cls.variables)}, and p has {', '.join(cls.parameters())}"
        if isinstance(error, TypeError) and "argument" in str(error):
            own = ", ".join(inspect.signature(getattr(NeuronModel, part)).parameters)
            return f"; it should be {part}({own}), a @staticmethod without self"
        if "truth value" in str(error):
            return "; write where instead of if, min and max; & instead of and, | instead of or"
        if isinstance(error, TypeError) and "scalar" in str(error):
            return "; s, p and I are arrays: use arithmetic, exp, where and muladd of rlsbench.neurons, not math"
        return ""

    @classmethod
    def check(cls, name: str) -> None:
        """Raise a `ConfigurationError` if the definition lacks something, or returns too much."""
        told = f"neuron.model = {name!r}"
        variables = cls.variables
        if not isinstance(variables, tuple) or not variables or variables[0] != "v":
            raise ConfigurationError(f"{told}: variables = {variables!r}: should be a tuple of names, first 'v'")
        for common in NeuronModel.parameters():
            if getattr(cls, common) is not getattr(NeuronModel, common):
                setting = "neuron.reset" if common == "reset_voltage" else f"neuron.{common}"
                raise ConfigurationError(f"{told}: {common} is inherited: set {setting}, or use another name")
        for parameter_name, parameter in cls.parameters().items():
            if not parameter.low <= parameter.default <= parameter.high:
                limits = f"{parameter.low:g} to {parameter.high:g}"
                raise ConfigurationError(f"{told}: {parameter_name} = {parameter.default:g}: accepted are {limits}")
        for part in ("step", "spikes", "reset"):
            if getattr(cls, part) is getattr(NeuronModel, part):
                raise ConfigurationError(f"{told}: the model has no {part}")
        one = np.full(2, 0.5)  # of which no truth value can be taken
        s, I = cls.state()(*[one] * len(variables)), one
        p = cls.values()(*(parameter.default for parameter in cls.parameters().values()))
        calls = {"step": (s, I, p, 0.1), "spikes": (s, p), "reset": (s, p), "refractory": (s, I, p, 0.1)}
        for part, arguments in calls.items():
            try:
                with np.errstate(all="ignore"):
                    found = getattr(cls, part)(*arguments)
            except Exception as error:  # whatever the user's function raises
                hint = cls._hint(error, part)
                raise ConfigurationError(f"{told}: {part} fails: {type(error).__name__}: {error}{hint}") from None
            if part == "spikes":
                if np.asarray(found).dtype != np.bool_:
                    raise ConfigurationError(f"{told}: spikes returns {found!r}: should be a comparison")
            elif not isinstance(found, tuple) or len(found) != len(variables):
                count = len(found) if isinstance(found, tuple) else 1
                names = ", ".join(variables)
                raise ConfigurationError(f"{told}: {part} returns {count} values: should be {len(variables)}, {names}")
