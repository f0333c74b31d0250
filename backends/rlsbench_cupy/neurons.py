"""The functions of a neuron model in CUDA C++, for kernels/step.cu and kernels/begin.cu.

In: `rlsbench.neurons.Neurons`.  Out: text.  SymPy traces the functions and prints them.
"""

from __future__ import annotations

from typing import Any

from rlsbench.neurons import Neurons
from rlsbench.neurons.formulas import formulas, require_sympy


def code(neurons: Neurons, precision: str) -> str:
    """Structures Neuron (s) and Parameters (p), and a function for each of the model's.

    Leaky integrate-and-fire neurons have none: kernels/step.cu has their text.
    """
    if neurons.plain:
        return ""
    sympy = require_sympy()
    model, varying = neurons.model, neurons.varying
    symbols = {"I": "input", "dt_ms": "((REAL)DT)", "normals": "normal"}
    found = formulas(model, lambda group, name: sympy.Symbol(f"{group}.{name}" if group else symbols[name], real=True))
    write = _printer(sympy, precision)
    variables, parameters = [*model.variables], [*model.parameters()]
    started = [*found.initial, *(0 for _ in variables[len(found.initial) :])]

    def state(values: Any) -> str:
        return "".join(f"    next.{name} = {write(value)};\n" for name, value in zip(variables, values, strict=True))

    def function(name: str, arguments: str, values: Any) -> str:
        return (
            f"__device__ __forceinline__ Neuron neuron_{name}({arguments}const Parameters &p) {{\n"
            f"    Neuron next;\n{state(values)}    return next;\n}}\n"
        )

    rows = {name: f"own[{varying.index(name)}LL * N + c]" for name in varying}
    values = {name: rows.get(name) or write(sympy.Float(neurons.values[name])) for name in parameters}
    return (
        f"struct Neuron {{ REAL {', '.join(variables)}; }};\n"
        f"struct Parameters {{ REAL {', '.join(parameters)}; }};\n"
        "__device__ __forceinline__ Parameters parameters_of(const REAL *own, int c, int N) {\n"
        "    Parameters p;\n"
        + "".join(f"    p.{name} = {value};\n" for name, value in values.items())
        + "    return p;\n}\n"
        "__device__ __forceinline__ Neuron load_neuron(const REAL *v, int c, int N) {\n"
        "    Neuron s;\n"
        + "".join(f"    s.{name} = v[{row}LL * N + c];\n" for row, name in enumerate(variables))
        + "    return s;\n}\n"
        "__device__ __forceinline__ void store_neuron(REAL *v, int c, int N, const Neuron &s) {\n"
        + "".join(f"    v[{row}LL * N + c] = s.{name};\n" for row, name in enumerate(variables))
        + "}\n"
        + function("step", "const Neuron &s, REAL input, ", found.step)
        + function("refractory", "const Neuron &s, REAL input, ", found.refractory)
        + function("reset", "const Neuron &s, ", found.reset)
        + function("initial", "REAL normal, ", started)
        + "__device__ __forceinline__ bool neuron_spikes(const Neuron &s, const Parameters &p) {\n"
        f"    return {write(found.spikes)};\n}}\n"
    )


def _printer(sympy: Any, precision: str) -> Any:
    """A function that writes a formula in C, with numbers and functions of the precision."""
    from sympy.codegen.ast import float32, float64, real
    from sympy.codegen.rewriting import create_expand_pow_optimization
    from sympy.printing.c import C99CodePrinter

    kind = {"float32": float32, "float64": float64}[precision]
    printer = C99CodePrinter({"type_aliases": {real: kind}})
    expanded = create_expand_pow_optimization(8)
    return lambda formula: printer.doprint(expanded(sympy.sympify(formula)))
