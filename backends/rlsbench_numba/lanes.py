"""Vectors of 16 numbers in kernels: widening loads, rounding stores, fused multiply-adds.

In: contiguous arrays and offsets.  Out: LLVM vectors.  Knows nothing of RLS.

A kernel written in lanes is vectorised because it says so, not because a compiler found a way, and
each of its results is rounded in an order that the source gives. So it gives the same bits on every
machine, in any number of threads, and whether it was compiled in this process or loaded from the
cache. LLVM splits 16 lanes into the vectors that the processor has.

Arrays hold numbers in one of these encodings, told apart by dtype, and kernels compute on
widened numbers:

    dtype                         widened to   rounded by
    float64, float32              itself
    [("float16", uint16)]         float32      to nearest, ties to even
    [("bfloat16", uint16)]        float32      to nearest, ties to even
    int16                         float32      to the nearest integer, ties to even
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import models, register_model
from numba.np import arrayobj

from rlsbench_numba.tuning import CACHE_LINE
from rlsbench_numba.tuning import LANES as LANES

ENCODINGS: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype([("float16", np.uint16)]),
    "bfloat16": np.dtype([("bfloat16", np.uint16)]),
    "int16": np.dtype(np.int16),
}
"""Name of a precision to the dtype of an array of such numbers in a kernel."""

# Kernels call an intrinsic with fewer arguments than its source shows.
intrinsic: Any = extending.intrinsic

_I16, _I32 = ir.IntType(16), ir.IntType(32)
_SCALAR = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class LanesType(types.Type):  # type: ignore[misc,unused-ignore]
    """Numba's type of 16 float32 or float64 numbers."""

    def __init__(self, scalar: Any) -> None:
        self.scalar = scalar
        super().__init__(name=f"Lanes({scalar})")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc,unused-ignore]
    def __init__(self, manager: Any, lanes: LanesType) -> None:
        super().__init__(manager, lanes, _vector(_SCALAR[lanes.scalar]))


def _vector(scalar: Any) -> Any:
    return ir.VectorType(scalar, LANES)


def vector_of(scalar: Any) -> Any:
    """LLVM's type of lanes of Numba's type of a scalar."""
    return _vector(_SCALAR[scalar])


def _encoding(dtype: Any) -> str:
    """Name of an array's encoding."""
    return str(next(iter(dtype.fields)) if isinstance(dtype, types.Record) else dtype)


def _wide(dtype: Any) -> Any:
    """Numba's type of the widened numbers."""
    return types.float64 if dtype == types.float64 else types.float32


def _stored(dtype: Any) -> Any:
    """LLVM's type of a stored number."""
    return _SCALAR.get(dtype, _I16)


def _same(*operands: Any) -> None:
    """Refuse operands of different types, which Numba would not convert."""
    if len(set(operands)) > 1:
        raise TypingError(f"operands differ in type: {', '.join(map(str, operands))}")


def call_llvm(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call a function of LLVM by its name."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def suffix_of(kind: Any) -> str:
    """The part of an LLVM intrinsic's name that stands for a type."""
    scalar = kind.element if isinstance(kind, ir.VectorType) else kind
    bits = {"float": "f32", "double": "f64", "half": "f16"}[str(scalar)]
    return f"v{LANES}{bits}" if isinstance(kind, ir.VectorType) else bits


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, pointee: Any) -> Any:
    """Address of the entry at `offset` from the start of a contiguous array."""
    data = arrayobj.make_array(array_type)(context, builder, array).data
    data = builder.bitcast(data, _stored(array_type.dtype).as_pointer())
    return builder.bitcast(builder.gep(data, [offset]), pointee.as_pointer())


def _bytes(dtype: Any) -> int:
    return 2 if _stored(dtype) == _I16 else int(dtype.bitwidth) // 8


def _widen(builder: Any, dtype: Any, x: Any) -> Any:
    """Stored number, or vector of them, to the widened one."""
    shape: Callable[[Any], Any] = _vector if isinstance(x.type, ir.VectorType) else (lambda scalar: scalar)
    encoding = _encoding(dtype)
    if encoding == "int16":
        return builder.sitofp(x, shape(ir.FloatType()))
    if encoding == "float16":
        return builder.fpext(builder.bitcast(x, shape(ir.HalfType())), shape(ir.FloatType()))
    if encoding == "bfloat16":
        bits = builder.shl(builder.zext(x, shape(_I32)), _constant(x.type, _I32, 16))
        return builder.bitcast(bits, shape(ir.FloatType()))
    return x


def _round(builder: Any, dtype: Any, x: Any) -> Any:
    """Vector of widened numbers to what is stored."""
    encoding = _encoding(dtype)
    if encoding == "int16":
        nearest = call_llvm(builder, f"llvm.rint.{suffix_of(x.type)}", x.type, [x])
        return builder.trunc(builder.fptosi(nearest, _vector(_I32)), _vector(_I16))
    if encoding == "float16":
        return builder.bitcast(builder.fptrunc(x, _vector(ir.HalfType())), _vector(_I16))
    if encoding == "bfloat16":  # add half of the last place kept, less one where that place is even
        bits = builder.bitcast(x, _vector(_I32))
        last = builder.and_(builder.lshr(bits, _constant(x.type, _I32, 16)), _constant(x.type, _I32, 1))
        bits = builder.add(bits, builder.add(last, _constant(x.type, _I32, 0x7FFF)))
        return builder.trunc(builder.lshr(bits, _constant(x.type, _I32, 16)), _vector(_I16))
    return x


def _constant(like: Any, scalar: Any, value: int) -> Any:
    """A scalar constant, or a vector of it, after the shape of the type `like`."""
    if isinstance(like, ir.VectorType):
        return ir.Constant(_vector(scalar), [value] * LANES)
    return ir.Constant(scalar, value)


def spread(builder: Any, x: Any) -> Any:
    """The scalar x in each lane."""
    undefined = ir.Constant(_vector(x.type), ir.Undefined)
    one = builder.insert_element(undefined, x, _I32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(_vector(_I32), [0] * LANES))


def first_lanes(builder: Any, count: Any) -> Any:
    """Mask of the lanes below `count`."""
    index = ir.Constant(_vector(_I32), list(range(LANES)))
    return builder.icmp_signed("<", index, spread(builder, builder.trunc(count, _I32)))


def _load(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    """The 16 stored numbers from `offset` on."""
    kind = _vector(_stored(array_type.dtype))
    pointer = _address(context, builder, array_type, array, offset, kind)
    return builder.load(pointer, align=_bytes(array_type.dtype))


@intrinsic
def load(typing_context, array, offset):
    """The 16 numbers of a contiguous array from the flat `offset` on, widened."""
    return LanesType(_wide(array.dtype))(array, types.intp), lambda context, builder, signature, arguments: _widen(
        builder, array.dtype, _load(context, builder, array, *arguments)
    )


@intrinsic
def load_below(typing_context, array, offset, count):
    """As `load`, with 0 in the lanes from `count` on; all 16 numbers are read."""

    def generate(context, builder, signature, arguments):
        x = _widen(builder, array.dtype, _load(context, builder, array, *arguments[:2]))
        return builder.select(first_lanes(builder, arguments[2]), x, ir.Constant(x.type, None))

    return LanesType(_wide(array.dtype))(array, types.intp, types.intp), generate


@intrinsic
def store(typing_context, array, offset, x):
    """Round 16 numbers and store them from the flat `offset` on."""

    def generate(context, builder, signature, arguments):
        new = _round(builder, array.dtype, arguments[2])
        pointer = _address(context, builder, array, arguments[0], arguments[1], new.type)
        builder.store(new, pointer, align=_bytes(array.dtype))
        return context.get_dummy_value()

    return types.void(array, types.intp, x), generate


@intrinsic
def store_below(typing_context, array, offset, x, count):
    """As `store` for the lanes below `count`; memory beyond them is not touched."""

    def generate(context, builder, signature, arguments):
        new = _round(builder, array.dtype, arguments[2])
        pointer = _address(context, builder, array, arguments[0], arguments[1], new.type)
        bits = new.type.element.width if isinstance(new.type.element, ir.IntType) else None
        name = f"llvm.masked.store.v{LANES}{f'i{bits}' if bits else suffix_of(new.type.element)}.p0"
        align = ir.Constant(_I32, _bytes(array.dtype))
        call_llvm(builder, name, ir.VoidType(), [new, pointer, align, first_lanes(builder, arguments[3])])
        return context.get_dummy_value()

    return types.void(array, types.intp, x, types.intp), generate


@intrinsic
def load_one(typing_context, array, offset):
    """The one number of a contiguous array at the flat `offset`, widened."""

    def generate(context, builder, signature, arguments):
        pointer = _address(context, builder, array, arguments[0], arguments[1], _stored(array.dtype))
        return _widen(builder, array.dtype, builder.load(pointer))

    return _wide(array.dtype)(array, types.intp), generate


@intrinsic
def load_from(typing_context, array, offsets, first, more):
    """The numbers of a contiguous array at 16 flat offsets, offsets[first] on, plus `more`."""

    def generate(context, builder, signature, arguments):
        array, offsets = signature.args[:2]
        values, places, first, more = arguments
        scalar = _stored(array.dtype)
        start = _address(context, builder, array, values, more, scalar)
        place = builder.gep(arrayobj.make_array(offsets)(context, builder, places).data, [first])
        gathered = ir.Constant(_vector(scalar), ir.Undefined)
        for lane in range(LANES):
            at = builder.load(builder.gep(place, [_I32(lane)]))
            gathered = builder.insert_element(gathered, builder.load(builder.gep(start, [at])), _I32(lane))
        return _widen(builder, array.dtype, gathered)

    return LanesType(_wide(array.dtype))(array, offsets, types.intp, types.intp), generate


@intrinsic
def select_below(typing_context, count, a, b):
    """Lanes of a below `count`, of b from there on."""
    _same(a, b)

    def generate(context, builder, signature, arguments):
        count, a, b = arguments
        return builder.select(first_lanes(builder, count), a, b)

    return a(types.intp, a, b), generate


@intrinsic
def widened(typing_context, array, x):
    """The scalar x in the type to which numbers of the array are widened."""
    wide = _wide(array.dtype)
    return wide(array, x), lambda context, builder, signature, arguments: context.cast(builder, arguments[1], x, wide)


def _constant_of(value: float) -> Any:
    """An intrinsic that gives a constant in the type of its argument, without arithmetic on it."""

    def constant(typing_context, x):
        kind = _wide(x.dtype) if isinstance(x, types.Array) else x
        return kind(x), lambda context, builder, signature, arguments: context.get_constant(kind, value)

    return intrinsic(constant)


zero_of = _constant_of(0.0)
"""0 in the type of a scalar, or in that to which an array's numbers are widened."""
one_of = _constant_of(1.0)
"""1 likewise."""


@intrinsic
def splat(typing_context, x):
    """The scalar x in each lane."""
    return LanesType(x)(x), lambda context, builder, signature, arguments: spread(builder, arguments[0])


@intrinsic
def cast(typing_context, x, like):
    """Lanes x in the precision of the lanes `like`."""

    def generate(context, builder, signature, arguments):
        if x.scalar == like.scalar:
            return arguments[0]
        convert = builder.fpext if like.scalar == types.float64 else builder.fptrunc
        return convert(arguments[0], _vector(_SCALAR[like.scalar]))

    return like(x, like), generate


@intrinsic
def fma(typing_context, a, b, c):
    """A b + c, rounded once: of three lanes, or of three scalars of one precision."""
    _same(a, b, c)

    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        return call_llvm(builder, f"llvm.fma.{suffix_of(kind)}", kind, list(arguments))

    return a(a, b, c), generate


@intrinsic
def total(typing_context, x):
    """Sum of the lanes: first of those 8 apart, then 4, 2 and 1."""

    def generate(context, builder, signature, arguments):
        value, width = arguments[0], LANES
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(_I32, width), list(range(a, a + width))))
                for a in (0, width)
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, _I32(0))

    return x.scalar(x), generate


@intrinsic
def prefetch(typing_context, array, offset):
    """Prefetch the cache line at the flat `offset` of a contiguous array, into the second level.

    The second level can wait for several times as many lines at once as the first.
    """

    def generate(context, builder, signature, arguments):
        pointer = _address(context, builder, array, arguments[0], arguments[1], ir.IntType(8))
        flags = [ir.Constant(_I32, value) for value in (0, 2, 1)]  # to read, second level, data
        call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *flags])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def per_line(typing_context, array):
    """How many numbers of an array a cache line holds; a compile-time constant."""
    numbers = ir.Constant(ir.IntType(64), CACHE_LINE // _bytes(array.dtype))
    return types.intp(array), lambda context, builder, signature, arguments: numbers


@intrinsic
def count_above(typing_context, x, limit):
    """Number of lanes in which x is above `limit`."""

    def generate(context, builder, signature, arguments):
        mask = builder.bitcast(builder.fcmp_ordered(">", *arguments), ir.IntType(LANES))
        count = call_llvm(builder, f"llvm.ctpop.i{LANES}", ir.IntType(LANES), [mask])
        return builder.zext(count, ir.IntType(64))

    return types.int64(x, limit), generate


def _binary(operation: str) -> Any:
    """An intrinsic that applies an operation of LLVM to two lanes of one precision."""

    def binary(typing_context, a, b):
        _same(a, b)
        return a(a, b), lambda context, builder, signature, arguments: getattr(builder, operation)(*arguments)

    return intrinsic(binary)


minus = _binary("fsub")
plus = _binary("fadd")


@intrinsic
def select_above(typing_context, x, limit, a, b):
    """Lanes of a where x is above `limit`, lanes of b elsewhere."""
    return a(x, limit, a, b), lambda context, builder, signature, arguments: builder.select(
        builder.fcmp_ordered(">", *arguments[:2]), *arguments[2:]
    )


@intrinsic
def lane_of(typing_context, x, lane):
    """One lane of x."""
    return x.scalar(x, types.int64), lambda context, builder, signature, arguments: builder.extract_element(
        arguments[0], builder.trunc(arguments[1], _I32)
    )


@intrinsic
def is_fixed_point(typing_context, array):
    """Whether the array holds integers, which need a unit; a compile-time constant."""
    fixed = ir.Constant(ir.IntType(1), int(_encoding(array.dtype) == "int16"))
    return types.boolean(array), lambda context, builder, signature, arguments: fixed


@intrinsic
def is_narrow(typing_context, array):
    """Whether the array holds numbers of 16 bits; a compile-time constant."""
    narrow = ir.Constant(ir.IntType(1), int(_stored(array.dtype) == _I16))
    return types.boolean(array), lambda context, builder, signature, arguments: narrow
