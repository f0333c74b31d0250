"""Selections of trials or units such as ``trial_instruction == 'left' and outcome == 'hit'``.

In: the text of a selection and the columns of a table.  Out: the selected rows.  The text is parsed
with `ast` and never executed; syntax that `rows_of` and `_value` do not list is rejected.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from operator import eq, ge, gt, le, lt, ne
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError

MAX_LENGTH = 2000
_LISTED = 6
ACCEPTED = "compare columns with texts, numbers or lists by ==, !=, <, <=, >, >= or in, joined by and, or, not"
_COMPARE: dict[type, Any] = {ast.Eq: eq, ast.NotEq: ne, ast.Lt: lt, ast.LtE: le, ast.Gt: gt, ast.GtE: ge}


def select_rows(
    expression: str, columns: Mapping[str, NDArray[Any]], rows: int, source: str, what: str = "trials"
) -> NDArray[np.bool_]:
    """The rows of a table that a selection selects, as a mask (rows,).

    Parameters
    ----------
    expression : str
        Column names, texts, numbers, True and False, with ``==``, ``!=``, ``<``, ``<=``, ``>``,
        ``>=``, ``in``, ``not in``, ``and``, ``or`` and ``not``. Characters of a column name that a
        Python name cannot have are written as ``_``. An empty text selects all rows.
    columns : mapping of str to ndarray
        Each (rows,), of numbers or an object array of texts.
    source : str
        Name of the file, for messages.
    what : str
        What the rows are, for messages.

    Raises
    ------
    RecordingError
        If the text is not a selection, names a column that does not exist, compares texts with
        numbers, or selects no row.
    """
    if not expression.strip():
        return np.ones(rows, dtype=bool)
    selection = _Selection(expression, columns, rows, source)
    try:
        chosen = selection.rows_of(_parse(expression))
    except RecursionError:
        raise RecordingError(f"the selection {expression[:40]!r}... is nested too deeply") from None
    if not chosen.any():
        held = "; ".join(f"{name}: {column_values(columns[name])}" for name in selection.used)
        raise RecordingError(f"{expression!r} selects none of the {rows} {what} of {source}; values: {held}")
    return chosen


def column_values(column: NDArray[Any]) -> str:
    """The values of a column in one line: each with its count, or the range if they are many."""
    if column.size == 0:
        return "nothing"
    if column.dtype.kind == "f" and np.isnan(column).any():
        held = column[~np.isnan(column)]
        return f"{column_values(held)}, NaN ({column.size - held.size})" if held.size else "NaN only"
    found, counts = np.unique(column, return_counts=True)
    if column.dtype.kind in "iuf" and len(found) > _LISTED:
        return f"{found[0]:g} to {found[-1]:g} ({len(found)} values)"
    order = np.argsort(-counts, kind="stable") if len(found) > _LISTED else np.arange(len(found))
    shown = [f"{_literal(found[i])} ({counts[i]})" for i in order[:_LISTED]]
    more = [f"and {len(found) - _LISTED} more values"] if len(found) > _LISTED else []
    return ", ".join(shown + more)


def _literal(value: Any) -> str:
    """A value as a selection writes it."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return f"{value:g}" if isinstance(value, np.floating) else str(value)


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise RecordingError(f"the selection {expression[:40]!r}... is longer than {MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise RecordingError(f"{expression!r} is not a valid selection ({reason}): {ACCEPTED}") from None


class _Selection:
    """Evaluation of one selection: `rows_of` gives booleans, and `_value` gives operands."""

    def __init__(self, expression: str, columns: Mapping[str, NDArray[Any]], rows: int, source: str) -> None:
        self.expression, self.columns, self.rows, self.source = expression, columns, rows, source
        self.written = {_written(name): name for name in columns}
        self.used: dict[str, None] = {}

    def rows_of(self, node: ast.expr) -> NDArray[np.bool_]:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return np.asarray(join.reduce([self.rows_of(part) for part in node.values]))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.rows_of(node.operand)
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            pairs = zip(operands, node.ops, operands[1:], strict=False)
            return np.asarray(np.logical_and.reduce([self._compare(left, op, right) for left, op, right in pairs]))
        if isinstance(node, ast.Name):
            column = self._column(node.id)
            if column.dtype.kind == "b":
                return np.asarray(column)
            raise self._error(f"{node.id} is not boolean: compare it, as in {node.id} == {_literal(column[0])}")
        raise self._refused(node)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> NDArray[np.bool_]:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._refused(right)
            found = np.zeros(self.rows, dtype=bool)
            for item in right.elts:
                found |= self._compare(left, ast.Eq(), item)
            return ~found if isinstance(op, ast.NotIn) else found
        compare = _COMPARE.get(type(op))
        if compare is None:
            raise self._refused(left)
        a, b = self._value(left), self._value(right)
        if not (isinstance(a, np.ndarray) or isinstance(b, np.ndarray)):
            raise self._error(f"{ast.unparse(left)} and {ast.unparse(right)} contain no column: {self._listed()}")
        if _is_text(a) != _is_text(b):
            text, number = (left, right) if _is_text(a) else (right, left)
            column = a if isinstance(a, np.ndarray) else b
            raise self._error(
                f"{ast.unparse(text)} is text and {ast.unparse(number)} is a number, which cannot be compared; its "
                f"values are {column_values(column)}"
            )
        return np.broadcast_to(np.asarray(compare(a, b), dtype=bool), (self.rows,))

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self._column(node.id)
        with suppress(ValueError, TypeError):
            value = ast.literal_eval(node)
            if isinstance(value, str | int | float):
                return _number(value)
        raise self._refused(node)

    def _column(self, name: str) -> NDArray[Any]:
        if name not in self.written:
            raise self._error(f"there is no column {name}: {self._listed()}")
        self.used[self.written[name]] = None
        return self.columns[self.written[name]]

    def _listed(self) -> str:
        return f"the columns are {', '.join(self.written) or 'none'}"

    def _refused(self, node: ast.expr) -> RecordingError:
        return self._error(f"{ast.unparse(node)[:60]} is not allowed there: {ACCEPTED}")

    def _error(self, reason: str) -> RecordingError:
        return RecordingError(f"in the selection {self.expression!r} of {self.source}, {reason}")


def _written(name: str) -> str:
    """A column name as a selection writes it."""
    name = re.sub(r"\W", "_", name)
    return f"{name}_" if keyword.iskeyword(name) else name


def _number(value: Any) -> Any:
    """A number, as a float if it exceeds the integers of NumPy."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return float(value) if abs(value) < 2**1000 else float("inf")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind in "OU")
