"""What is refused of a dataset of features, one fault at a time."""

from dataclasses import replace

import numpy as np
import pytest

from cmh.data.records import FeatureTable

GOOD = FeatureTable(
    id=("a", "b", "c"),
    image=np.ones((3, 2), np.float32),
    text=np.ones((3, 1), np.float32),
    label=np.ones((3, 1), np.uint8),
    labels=("x",),
    query=np.array([True, False, False]),
)
NAN = np.array([[1, 1], [1, np.nan], [1, 1]], np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ("a", "b")}, "2 id, 3 image"),
        ({"id": ("a", "b", "a")}, "ids of two items are the same"),
        ({"image": NAN}, "1 items have image features that are not finite, such as b"),
        ({"text": NAN}, "text features that are not finite, such as b"),
        ({"label": np.array([[1], [1], [0]], np.uint8)}, "no label, such as c"),
        ({"labels": ("x", "y")}, "1 columns of labels have 2 names"),
        ({"query": np.zeros(3, bool)}, "no queries, or no others"),
    ],
)
def test_faults_are_named(change: dict[str, object], message: str) -> None:
    """The error says what is wrong and with which item."""
    with pytest.raises(ValueError, match=message):
        replace(GOOD, **change)
