"""Ordinary arithmetic on lanes: what the functions of a neuron model are compiled to.

In: lanes, masks (one bit a lane) and numbers.  Out: lanes and masks.  A number is rounded to the
precision of the lanes that it meets.  Knows no model.

Operators are those of Python; `exp`, `where` and `muladd` are those of `rlsbench.neurons`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from rlsbench.neurons import exp, muladd, where
from rlsbench_numba.lanes import LANES, LanesType, call_llvm, spread, suffix_of


class MaskType(types.Type):  # type: ignore[misc,unused-ignore]
    """Numba's type of 16 truth values, of lanes of float32 or float64."""

    def __init__(self, scalar: Any) -> None:
        self.scalar = scalar
        super().__init__(name=f"Mask({scalar})")


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):  # type: ignore[misc,unused-ignore]
    def __init__(self, manager: Any, mask: MaskType) -> None:
        super().__init__(manager, mask, ir.VectorType(ir.IntType(1), LANES))


def as_lanes(context: Any, builder: Any, value: Any, kind: Any, scalar: Any) -> Any:
    """Lanes, or a number in each lane."""
    return value if isinstance(kind, LanesType) else spread(builder, context.cast(builder, value, kind, scalar))


def _define(function: Any, count: int, result: Callable[..., Any], generate: Callable[..., Any]) -> None:
    """Give a function of `count` arguments its meaning for lanes, masks and numbers.

    `result` is its type, or None if that is not for us; `generate` takes builder and operands.
    """

    class Template(AbstractTemplate):  # type: ignore[misc,unused-ignore]
        def generic(self, args: Any, kws: Any) -> Any:
            kind = result(*args) if len(args) == count else None
            return None if kind is None else signature(kind, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = [kind.scalar for kind in sig.args if isinstance(kind, LanesType | MaskType)]
        operands = []
        for value, kind in zip(args, sig.args, strict=True):
            if vectors and isinstance(kind, types.Number):
                value = as_lanes(context, builder, value, kind, vectors[0])
            elif isinstance(kind, types.Number):
                value = context.cast(builder, value, kind, types.float64)
            operands.append(value)
        return generate(builder, *operands)

    infer_global(function)(Template)
    for kinds in product((LanesType, MaskType, types.Number, types.Boolean), repeat=count):
        lower_builtin(function, *kinds)(lower)


def _lanes(*kinds: Any) -> Any:
    """The type of lanes among lanes and numbers; None without lanes, or with anything else."""
    found = [kind for kind in kinds if isinstance(kind, LanesType)]
    return found[0] if found and all(isinstance(kind, LanesType | types.Number) for kind in kinds) else None


def _lanes_or_number(*kinds: Any) -> Any:
    if all(isinstance(kind, types.Number) for kind in kinds):
        return types.float64
    return _lanes(*kinds)


def _mask(*kinds: Any) -> Any:
    return MaskType(found.scalar) if (found := _lanes(*kinds)) else None


def _masks(*kinds: Any) -> Any:
    found = [kind for kind in kinds if isinstance(kind, MaskType)]
    return found[0] if found and all(isinstance(kind, MaskType) for kind in kinds) else None


def _chosen(condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, MaskType):
        return LanesType(condition.scalar) if _lanes_or_number(a, b) else None
    return _lanes_or_number(a, b) if isinstance(condition, types.Boolean) else None


def _select(builder: Any, condition: Any, a: Any, b: Any) -> Any:
    if isinstance(a.type, ir.VectorType) != isinstance(b.type, ir.VectorType):  # with a condition that is no mask
        a, b = (x if isinstance(x.type, ir.VectorType) else spread(builder, x) for x in (a, b))
    return builder.select(condition, a, b)


def _lanes_to_whole(x: Any, exponent: Any) -> Any:
    return x if isinstance(x, LanesType) and isinstance(exponent, types.Integer) else None


def _power(builder: Any, x: Any, exponent: Any) -> Any:
    whole = builder.fptosi(builder.extract_element(exponent, ir.IntType(32)(0)), ir.IntType(32))
    return call_llvm(builder, f"llvm.powi.{suffix_of(x.type)}.i32", x.type, [x, whole])


for _name, _operation in {"add": "fadd", "sub": "fsub", "mul": "fmul", "truediv": "fdiv"}.items():
    _define(getattr(operator, _name), 2, _lanes, lambda builder, a, b, name=_operation: getattr(builder, name)(a, b))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    _define(getattr(operator, _name), 2, _mask, lambda builder, a, b, sign=_sign: builder.fcmp_ordered(sign, a, b))
for _name in ("and_", "or_"):
    _define(getattr(operator, _name), 2, _masks, lambda builder, a, b, name=_name: getattr(builder, name)(a, b))
_define(operator.pow, 2, _lanes_to_whole, _power)
_define(operator.invert, 1, _masks, lambda builder, a: builder.not_(a))
_define(operator.neg, 1, _lanes, lambda builder, a: builder.fneg(a))
_define(exp, 1, _lanes_or_number, lambda builder, x: call_llvm(builder, f"llvm.exp.{suffix_of(x.type)}", x.type, [x]))
_define(
    muladd,
    3,
    _lanes_or_number,
    lambda builder, a, b, c: call_llvm(builder, f"llvm.fma.{suffix_of(a.type)}", a.type, [a, b, c]),
)
_define(where, 3, _chosen, _select)
