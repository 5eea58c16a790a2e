"""Both layouts of Wiki, in small files of the publisher's form; and the real file where it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cmh.data.readers import wiki
from data_catalog import catalog
from tests.cmh.methods import shallow

LABELS = ["art", "biology", "music"]
RNG = np.random.default_rng(0)
HELD: dict[str, Any] = {"I_tr": RNG.random((4, 5)), "T_tr": RNG.random((4, 2)), "I_te": RNG.random((2, 5))}
HELD |= {"T_te": RNG.random((2, 2)), "L_tr": np.eye(3)[[0, 1, 2, 1]], "L_te": np.eye(3)[[2, 0]]}


@pytest.fixture
def matrices(tmp_path: Path) -> dict[str, Path]:
    savemat(tmp_path / "all.mat", HELD)
    return {"features": tmp_path / "all.mat"}


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    savemat(tmp_path / "raw.mat", {name: m for name, m in HELD.items() if name[0] != "L"})
    for part, numbers in (("train", [1, 2, 3, 2]), ("test", [3, 1])):
        rows = [f"text-{part}{i}\timage-{part}{i}\t{number}\n" for i, number in enumerate(numbers)]
        (tmp_path / f"{part}.list").write_text("".join(rows))
    return {"features": tmp_path / "raw.mat"} | {p: tmp_path / f"{p}.list" for p in ("train", "test")}


def test_both_layouts_give_the_same_items(matrices: dict[str, Path], lists: dict[str, Path]) -> None:
    """Features, labels and split alike; the lists have names, the matrices numbers."""
    first, second = (wiki.vectors(s, {"labels": LABELS}) for s in (matrices, lists))
    for name in ("image", "text", "label", "query"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert first.query.tolist() == [False] * 4 + [True] * 2
    assert first.label.argmax(1).tolist() == [0, 1, 2, 1, 2, 0]
    np.testing.assert_allclose(first.image[4:], HELD["I_te"], rtol=1e-6)
    assert first.id[4] == "te-0"
    assert second.id[4] == "text-test0 image-test0"


@pytest.mark.parametrize("line", ["only two\tfields", "a\tb\t4", "a\tb\tmusic"])
def test_a_bad_line_is_named(lists: dict[str, Path], line: str) -> None:
    """Too few fields, a class that is not there, a word for a number."""
    lists["test"].write_text(f"text\timage\t1\n{line}\n")
    with pytest.raises(ValueError, match=r"test\.list, line 2: expected .* from 1 to 3"):
        wiki.vectors(lists, {"labels": LABELS})


def test_lists_of_another_length_are_refused(lists: dict[str, Path]) -> None:
    """A line fewer than the matrices have rows."""
    lists["test"].write_text("text\timage\t1\n")
    with pytest.raises(ValueError, match="do not match"):
        wiki.vectors(lists, {"labels": LABELS})


def test_the_real_file_is_what_the_catalog_says() -> None:
    """Counts of the entry."""
    entry = catalog.load("wiki")
    path = shallow.SHARED / "wiki" / "wikiData.mat"
    if not path.exists():
        pytest.skip(f"Wiki is not at {path}; set CMH_SHARED_DATA to the folder that holds wiki/wikiData.mat")
    found = wiki.vectors({"features": path}, entry.options)
    assert len(found.id) == entry.counts["items"]
    assert int(found.query.sum()) == entry.counts["queries"]
    assert (found.image.shape[1], found.text.shape[1], found.label.shape[1]) == (128, 10, 10)
    # Music and warfare, training items, as the publisher's own lists count them.
    assert found.label[~found.query].sum(axis=0)[[6, 9]].tolist() == [186, 347]
