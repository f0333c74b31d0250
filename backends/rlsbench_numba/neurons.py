"""Neurons of any model, compiled: `rlsbench.neurons.Neurons` for a group of neurons.

In: states and what drives them.  Out: states, and which neurons spiked.  Knows nothing of synapses.

This is docs/model.md section 2, step 6. Arrays are padded to a multiple of 16 and whole vectors are
advanced; padding never spikes. Only `advance_group` is compiled for each model. The steps of a
trial call it at its address, so they are compiled once, and a model takes seconds.
"""

from __future__ import annotations

import inspect
import sys
from hashlib import sha256
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import NumbaError
from numba.extending import models, overload, register_model
from numba.np import arrayobj
from numpy.typing import NDArray

from rlsbench.errors import UnsupportedError
from rlsbench.neurons import NeuronModel, Neurons, where
from rlsbench_numba.arithmetic import MaskType, as_lanes
from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import LANES, LanesType, call_llvm, first_lanes, intrinsic, vector_of

FUNCTIONS = ("step", "spikes", "reset", "refractory")


class ModelType(types.Type):  # type: ignore[misc,unused-ignore]
    """Numba's type of a neuron model in a precision.

    Compiled kernels are cached by their types, so this one holds nothing but text: a cache can be
    read where a model of its is unknown.
    """

    def __init__(self, name: str, precision: str) -> None:
        self.scalar = getattr(types, precision)
        super().__init__(name=f"NeuronModel({name}, {precision})")


@register_model(ModelType)
class _Nothing(models.OpaqueModel):  # type: ignore[misc,unused-ignore]
    """A model is no value at run time."""


_known: dict[str, tuple[type[NeuronModel], tuple[str, ...]]] = {}
"""Name of a `ModelType` to the model, and the parameters that vary by neuron."""


def compiled(neurons: Neurons, precision: str) -> int:
    """Address of `advance_group` for a model.

    Raises
    ------
    UnsupportedError
        If Numba cannot compile the model.
    """
    model = neurons.model
    name = f"{neurons.name}, {_digest(model)}, {', '.join(model.variables)}; {', '.join(neurons.varying)}"
    definition = ModelType(name, precision)
    _known[definition.name] = model, neurons.varying
    signature = (definition, *SIGNATURE[1:])
    try:
        advance_group.compile(signature)
    except NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        *_, told = [lines[0], *(line for line in lines if "No implementation" in line or "Untyped" in line)]
        told = told.removesuffix(" found for signature:")[:300]
        raise UnsupportedError(
            f"neuron.model = {neurons.name!r}: Numba cannot compile it: {told}; models may use + - * /, whole powers, "
            "comparisons, & | ~, and exp, where and muladd of rlsbench.neurons, such as where(x < 0, -x, x) for abs(x)"
        ) from None
    result = advance_group.overloads[signature]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def constants(neurons: Neurons, dt_ms: float) -> NDArray[np.float64]:
    """dt, and the parameters that all neurons share."""
    uniform = [value for value in neurons.values.values() if not isinstance(value, np.ndarray)]
    return np.array([dt_ms, *uniform], np.float64)


def _digest(model: type[NeuronModel]) -> str:
    """Of the modules in which the functions of a model are, or of their code."""
    found = set()
    for function in (getattr(model, name) for name in FUNCTIONS):
        try:
            found.add(inspect.getsource(sys.modules[function.__module__]))
        except (OSError, TypeError, KeyError):  # typed in, or made by exec
            code = function.__code__
            found.add(repr((code.co_code, code.co_consts, code.co_names)))
    return sha256("".join(sorted(found)).encode()).hexdigest()[:16]


# The functions of a model; an overload finds them by the type.


def _function(definition: Any, name: str) -> Any:
    model, _ = _known[definition.name]
    function = getattr(model, name)
    return numba.njit(error_model="numpy")(_unchanged if function is NeuronModel.refractory else function)


def _unchanged(s, I, p, dt_ms):
    return s


def step(definition, s, I, p, dt_ms):
    """The variables after a step."""


def refractory_step(definition, s, I, p, dt_ms):
    """The variables after a step in the refractory period."""


def spikes(definition, s, p):
    """Who spikes."""


def reset(definition, s, p):
    """The variables after a spike."""


@overload(step)
def _step(definition, s, I, p, dt_ms):
    function = _function(definition, "step")
    return lambda definition, s, I, p, dt_ms: function(s, I, p, dt_ms)


@overload(refractory_step)
def _refractory_step(definition, s, I, p, dt_ms):
    function = _function(definition, "refractory")
    return lambda definition, s, I, p, dt_ms: function(s, I, p, dt_ms)


@overload(spikes)
def _spikes(definition, s, p):
    function = _function(definition, "spikes")
    return lambda definition, s, p: function(s, p)


@overload(reset)
def _reset(definition, s, p):
    function = _function(definition, "reset")
    return lambda definition, s, p: function(s, p)


# Memory. Pointers, not arrays: a call by address passes each field of an array by itself.


def _place(builder: Any, definition: Any, pointer: Any, index: Any) -> Any:
    """Address of the lanes that start at an index."""
    vector = vector_of(definition.scalar)
    at = builder.gep(builder.bitcast(pointer, vector.element.as_pointer()), [index])
    return builder.bitcast(at, vector.as_pointer())


def _load(builder: Any, definition: Any, pointer: Any, index: Any) -> Any:
    return builder.load(_place(builder, definition, pointer, index), align=definition.scalar.bitwidth // 8)


def _store(builder: Any, definition: Any, pointer: Any, index: Any, value: Any) -> None:
    builder.store(value, _place(builder, definition, pointer, index), align=definition.scalar.bitwidth // 8)


def _row(builder: Any, number: int, stride: Any, c: Any) -> Any:
    return builder.add(c, builder.mul(stride, ir.Constant(stride.type, number)))


@intrinsic
def lanes_at(typing_context, definition, pointer, c):
    """The 16 numbers from `c` on."""
    return LanesType(definition.scalar)(definition, pointer, types.intp), lambda context, builder, _, a: _load(
        builder, definition, *a[1:]
    )


@intrinsic
def put_lanes(typing_context, definition, pointer, c, x):
    """Store 16 numbers from `c` on."""

    def generate(context, builder, signature, arguments):
        _store(builder, definition, *arguments[1:])
        return context.get_dummy_value()

    return types.void(definition, pointer, types.intp, x), generate


@intrinsic
def variables(typing_context, definition, state, stride, c):
    """The named tuple s of the neurons from `c` on."""
    model, _ = _known[definition.name]
    kind = types.NamedUniTuple(LanesType(definition.scalar), len(model.variables), model.state())

    def generate(context, builder, signature, arguments):
        _, state, stride, c = arguments
        rows = [_load(builder, definition, state, _row(builder, i, stride, c)) for i in range(len(kind))]
        return context.make_tuple(builder, kind, rows)

    return kind(definition, state, types.intp, types.intp), generate


@intrinsic
def put_variables(typing_context, definition, state, stride, c, s):
    """Store the named tuple s."""

    def generate(context, builder, signature, arguments):
        _, state, stride, c, s = arguments
        for i in range(len(signature.args[-1])):
            _store(builder, definition, state, _row(builder, i, stride, c), builder.extract_value(s, i))
        return context.get_dummy_value()

    return types.void(definition, state, types.intp, types.intp, s), generate


@intrinsic
def shared(typing_context, definition, constants):
    """The numbers that `constants` returned: dt, and the parameters that all neurons share."""
    model, varying = _known[definition.name]
    kind = types.UniTuple(types.float64, 1 + len(model.parameters()) - len(varying))

    def generate(context, builder, signature, arguments):
        pointer = builder.bitcast(arguments[1], ir.DoubleType().as_pointer())
        places = [builder.gep(pointer, [ir.Constant(ir.IntType(64), i)]) for i in range(len(kind))]
        return context.make_tuple(builder, kind, [builder.load(place) for place in places])

    return kind(definition, constants), generate


@intrinsic
def parameters(typing_context, definition, shared, varying, stride, c):
    """The named tuple p of the neurons from `c` on: numbers, and lanes of what varies."""
    model, rows = _known[definition.name]
    names = [*model.parameters()]
    lanes = LanesType(definition.scalar)
    kind = types.NamedTuple([lanes if name in rows else types.float64 for name in names], model.values())

    def generate(context, builder, signature, arguments):
        _, numbers, varying, stride, c = arguments
        values, uniform = [], 0
        for name in names:
            if name in rows:
                values.append(_load(builder, definition, varying, _row(builder, rows.index(name), stride, c)))
            else:
                uniform += 1
                values.append(builder.extract_value(numbers, uniform))
        return context.make_tuple(builder, kind, values)

    return kind(definition, shared, varying, types.intp, types.intp), generate


@intrinsic
def as_state(typing_context, definition, values):
    """What a function of the model returned as the named tuple s."""
    model, _ = _known[definition.name]
    kind = types.NamedUniTuple(LanesType(definition.scalar), len(model.variables), model.state())

    def generate(context, builder, signature, arguments):
        each = [builder.extract_value(arguments[1], i) for i in range(len(kind))]
        kinds = signature.args[1].types
        rows = [as_lanes(context, builder, x, k, definition.scalar) for x, k in zip(each, kinds, strict=True)]
        return context.make_tuple(builder, kind, rows)

    return kind(definition, values), generate


@intrinsic
def chosen(typing_context, mask, a, b):
    """The named tuple a where the mask is set, b elsewhere."""

    def generate(context, builder, signature, arguments):
        mask, a, b = arguments
        pairs = [(builder.extract_value(a, i), builder.extract_value(b, i)) for i in range(len(signature.args[1]))]
        return context.make_tuple(builder, signature.return_type, [builder.select(mask, x, y) for x, y in pairs])

    return a(mask, a, a), generate


@intrinsic
def bits(typing_context, mask):
    """The truth values of a mask, as the bits of an integer."""
    return types.int64(mask), lambda context, builder, signature, a: builder.zext(
        builder.bitcast(a[0], ir.IntType(LANES)), ir.IntType(64)
    )


@intrinsic
def set_bits(typing_context, x):
    """Number of bits that are set."""
    return types.int64(types.int64), lambda context, builder, signature, a: call_llvm(
        builder, "llvm.ctpop.i64", ir.IntType(64), a
    )


@intrinsic
def below(typing_context, definition, count):
    """A mask of the lanes below `count`."""
    return MaskType(definition.scalar)(definition, types.intp), lambda context, builder, signature, a: first_lanes(
        builder, a[1]
    )


@intrinsic
def integer_at(typing_context, pointer, index):
    """An int32."""

    def generate(context, builder, signature, a):
        pointer = builder.bitcast(a[0], ir.IntType(32).as_pointer())
        return builder.sext(builder.load(builder.gep(pointer, [a[1]])), ir.IntType(64))

    return types.int64(pointer, types.intp), generate


@intrinsic
def put_integer(typing_context, pointer, index, value):
    """Store an int32."""

    def generate(context, builder, signature, a):
        pointer = builder.bitcast(a[0], ir.IntType(32).as_pointer())
        builder.store(builder.trunc(a[2], ir.IntType(32)), builder.gep(pointer, [a[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.intp, types.int64), generate


@kernel
def advance_group(
    definition, state, varying, stride, X, u, refractory, constants, remaining, group, found, count, first, last, rest
):
    """Advance the neurons first .. last-1, a group, by one step.

    state and varying are (variables, stride) and (parameters that vary, stride); X and refractory
    (steps that are left) are (stride,); u (GROUP,) starts at neuron `first`. remaining[group] is
    the number of refractory neurons. The neurons that spiked are appended to `count` others in
    `found`; returns how many there are then. rest is the refractory period in steps.
    """
    numbers = shared(definition, constants)
    dt, before = numbers[0], count
    if integer_at(remaining, group) == 0:
        for c in range(first, last, LANES):
            s, p = variables(definition, state, stride, c), parameters(definition, numbers, varying, stride, c)
            I = lanes_at(definition, X, c) + lanes_at(definition, u, c - first)
            new = as_state(definition, step(definition, s, I, p, dt))
            spiked = spikes(definition, new, p)
            if bits(spiked):
                spiked = spiked & below(definition, last - c)
                new = chosen(spiked, as_state(definition, reset(definition, new, p)), new)
                put_lanes(definition, refractory, c, where(spiked, rest, lanes_at(definition, refractory, c)))
                count = list_spikes(bits(spiked), c, found, count)
            put_variables(definition, state, stride, c, new)
        if count > before and rest > 0:  # a store would take the cache line from the other threads
            put_integer(remaining, group, count - before)
    else:
        still = 0
        for c in range(first, last, LANES):
            s, p = variables(definition, state, stride, c), parameters(definition, numbers, varying, stride, c)
            I = lanes_at(definition, X, c) + lanes_at(definition, u, c - first)
            left = lanes_at(definition, refractory, c)
            active = left <= 0
            held = as_state(definition, refractory_step(definition, s, I, p, dt))
            new = chosen(active, as_state(definition, step(definition, s, I, p, dt)), held)
            left = where(active, left, left - 1)
            spiked = spikes(definition, new, p) & active
            if bits(spiked):
                spiked = spiked & below(definition, last - c)
                new = chosen(spiked, as_state(definition, reset(definition, new, p)), new)
                left = where(spiked, rest, left)
                count = list_spikes(bits(spiked), c, found, count)
            put_variables(definition, state, stride, c, new)
            put_lanes(definition, refractory, c, left)
            still += set_bits(bits(left > 0))
        put_integer(remaining, group, still)
    return count


@kernel
def list_spikes(spiked, c, found, count):
    """Append the lanes whose bits are set, of the neurons from c on, to `count` others."""
    for lane in range(LANES):
        if spiked >> lane & 1:
            put_integer(found, count, c + lane)
            count += 1
    return count


POINTER, INTEGER = types.voidptr, types.intp
SIGNATURE = (
    *(POINTER, POINTER, POINTER, INTEGER, POINTER, POINTER, POINTER, POINTER),
    *(POINTER, INTEGER, POINTER, INTEGER, INTEGER, INTEGER, INTEGER),
)
"""Types of the arguments of `advance_group`; the first, a `ModelType`, is passed as a pointer."""


@intrinsic
def call_group(
    typing_context,
    address,
    state,
    varying,
    X,
    u,
    refractory,
    constants,
    remaining,
    group,
    found,
    count,
    first,
    last,
    rest,
):
    """`advance_group` of the model at an address, with arrays in place of pointers."""
    kinds = (state, varying, X, u, refractory, constants, remaining, INTEGER, found, *(INTEGER,) * 4)

    def generate(context, builder, signature, arguments):
        address, *values = arguments
        passed = []
        for value, kind in zip(values, kinds, strict=True):
            if isinstance(kind, types.Array):
                array = arrayobj.make_array(kind)(context, builder, value)
                value = builder.bitcast(array.data, ir.IntType(8).as_pointer())
                if kind is state:
                    stride = builder.extract_value(array.shape, 1)
            passed.append(value)
        passed = [ir.Constant(ir.IntType(8).as_pointer(), None), *passed[:2], stride, *passed[2:]]
        function = context.call_conv.get_function_type(types.int64, SIGNATURE)
        pointer = builder.inttoptr(address, function.as_pointer())
        _, found = context.call_conv.call_function(builder, pointer, types.int64, SIGNATURE, passed)
        return found

    return types.int64(INTEGER, *kinds), generate
