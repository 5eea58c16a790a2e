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


def test_drawn_as_published_code_draws() -> None:
    """The rows of the code of DCHMT and of those after it."""
    np.random.seed(1814)
    order = np.random.permutation(range(100))
    rows = splits.drawn(100, query=10, train=30, validation=5, seed=1814)
    assert rows["query"].tolist() == sorted(order[:10])
    assert rows["train"].tolist() == sorted(order[10:40])
    assert rows["validation"].tolist() == sorted(order[40:45])
    assert rows["database"].tolist() == sorted(order[10:])
    whole = splits.drawn(100, query=10, train=None, validation=5, seed=0)
    assert (len(whole["train"]), len(whole["validation"]), len(whole["database"])) == (85, 5, 90)
    with pytest.raises(ValueError, match="leave 90 others, fewer than 5 validation items and 86 to train on"):
        splits.drawn(100, query=10, train=86, validation=5, seed=0)


def test_drawn_label_by_label() -> None:
    """As many queries and training items as DJSRH takes of each label, none twice."""
    label_NL = (np.random.default_rng(0).random((400, 4)) < 0.4).astype(np.uint8)
    rows = splits.drawn_by_label(
        label_NL, first=(16, 40), others=(8, 20), train=110, validation=10, seed=3
    )  # fmt: skip
    assert len(rows["query"]) == 16 + 3 * 8
    assert (len(rows["train"]), len(rows["validation"]), len(rows["database"])) == (110, 10, 360)
    every = np.concatenate([rows["query"], rows["train"], rows["validation"]])
    assert len(np.unique(every)) == len(every)
    assert label_NL[rows["query"]].any(axis=1).all()
    again = splits.drawn_by_label(label_NL, first=(16, 40), others=(8, 20), train=110, validation=10, seed=3)
    assert all(np.array_equal(rows[name], again[name]) for name in rows)
