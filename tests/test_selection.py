"""Selections of trials: which rows they select, and which expressions are rejected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench.errors import RecordingError
from rlsbench.recordings import column_values, select_rows

Refused = Callable[..., Any]


def texts(*values: str) -> np.ndarray:
    return np.array(values, dtype=object)


COLUMNS: dict[str, np.ndarray] = {
    "side": texts("left", "right", "left", "right", "left"),
    "onset": texts("N/A", "2.7", "N/A", "N/A", "3.1"),
    "number": np.array([1, 2, 3, 4, 5], dtype=np.uint8),
    "delay": np.array([0.5, np.nan, 1.5, -2.0, 2.5]),
    "early": np.array([True, False, False, True, False]),
    "go cue": np.array([1, 1, 2, 2, 3]),
    "class": np.array([1, 1, 2, 2, 3]),
}


def rows(expression: str) -> list[int]:
    return list(np.flatnonzero(select_rows(expression, COLUMNS, 5, "made.nwb")))


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("  ", [0, 1, 2, 3, 4]),
        ("side == 'left'", [0, 2, 4]),
        ('"left" == side', [0, 2, 4]),
        ("side != 'left'", [1, 3]),
        ("side == 'left' and onset == 'N/A'", [0, 2]),
        ("side == 'right' or number == 5", [1, 3, 4]),
        ("not (side == 'right' or number == 5)", [0, 2]),
        ("side in ['left', 'up']", [0, 2, 4]),
        ("number not in (1, 2)", [2, 3, 4]),
        ("number in {1, 2}", [0, 1]),
        ("1 < number <= 3", [1, 2]),
        ("number > -1", [0, 1, 2, 3, 4]),
        ("delay >= +1.5", [2, 4]),
        ("delay != 0.5", [1, 2, 3, 4]),  # NaN is not 0.5
        ("delay > number", []),
        ("number < 1e400", [0, 1, 2, 3, 4]),
        (f"number < {10**400}", [0, 1, 2, 3, 4]),
        ("early", [0, 3]),
        ("not early", [1, 2, 4]),
        ("early == False", [1, 2, 4]),
        ("go_cue == 2", [2, 3]),
        ("class_ == 3", [4]),
        ("side < 'm'", [0, 2, 4]),
        ("number == class_", [0]),
        (" side == 'left'\n", [0, 2, 4]),
        ("not " * 490 + "early", [0, 3]),
    ],
)
def test_selected_rows(refused: Refused, expression: str, wanted: list[int]) -> None:
    if wanted:
        assert rows(expression) == wanted
    else:
        with refused(RecordingError, "made.nwb", "5 trials"):
            rows(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "side.upper() == 'LEFT'",
        "side[0] == 'left'",
        "(lambda: 1)() == number",
        "number + 1 == 2",
        "number ** 9 == 2",
        "[x for x in side] == side",
        "number == (number := 3)",
        "side is 'left'",
        "side in onset",
        "side in 'left'",
        "f'{side}' == 'left'",
        "side == b'left'",
        "side == None",
        "number == 1j",
        "side == ...",
        "number if early else side",
        "-side == 'left'",
        "-'left' == side",
        "early & early",
        "~early",
        "'left'",
        "3",
        "(side,)",
        "await side",
    ],
)
def test_other_python_is_refused(refused: Refused, expression: str) -> None:
    with refused(RecordingError, "==, !=, <, <=, >, >="):
        rows(expression)


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("side = 'left'", ["==, !=, <, <=, >, >="]),
        ("side == 'left", ["unterminated"]),
        ("side == 'left'; early", ["invalid syntax"]),
        ("\0", ["null byte"]),
        ("(" * 900, ["==, !=, <, <=, >, >="]),
        ("early and " * 300, ["2000 characters"]),
        ("size == 'left'", ["column size", "side, onset, number, delay, early, go_cue, class_"]),
        ("onset > 2", ["onset is text", "2 is a number", "'2.7'"]),
        ("number == '1'", ["'1' is text", "number is a number", "1 (1), 2 (1)"]),
        ("number in [1, 'a']", ["'a' is text", "number is a number"]),
        ("side", ["side == 'left'"]),
        ("number", ["number == 1"]),
        ("1 == 1", ["1 and 1", "side, onset, number"]),
        ("side == 'up' and number > 2", ["5 trials", "made.nwb", "side: 'left' (3), 'right' (2); number"]),
    ],
)
def test_errors_name_what_is_wrong(refused: Refused, expression: str, named: list[str]) -> None:
    with refused(RecordingError, *named) as caught:
        rows(expression)
    assert "\n" not in str(caught.value).replace("\\n", "")


COMPARISONS = st.one_of(
    st.tuples(st.sampled_from(["side", "onset"]), st.sampled_from(["left", "right", "N/A", "2.7"])).map(
        lambda pair: f"{pair[0]} == {pair[1]!r}"
    ),
    st.tuples(
        st.sampled_from(["number", "delay", "class_"]),
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(["1", "2.5", "-2", "number", "delay"]),
    ).map(" ".join),
    st.just("early"),
    st.just("side in ('left', 'N/A')"),
    st.just("1 < number < 4"),
)
EXPRESSIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda part: f"not {part}"),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(EXPRESSIONS)
def test_a_selection_means_what_python_means(refused: Refused, expression: str) -> None:
    tables = [{name.replace("class", "class_"): values[i] for name, values in COLUMNS.items()} for i in range(5)]
    wanted = [i for i, table in enumerate(tables) if eval(expression, {"__builtins__": {}}, table)]
    if wanted:
        assert rows(expression) == wanted
    else:
        with refused(RecordingError, "made.nwb", "5 trials"):
            rows(expression)


@settings(deadline=None)
@given(st.text(alphabet="ab'\"()[]=<>!,.:+-* \n\\12sideonumbr", max_size=40))
def test_any_text_is_a_selection_or_refused(refused: Refused, expression: str) -> None:
    try:
        chosen = select_rows(expression, COLUMNS, 5, "made.nwb")
    except RecordingError:
        return
    assert chosen.shape == (5,)
    assert chosen.dtype == bool


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (texts("b", "a", "b"), "'a' (1), 'b' (2)"),
        (texts(*"abcdefgh", "h"), "'h' (2), 'a' (1), 'b' (1), 'c' (1), 'd' (1), 'e' (1), and 2 more values"),
        (np.arange(40), "0 to 39 (40 values)"),
        (np.array([0, 0, 1]), "0 (2), 1 (1)"),
        (np.array([1.5, np.nan]), "1.5 (1), NaN (1)"),
        (np.array([np.nan]), "NaN only"),
        (np.array([True, False]), "False (1), True (1)"),
        (np.array([]), "nothing"),
    ],
)
def test_values_of_a_column_in_one_line(values: Any, told: str) -> None:
    assert column_values(values) == told
