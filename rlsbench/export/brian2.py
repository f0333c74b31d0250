"""Brian2: the files of `npz`, and a script with the equations of the neurons (docs/export.md).

In: a `TrainedNetwork`.  Out: a folder.  Imports SymPy, not Brian2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rlsbench.errors import UnsupportedError
from rlsbench.export.network import TrainedNetwork
from rlsbench.export.npz import Units, write_arrays
from rlsbench.export.scripts import write_script
from rlsbench.neurons import NeuronModel
from rlsbench.neurons.formulas import derivatives, formulas, require_sympy

__all__ = ["Equations", "equations_of", "write"]


class Equations(NamedTuple):
    """A neuron model in Brian2's language; times are numbers in ms."""

    equations: str  #: of the variables, for the input I
    threshold: str
    reset: str
    initial: str  #: voltage at the start of a trial


def write(network: TrainedNetwork, folder: Path) -> None:
    """Write NPZ files, and a script that runs the network in Brian2.

    Raises
    ------
    UnsupportedError
        If the neuron model cannot be written as Brian2 equations.
    """
    found = equations_of(network.problem.neuron.model, network.problem.neuron.name)
    names = list(network.problem.neuron.values)
    parameters = "\n".join(f"{name} : 1 (constant)" for name in names)
    write_script(folder, "brian2.py.j2", **found._asdict(), parameters=parameters, parameter_names=names)
    write_arrays(network, folder, network.settings(), network.neurons(), Units())


def equations_of(model: type[NeuronModel], name: str) -> Equations:
    """The equations of a neuron model.

    Parameters
    ----------
    model : type of NeuronModel
        Whose step is that of the forward Euler method. In the refractory period, each variable
        stays as it is or goes on.
    name : str
        What errors call it.

    Raises
    ------
    UnsupportedError
        If it has another step.
    """
    sympy = require_sympy()

    def symbol(group: str, called: str) -> Any:
        return sympy.Symbol(called, real=True)

    found = formulas(model, symbol)
    dt, lines, assigned, reset = symbol("", "dt_ms"), list[str](), list[str](), list[str]()
    for variable, slope, kept, stepped in zip(
        model.variables, derivatives(found, model, symbol), found.refractory, found.step, strict=True
    ):
        held = sympy.simplify(kept - symbol("s", variable)) == 0
        if dt in slope.free_symbols or not (held or sympy.simplify(kept - stepped) == 0):
            raise UnsupportedError(
                f"neuron.model = {name!r} has no Brian2 equations: {variable} has another step than that of the "
                "forward Euler method, or another one in the refractory period; choose --to npz or sonata"
            )
        lines.append(f"d{variable}/dt = ({slope})/ms : 1{' (unless refractory)' * held}")
    texts = [str(found.spikes), *map(str, (*found.step, *found.reset))]
    if any("Piecewise" in text for text in texts):
        raise UnsupportedError(
            f"neuron.model = {name!r} has no Brian2 equations: it uses where; choose --to npz or sonata"
        )
    for variable, new in zip(model.variables, map(sympy.sympify, found.reset), strict=True):
        if new == symbol("s", variable):
            continue
        if any(symbol("s", earlier) in new.free_symbols for earlier in assigned):
            raise UnsupportedError(
                f"neuron.model = {name!r} has no Brian2 equations: its reset of {variable} uses others that are reset"
            )
        assigned.append(variable)
        reset.append(f"{variable} = {new}")
    initial = str(sympy.sympify(found.initial[0])).replace("normals", "randn()")
    return Equations("\n".join(lines), str(found.spikes), "\n".join(reset), initial)
