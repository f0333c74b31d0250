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

from rlsbench_numba.compiling import kernel, loop_kernel
from rlsbench_numba.lanes import intrinsic

_WORD = ir.IntType(64)


def _stored(builder: Any, arguments: Any) -> Any:
    """Address of two fields: whether a call failed, 0 or 1, and a tuple of arguments."""
    fields = cgutils.alloca_once(builder, ir.LiteralStructType([_WORD, arguments.type]))
    builder.store(_WORD(0), cgutils.gep_inbounds(builder, fields, 0, 0))
    builder.store(arguments, cgutils.gep_inbounds(builder, fields, 0, 1))
    return builder.ptrtoint(fields, _WORD)


def _function(context: Any, builder: Any, kernel: Any, arguments: Any, result: Any) -> Any:
    """Address of a function that calls the kernel with `stored` arguments and integers."""
    compiled = kernel.dispatcher.overloads[result.args]
    context.add_linking_libs([compiled.library])
    name = builder.module.get_unique_name("by_address")
    function = ir.Function(builder.module, ir.FunctionType(ir.IntType(32), [_WORD] * 3), name)
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block())
    kind = ir.LiteralStructType([_WORD, context.get_value_type(arguments)])
    fields = inner.inttoptr(function.args[0], kind.as_pointer())
    given = cgutils.unpack_tuple(inner, inner.load(cgutils.gep_inbounds(inner, fields, 0, 1)))
    given += function.args[1 : 1 + len(result.args) - len(given)]
    status, _ = context.call_internal_no_propagate(inner, compiled.fndesc, result, given)
    with cgutils.if_unlikely(inner, status.is_error):
        inner.store(_WORD(1), cgutils.gep_inbounds(inner, fields, 0, 0))
    inner.ret(ir.IntType(32)(0))
    return builder.ptrtoint(function, _WORD)


@intrinsic
def stored(typing_context, arguments):
    """Address of a tuple, valid until the kernel that asks for it returns."""

    def generate(context, builder, signature, values):
        return _stored(builder, values[0])

    return types.int64(arguments), generate


@intrinsic
def failed(typing_context, address):
    """Whether a kernel that was called with `stored` arguments has raised an exception."""

    def generate(context, builder, signature, values):
        return builder.load(builder.inttoptr(values[0], _WORD.as_pointer()))

    return types.int64(types.int64), generate


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


@kernel
def call_for_each(address, arguments, number, step):
    """Call what is at an address with `stored` arguments, each of 0 .. number-1, and a step.

    One call needs no parallel region, whose start and end take microseconds.
    """
    if number == 1:
        call(address, (arguments, 0, step))
    else:
        call_each(address, arguments, number, step)
    if failed(arguments):
        raise RuntimeError("a kernel that was called in parallel failed")


@loop_kernel
def call_each(address, arguments, number, step):
    """`call_for_each` in the threads that are set."""
    for i in prange(number):
        call(address, (arguments, i, step))


@intrinsic
def in_parallel(typing_context, kernel, arguments, number):
    """Call kernel(*arguments, i) for i = 0 .. number-1, in the threads that are set."""
    result = kernel.get_call_type(typing_context, (*arguments.types, types.int64), {})
    loop = types.Dispatcher(call_for_each)
    loop_signature = loop.get_call_type(typing_context, (types.int64,) * 4, {})

    def generate(context, builder, signature, values):
        function = _function(context, builder, kernel, arguments, result)
        given = _stored(builder, values[1])
        run = context.get_function(loop, loop_signature)
        context.add_linking_libs(getattr(run, "libs", ()))
        run(builder, [function, given, values[2], _WORD(0)])
        return context.get_dummy_value()

    return types.void(kernel, arguments, types.int64), generate
