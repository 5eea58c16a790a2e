"""Grouped splits: whatever the groups, the parts are what the schema says, and no group is torn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmh.data import splits
from cmh.data.splits import grouped

groups = st.lists(st.integers(0, 12).map(str), min_size=3, max_size=80).filter(lambda g: len(set(g)) >= 3)


@given(groups, st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.one_of(st.integers(2, 50), st.floats(0.1, 1)))
def test_parts(names, query, validation, train):
    """Query and database are all rows; train and validation are disjoint parts of the database."""
    if round(query * len(set(names))) + round(validation * len(set(names))) >= len(set(names)) - 1:
        return
    split = grouped(names, query=query, validation=validation, train=train, seed=0)
    rows = {name: set(part.tolist()) for name, part in split.items()}
    assert rows["query"] | rows["database"] == set(range(len(names)))
    assert not rows["query"] & rows["database"]
    assert rows["train"] | rows["validation"] <= rows["database"]
    assert not rows["train"] & rows["validation"]
    of = {part: {names[row] for row in rows[part]} for part in rows}
    assert not of["query"] & of["database"]
    assert not of["train"] & of["validation"]
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in split.values())
    if isinstance(train, int):
        assert len(rows["train"]) <= train


def test_seed_decides():
    """The same seed gives the same split, another one another."""
    names = [str(i) for i in range(100)]
    a, b, c = (
        grouped(names, query=0.15, validation=0.1, train=1.0, seed=s)["query"].tolist() for s in (0, 0, 1)
    )
    assert a == b != c
    assert len(a) == 15


def test_too_few_groups():
    """Two groups cannot be three parts."""
    with pytest.raises(ValueError, match="2 groups of items cannot be split"):
        grouped(["a", "b", "b"], query=0.2, validation=0.2, train=1.0, seed=0)


def test_a_split_that_the_data_states_is_kept():
    """Queries and training items as stated; a validation set is drawn, whole groups, where there is none."""
    split = ["query", "train", "train", "train", "train", "database"]
    rows = splits.given(split, ["q", "a", "a", "b", "c", "d"], validation=0.34, seed=0)
    assert rows["query"].tolist() == [0]
    assert rows["database"].tolist() == [1, 2, 3, 4, 5]
    assert sorted([*rows["train"], *rows["validation"]]) == [1, 2, 3, 4]
    assert len(set(rows["validation"]) & {1, 2}) in (0, 2)
    assert len(rows["validation"]) > 0
    stated = splits.given(["query", "validation", "train"], ["a", "b", "c"], validation=0.5, seed=0)
    assert (stated["validation"].tolist(), stated["train"].tolist()) == ([1], [2])


@pytest.mark.parametrize(
    ("split", "message"), [(["train", "train"], "split query"), (["query", "database"], "split train")]
)
def test_a_stated_split_without_a_side_is_refused(split, message):
    """Nothing to test with, or nothing to train on."""
    with pytest.raises(ValueError, match=message):
        splits.given(split, ["a", "b"], validation=0.0, seed=0)
