"""Calls of a kernel by its address, in parallel, with arguments that are stored once.

In: a kernel and a tuple of arguments.  Out: nothing, or integers.  Knows no kernel.

Numba would compile a loop of its own for each kernel that runs in parallel, several times over, and
copy the description of each array that it uses into a list, whenever it is reached; each thread
then reads the list. Those of a simulation are some 60 cache lines, which go from one processor to
all others in each step. Here one loop serves all kernels, and passes an address.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.np import arrayobj

from rlsbench_numba.compiling import loop_kernel
from rlsbench_numba.lanes import intrinsic

_WORD = ir.IntType(64)


def _function(context: Any, builder: Any, kernel: Any, arguments: Any, result: Any) -> Any:
    """Address of a function that calls the kernel with `stored` arguments and integers."""
    compiled = kernel.dispatcher.overloads[result.args]
    context.add_linking_libs([compiled.library])
    name = builder.module.get_unique_name("by_address")
    function = ir.Function(builder.module, ir.FunctionType(ir.IntType(32), [_WORD] * 3), name)
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block())
    kind = context.get_value_type(arguments).as_pointer()
    given = cgutils.unpack_tuple(inner, inner.load(inner.inttoptr(function.args[0], kind)))
    more = len(result.args) - len(given)
    context.call_internal_no_propagate(inner, compiled.fndesc, result, [*given, *function.args[1 : 1 + more]])
    inner.ret(ir.IntType(32)(0))
    return builder.ptrtoint(function, _WORD)


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
        return _function(context, builder, kernel, arguments, result)

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


@loop_kernel
def call_each(address, arguments, number, step):
    """Call what is at an address with `stored` arguments, each of 0 .. number-1, and a step."""
    for i in prange(number):
        call(address, (arguments, i, step))


@intrinsic
def in_parallel(typing_context, kernel, arguments, number):
    """Call kernel(*arguments, i) for i = 0 .. number-1, in the threads that are set."""
    result = kernel.get_call_type(typing_context, (*arguments.types, types.int64), {})
    loop = types.Dispatcher(call_each)
    loop_signature = loop.get_call_type(typing_context, (types.int64,) * 4, {})

    def generate(context, builder, signature, values):
        function = _function(context, builder, kernel, arguments, result)
        given = builder.ptrtoint(cgutils.alloca_once_value(builder, values[1]), _WORD)
        run = context.get_function(loop, loop_signature)
        context.add_linking_libs(getattr(run, "libs", ()))
        run(builder, [function, given, values[2], _WORD(0)])
        return context.get_dummy_value()

    return types.void(kernel, arguments, types.int64), generate
