"""Label rules against a table by hand; the errors that would make retrieval meaningless."""

import pytest

from cmh.data.labels import assign, check_enough

RULES = {"food": {"groups": ["food"]}, "red": {"tags": ["red", "crimson"]}, "unused": {"tags": ["none"]}}


def test_rules_by_hand():
    """A label is earned by any value of any trait; a label nobody earns is left out."""
    traits = [{"groups": ["food"], "tags": ["crimson"]}, {"tags": ["red"]}, {"groups": ["car"]}]
    names, label_NL = assign(traits, RULES)
    assert names == ["food", "red"]
    assert label_NL.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_own_labels():
    """Without rules the trait "labels" is the label."""
    names, label_NL = assign([{"labels": ["b", "a"]}, {"labels": ["b"]}, {}], {})
    assert names == ["a", "b"]
    assert label_NL.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_no_label_and_one_label_are_errors():
    """Nothing is relevant, or everything: the message says what to do; none at all is data all the same."""
    names, label_NL = assign([{}, {"labels": []}], {})
    assert (names, label_NL.shape) == ([], (2, 0))
    with pytest.raises(ValueError, match="no item has a label"):
        check_enough(names)
    with pytest.raises(ValueError, match="only one label, 'a'"):
        check_enough(["a"])
    check_enough(["a", "b"])


def test_ids_taken_for_labels_are_refused_before_the_matrix_is_made():
    """A label for each of 100,000 items is a matrix of 9 GiB."""
    with pytest.raises(ValueError, match=r"100000 different labels of 100000 items, .* hold ids or texts"):
        assign([{"labels": (str(number),)} for number in range(100_000)], {})
