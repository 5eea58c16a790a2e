"""`cmh catalog`: what it knows, and what it counts where the files are here."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from data_catalog import catalog
from tests.cmh.data.readers import published
from tests.flows.command_line import cmh


def test_the_list_and_one_of_it(cmh_home: Path) -> None:
    """Names, protocols; `show` may be left out; files that are not here are said."""
    listed = cmh("catalog").out
    assert "flickr30k" in listed
    assert "dcmh, ucch, djsrh, dchmt, mith, labels38" in listed
    assert cmh("catalog", "nuswide").out == cmh("catalog", "show", "nuswide").out
    shown = cmh("catalog", "show", "nuswide", "--protocol", "djsrh").out
    assert "Counts: items 186577, labels 10, query 2000, database 184577, train 5000" in shown
    assert "Its files are not here" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--protocol", "dcmh"), "--protocol dcmh belongs to a dataset"),
        (("show", "wiki", "emoji"), "write `cmh catalog show DATASET`"),
        (("emoji", "--protocol", "x"), "it has none"),
    ],
)
def test_what_is_not_understood(words: tuple[str, ...], message: str, cmh_home: Path) -> None:
    """Two datasets at once, a protocol that the dataset does not have."""
    said = cmh("catalog", *words)
    assert said.status == 2
    assert message in said.err


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["dcmh", "djsrh", "dchmt", "labels38"])
def test_counts_of_mirflickr_at_its_real_size(protocol: str, cmh_home: Path) -> None:
    """Made items in the publisher's form and numbers, from the zip to the split."""
    entry = catalog.load("mirflickr25k").under("labels38")
    published.mirflickr_at_size(cmh_home / "downloads" / "mirflickr25k", entry.options["labels"])
    said = cmh("catalog", "show", "mirflickr25k", "--protocol", protocol)
    counts = catalog.load("mirflickr25k").under(protocol).counts
    assert said.status == 0, said.err
    assert "Unlike the catalog" not in said.out
    assert f"{counts['query']} query, {counts['database']} database, {counts['train']} train" in said.out
    assert f"{counts['items']} items, {counts['items']} images" in said.out
    assert f"{counts['labels']} labels" in said.out


def test_features_of_ones_own_are_counted(tmp_path: Path, cmh_home: Path) -> None:
    """As images and texts are; other counts than the entry's are said, and stop no run."""
    label_NL = np.eye(2)[np.arange(40) % 2]
    np.savez(tmp_path / "f.npz", image=np.eye(40), text=np.eye(40), labels=label_NL)
    split = {"query": 0.2, "validation": 0.1, "train": 1.0}
    own = catalog.own_entry("features", {"features": tmp_path / "f.npz"}, "Mine", split=split)
    fields = own.model_dump(mode="json") | {"counts": {"items": 7}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(fields))
    said = cmh("catalog", str(tmp_path / "mine.yaml"))
    assert said.status == 0, said.err
    assert "40 items; 40 numbers of an image, 40 of a text, 2 labels" in said.out
    assert "8 query, 32 database, 28 train, 4 validation" in said.out
    assert "Unlike the catalog\n  40 items in place of 7; are its files whole?" in said.out
    assert "A run would stop" not in said.out
