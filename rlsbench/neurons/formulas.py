"""The functions of a neuron model as formulas of SymPy: for generated code, and for documentation.

In: a model.  Out: formulas, and its equations in LaTeX.  Imports SymPy when it is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from rlsbench.errors import ConfigurationError, UnavailableBackendError
from rlsbench.neurons.definition import NeuronModel

RENAMED = {"reset_voltage": "v_reset", "threshold": "v_th"}
GREEK = ("tau", "theta", "phi", "alpha", "beta", "gamma", "delta", "lambda", "mu", "sigma")


class Formulas(NamedTuple):
    """What the functions of a model return, for symbols."""

    step: tuple[Any, ...]
    refractory: tuple[Any, ...]
    reset: tuple[Any, ...]
    initial: tuple[Any, ...]
    spikes: Any


def formulas(model: type[NeuronModel], symbol: Callable[[str, str], Any]) -> Formulas:
    """Trace the functions of a model.

    Parameters
    ----------
    model : type of NeuronModel
    symbol : callable
        Gives the symbol of a group and a name: ("s", variable), ("p", parameter), ("", "I"), ("",
        "dt_ms") or ("", "normals").

    Raises
    ------
    ConfigurationError
        If a function does more than the arithmetic that docs/neurons.md lists.
    """
    s = model.state()(*(symbol("s", name) for name in model.variables))
    p = model.values()(*(symbol("p", name) for name in model.parameters()))
    I, dt_ms, normals = (symbol("", name) for name in ("I", "dt_ms", "normals"))
    try:
        return Formulas(
            model.step(s, I, p, dt_ms),
            model.refractory(s, I, p, dt_ms),
            model.reset(s, p),
            model.initial(normals, p),
            model.spikes(s, p),
        )
    except Exception as error:  # whatever the user's function raises
        what = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"{model.__name__} cannot be written as formulas: {what}") from None


def require_sympy() -> Any:
    """The package sympy, or an `UnavailableBackendError`."""
    try:
        import sympy
    except ImportError:
        raise UnavailableBackendError("formulas of neuron models need the package sympy: pip install sympy") from None
    return sympy


def derivatives(found: Formulas, model: type[NeuronModel], symbol: Callable[[str, str], Any]) -> list[Any]:
    """The slope of each variable per ms, which has dt_ms in it if steps are not those of Euler."""
    dt, slopes = symbol("", "dt_ms"), []
    for name, new in zip(model.variables, found.step, strict=True):
        slope = (new - symbol("s", name)) / dt
        slopes.append(require_sympy().simplify(slope) if dt in slope.free_symbols else slope)
    return slopes


def equations(model: type[NeuronModel]) -> str:
    """The equations of a model in LaTeX, from its definition.

    Returns
    -------
    str
        Time derivatives, the condition of a spike, and what it changes, aligned.
    """
    sympy = require_sympy()

    def symbol(group: str, name: str) -> Any:
        parts = re.findall(r"[A-Za-z]+|\d+", RENAMED.get(name, name).removesuffix("_per_ms").removesuffix("_ms"))
        first, *rest = (
            rf"\{part}" if part in GREEK else part if len(part) == 1 else rf"\mathrm{{{part}}}" for part in parts
        )
        return sympy.Symbol(first + "".join(f"_{{{part}}}" for part in rest), real=True)

    found = formulas(model, symbol)
    variables = [symbol("s", name) for name in model.variables]
    tex = sympy.latex
    lines = []
    for variable, slope in zip(variables, derivatives(found, model, symbol), strict=True):
        lines.append(rf"\frac{{d {tex(variable)}}}{{dt}} &= {tex(slope)}")
    lines.append(rf"\text{{spike:}} \quad & {tex(found.spikes)}")
    for variable, new in zip(variables, found.reset, strict=True):
        if new != variable:
            lines.append(rf"{tex(variable)} &\leftarrow {tex(sympy.sympify(new))}")
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"
