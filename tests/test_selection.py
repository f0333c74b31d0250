"""Selections of trials: what they take, and that nothing but a selection is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench.errors import RecordingError
from rlsbench.recordings import column_values, select_rows


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
def test_what_is_taken(expression: str, wanted: list[int]) -> None:
    if wanted:
        assert rows(expression) == wanted
    else:
        with pytest.raises(RecordingError, match="takes none of the 5 trials"):
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
def test_other_python_is_refused(expression: str) -> None:
    with pytest.raises(RecordingError, match=r"cannot stand there: give columns compared by|is no selection"):
        rows(expression)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("side = 'left'", "is no selection .*: give columns compared by =="),
        ("side == 'left", "is no selection"),
        ("side == 'left'; early", "is no selection"),
        ("\0", "is no selection"),
        ("(" * 900, "is no selection"),
        ("early and " * 300, "longer than 2000 characters"),
        (
            "size == 'left'",
            "there is no column size: the columns are side, onset, number, delay, early, go_cue, class_",
        ),
        ("onset > 2", "onset is text and 2 is a number: compare like with like; its values are '2.7'"),
        ("number == '1'", "'1' is text and number is a number: compare like with like; its values are 1"),
        ("number in [1, 'a']", "'a' is text and number is a number"),
        ("side", "side is not true or false: compare it, as in side == 'left'"),
        ("number", "compare it, as in number == 1"),
        ("1 == 1", "1 and 1 are no columns: the columns are"),
        (
            "side == 'up' and number > 2",
            r"takes none of the 5 trials of made.nwb, which hold side: 'left' \(3\), 'right' \(2\); number",
        ),
    ],
)
def test_errors_say_what_is_meant(expression: str, words: str) -> None:
    with pytest.raises(RecordingError, match=words) as caught:
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
def test_a_selection_means_what_python_means(expression: str) -> None:
    tables = [{name.replace("class", "class_"): values[i] for name, values in COLUMNS.items()} for i in range(5)]
    wanted = [i for i, table in enumerate(tables) if eval(expression, {"__builtins__": {}}, table)]
    if wanted:
        assert rows(expression) == wanted
    else:
        with pytest.raises(RecordingError, match="takes none of the 5 trials"):
            rows(expression)


@settings(deadline=None)
@given(st.text(alphabet="ab'\"()[]=<>!,.:+-* \n\\12sideonumbr", max_size=40))
def test_any_text_is_a_selection_or_refused(expression: str) -> None:
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
