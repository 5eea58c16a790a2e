"""Conditions on columns against Python's own evaluation, row by row; what is refused."""

import contextlib
import datetime
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmh.data import filters

ROWS = [
    {"year": 2019, "size": 1.5, "label": "dog", "caption": "A Dog in the snow", "labels": ["dog", "snow"]},
    {"year": 2021, "size": -2.0, "label": "cat", "caption": "sofa", "labels": ["cat"]},
    {"year": 2023, "size": 0.0, "label": "dog", "caption": "", "labels": []},
    {"year": None, "size": None, "label": None, "caption": None, "labels": None},
]
DATES = [datetime.date(2019, 5, 1), datetime.date(2021, 1, 1), datetime.date(2023, 12, 31), None]
TABLE = pa.table({key: [row[key] for row in ROWS] for key in ROWS[0]}).append_column("taken at", [DATES])
TABLE = TABLE.append_column("kept", [[True, False, True, None]])


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("year >= 2021", [1, 2]),
        ("2021 < year", [2]),
        ("2019 <= year < 2023", [0, 1]),
        ("not year >= 2021", [0]),
        ("year != 2021", [0, 2]),
        ("size == -2", [1]),
        ('label == "dog" and year > 2020', [2]),
        ('label == "cat" or size > 1', [0, 1]),
        ('label in ("dog", "bird")', [0, 2]),
        ('label not in ["dog"]', [1]),
        ('"dog" in caption', [0]),
        ('"snow" in labels', [0]),
        ('"snow" not in labels', [1, 2]),
        ("caption is None", [3]),
        ("year is not None and kept", [0, 2]),
        ("not kept", [1]),
        ('[taken at] >= "2021-01-01"', [1, 2]),
        ("year in (2019, 2023) and not (size > 1 or size < -1)", [2]),
        ("year == year", [0, 1, 2]),
        ('"[taken at]" in caption or [taken at] == "2021-01-01"', [1]),  # in quotes it is no column
        ("'it\\'s [taken at]' in caption or year == 2021", [1]),
    ],
)
def test_conditions(expression: str, rows: list[int]) -> None:
    """Each finds its rows; an item without a value fulfils no comparison, nor its opposite."""
    assert filters.matches(expression, TABLE).nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("yaer > 2", "there is no column 'yaer'; the items have: year, size, label"),
        ('year > "2020"', "'2020' is compared with a column of int64; write a value of that type, without"),
        ('labels == "dog"', "with a column of list<.*>; ask whether a list holds it by: 'dog' in COLUMN"),
        ("labels in (1, 2)", "1 is compared with a column of list<.*>; ask whether a list holds it by: 1 in"),
        ("label == 3", "compared with a column of string; put texts in quotes"),
        ("year >", "is not understood"),
        ("", "is not understood"),
        ("year", "'year' is no condition"),
        ("1 == 1", "stands where the name of a column is needed"),
        ("__import__('os').system('true')", "is no condition"),
        ("(lambda: 1)() == year", "is no number, text"),
        ("year == [1, 2]", "is no number, text"),
        ('"a" in year', "'in' looks into texts and lists"),
        ("label is 'dog'", "'is' asks for None only"),
        ('[taken at] > "yesterday"', "compares what differs in type"),
        ("year == 10**9", "is no number"),
        ("size + 1 > 2", "stands where the name of a column is needed"),
        ("year == " + "9" * 30, "compares what differs in type|is not understood"),
        ("a" * 3000, "at most 2000 characters"),
        ("(" * 900 + ")" * 900, "is not understood"),
        ("x if y else z", "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused(expression: str, message: str) -> None:
    """In words, and soon; nothing of it is run."""
    began = time.monotonic()
    with pytest.raises(ValueError, match=message):
        filters.matches(expression, TABLE)
    assert time.monotonic() - began < 2


WORDS = st.sampled_from(
    [
        "year",
        "size",
        "label",
        "labels",
        "caption",
        "[taken",
        "at]",
        "kept",
        ">",
        "<=",
        "==",
        "in",
        "not",
        "and",
        "or",
        "is",
        "None",
        "(",
        ")",
        ",",
        "'dog'",
        "2020",
        "-1.5",
        "True",
        "[",
        "]",
        "{",
        "lambda",
        ":",
        "*",
        "f'{year}'",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=12))
def test_any_words_give_a_mask_or_a_clear_refusal(words: list[str]) -> None:
    """Nothing but ValueError comes out."""
    with contextlib.suppress(ValueError):
        mask = filters.matches(" ".join(words), TABLE)
        assert (mask.dtype, mask.shape) == (bool, (4,))
