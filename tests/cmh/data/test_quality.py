"""What a split lets through, counted on a data set of six items; and cells that look wrong."""

import numpy as np
import pytest

from cmh.data import quality


def test_counts_of_a_leaking_split() -> None:
    """Each figure by hand."""
    said = ["a dog", "a cat", "A dog", "a bird", "sea", "a cat"]
    label_NL = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.uint8)
    split = {
        "query": np.array([0, 3, 4]), "database": np.array([1, 2, 5]), "train": np.array([1, 2]),
        "validation": np.array([5]),
    }  # fmt: skip
    found = quality.of_items(said, ["g", "h", "g", "i", "j", "k"], label_NL, split)
    assert found.items == {"query": 3, "database": 3, "train": 2, "validation": 1}
    assert (found.overlaps, found.groups_torn, found.texts_shared) == (0, 1, 1)
    assert (found.labels_once, found.labels_unseen, found.queries_alone) == (2, 2, 2)
    assert found.words_unseen == (2, 4)  # bird and sea, of a, dog, bird, sea
    assert found.trained_share == pytest.approx(2 / 3)
    assert "1 of 3 queries have a training item's text" in "\n".join(found.lines())


@pytest.mark.parametrize(
    ("groups", "told"),
    [("aabbcc", ""), ("aabcbc", "2 group(s) have items both in the training and in the validation set, such"),
     ("aaaaaa", "1 group(s) have items both"), ("abcdae", "")],
)  # fmt: skip
def test_groups_that_are_trained_on_and_validated_by_are_counted(groups: str, told: str) -> None:
    """Queries, and items of the database alone, do not count."""
    split = {"query": np.array([0]), "train": np.array([1, 2, 3]), "validation": np.array([4, 5])}
    said = "\n".join(quality.of_validation(groups, split))
    assert said.startswith(told)
    assert bool(said) == bool(told)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "are empty"), ("NaN", "'nan'"), ("<b>dog</b>", "markup"), ("dog &amp; cat", "markup"),
     ("see https://x.y", "an address"), ("cafÃ©", "broken letters"), ("caf\ufffd", "broken letters")],
)  # fmt: skip
def test_suspicious_texts(text: str, message: str) -> None:
    """Each is said with the item."""
    (line,) = quality.suspicious_texts([f"word {n}" for n in range(50)] + [text])
    assert message in line
    assert "item 51" in line


def test_suspicious_labels() -> None:
    """Once, of other capitals, on nearly all items."""
    labels = [("all", "Dog")] * 10 + [("all", "dog")] * 10 + [("all", "rare")]
    told = "\n".join(quality.suspicious_labels(labels))
    assert "1 label(s) occur once, such as 'rare'" in told
    assert "capitals or spaces only: 'Dog', 'dog'" in told
    assert "'all': over 90 %" in told
    assert "yes or no" not in told
    (answers,) = quality.suspicious_labels([("True",), ("False",)] * 2)
    assert answers.startswith("the labels are 'False', 'True', which say yes or no and name nothing")
    assert quality.suspicious_texts(["same text"] * 3 + ["other"] * 2) == [
        "3 items have the same text: 'same text'"
    ]
