"""Columns as the page offers them: kinds, commonest values, and the conditions that ask for these."""

import pyarrow as pa
import pytest

from cmh.data import filters
from cmh.service import facets

NAMES = ["it's", 'a "b"', "back\\slash", "été 🐕", " ) or True or (", "[x]", "None"]
TABLE = pa.table(
    {
        "labels": [[NAMES[n % 7], NAMES[0]] if n % 10 else None for n in range(70)],
        "taken at": [NAMES[n % 7] for n in range(70)],
        "class": [n % 3 for n in range(70)],
        "good": [None if n % 5 == 0 else n % 2 == 0 for n in range(70)],
        "caption": [f"caption {n}" for n in range(70)],
        "ratio": [n % 3 / 2 for n in range(70)],
        "nothing": pa.array([None] * 70, pa.string()),
        "day": pa.array([n % 3 for n in range(70)], pa.int32()).cast(pa.date32()),
    }
)


def test_kinds_and_what_offers_values() -> None:
    """Labels, texts, whole numbers and truths that many share; no captions, fractions or dates."""
    found = facets.columns_of(TABLE)
    assert {column.name: column.kind for column in found} == {
        "labels": "list", "taken at": "text", "class": "number", "good": "truth", "caption": "text",
        "ratio": "number", "nothing": "text", "day": "date",
    }  # fmt: skip
    assert {column.name for column in found if column.commonest} == {"labels", "taken at", "class", "good"}
    assert facets.columns_of(None) == []


@pytest.mark.parametrize("name", ["labels", "taken at", "class", "good"])
def test_a_value_comes_with_the_condition_that_finds_its_items(name: str) -> None:
    """Whatever the value holds; the commonest first, each with its number of items."""
    (column,) = (one for one in facets.columns_of(TABLE) if one.name == name)
    for one in column.commonest:
        held = [
            one.value in (cell or []) if column.kind == "list" else cell == one.value and cell is not None
            for cell in TABLE[name].to_pylist()
        ]
        assert filters.matches(one.where, TABLE).tolist() == held
    counts = [one.items for one in column.commonest]
    assert counts == sorted(counts, reverse=True)


def test_only_so_many_values_are_offered() -> None:
    """The commonest ones."""
    table = pa.table({"n": [n % 50 for n in range(500)] + [7] * 9})
    (column,) = facets.columns_of(table)
    assert len(column.commonest) == facets.MOST_VALUES
    assert (column.commonest[0].value, column.commonest[0].items) == (7, 19)
