"""Calls of a kernel by its address, with arguments that are stored once.

In: a kernel and a tuple of arguments.  Out: integers, all that a loop passes on.  Knows no kernel.

Numba copies the description of each array that the body of a `prange` uses into a list, whenever
the loop is reached; each thread then reads the list. Those of a simulation are some 60 cache
lines, which go from one processor to all others in each step.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np import arrayobj

from rlsbench_numba.lanes import intrinsic

_WORD = ir.IntType(64)


@intrinsic
def stored(typing_context, arguments):
    """Address of a tuple, valid until the kernel that asks for it returns."""

    def generate(context, builder, signature, values):
        return builder.ptrtoint(cgutils.alloca_once_value(builder, values[0]), _WORD)

    return types.int64(arguments), generate


@intrinsic
def address_of(typing_context, kernel, arguments):
    """Address of a function that calls kernel(*arguments, thread, step) for `stored` arguments."""
    result = kernel.get_call_type(typing_context, (*arguments.types, types.int64, types.int64), {})

    def generate(context, builder, signature, values):
        compiled = kernel.dispatcher.overloads[result.args]
        context.add_linking_libs([compiled.library])
        name = builder.module.get_unique_name("by_address")
        function = ir.Function(builder.module, ir.FunctionType(ir.IntType(32), [_WORD] * 3), name)
        function.linkage = "internal"
        inner = ir.IRBuilder(function.append_basic_block())
        kind = context.get_value_type(arguments).as_pointer()
        given = cgutils.unpack_tuple(inner, inner.load(inner.inttoptr(function.args[0], kind)))
        context.call_internal_no_propagate(inner, compiled.fndesc, result, [*given, *function.args[1:]])
        inner.ret(ir.IntType(32)(0))
        return builder.ptrtoint(function, _WORD)

    return types.int64(kernel, arguments), generate


@intrinsic
def call(typing_context, address, arguments):
    """The integer that a C function at an address returns for a tuple of arrays and integers.

    All are passed as 64 bits: a function that takes fewer of an integer reads the low ones.
    """

    def generate(context, builder, signature, values):
        word, passed = _WORD, []
        for i, kind in enumerate(signature.args[1].types):
            value = builder.extract_value(values[1], i)
            if isinstance(kind, types.Array):
                value = builder.ptrtoint(arrayobj.make_array(kind)(context, builder, value).data, word)
            passed.append(value)
        function = ir.FunctionType(ir.IntType(32), [word] * len(passed))
        return builder.sext(builder.call(builder.inttoptr(values[0], function.as_pointer()), passed), word)

    return types.int64(types.int64, arguments), generate
