"""Rows of arrays that are laid out by neuron: views that no reference is counted for.

In: arrays.  Out: views into them, which kernels must not keep.  Knows nothing of RLS.

Numba's kernels that do not count references cannot return arrays, so these are intrinsics. Where
the number of inputs n varies from neuron to neuron, rows follow one another in one dimension.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np import arrayobj

from rlsbench_numba.lanes import intrinsic


def _integer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """A number of a contiguous array of int64."""
    data = arrayobj.make_array(kind)(context, builder, array).data
    return builder.load(builder.gep(data, [index]))


def _view(context: Any, builder: Any, kind: Any, source: Any, start: Any, shape: list[Any]) -> Any:
    """The contiguous view with this shape from number `start` of an array on."""
    view = arrayobj.make_array(kind)(context, builder)
    strides = [source.itemsize]
    for extent in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    data = builder.gep(source.data, [start])
    arrayobj.populate_array(
        view, data=data, shape=shape, strides=strides, itemsize=source.itemsize, meminfo=None, parent=None
    )
    return view._getvalue()


def _row(context: Any, builder: Any, kind: Any, source: Any, c: Any) -> Any:
    """Entry c of an array along its first dimension."""
    shape = cgutils.unpack_tuple(builder, source.shape)[1:]
    start = c
    for extent in shape:
        start = builder.mul(start, extent)
    return _view(context, builder, kind, source, start, shape)


@intrinsic
def matrix_of(typing_context, P, place, c):
    """P of neuron c, (rows, width) or (n (n + 1)/2,).

    P is (N, rows, width) or (N, n (n + 1)/2); or flat, with a row of `place` for each neuron: where
    its matrix begins, its rows and its width, or, in one dimension, only where.
    """
    kind = P.copy(ndim=P.ndim - 1 if P.ndim > 1 else place.ndim)

    def generate(context, builder, signature, arguments):
        P, place, _ = signature.args
        values, of, c = arguments
        source = arrayobj.make_array(P)(context, builder, values)
        if P.ndim > 1:
            return _row(context, builder, kind, source, c)

        def at(i):
            first = builder.mul(c, ir.Constant(c.type, 3)) if place.ndim == 2 else c
            return _integer(context, builder, place, of, builder.add(first, ir.Constant(c.type, i)))

        shape = [at(1), at(2)] if place.ndim == 2 else [builder.sub(at(1), at(0))]
        return _view(context, builder, kind, source, at(0), shape)

    return kind(P, place, types.intp), generate


@intrinsic
def row_of(typing_context, rows, start, each, c):
    """Row c of an array (N, M) or, flat, of rows that begin at `each` times start[c]."""
    kind = rows.copy(ndim=1)

    def generate(context, builder, signature, arguments):
        rows, start, *_ = signature.args
        values, of, each, c = arguments
        source = arrayobj.make_array(rows)(context, builder, values)
        if rows.ndim > 1:
            return _row(context, builder, kind, source, c)
        first, after = (
            builder.mul(each, _integer(context, builder, start, of, builder.add(c, ir.Constant(c.type, i))))
            for i in (0, 1)
        )
        return _view(context, builder, kind, source, first, [builder.sub(after, first)])

    return kind(rows, start, types.intp, types.intp), generate
