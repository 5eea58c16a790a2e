"""The card of a dataset: what it says is what the dataset holds."""

import errno
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_catalog import catalog
from flows import card
from flows.resources import Resources
from flows.stages import dataset, images
from infra.artifacts import Ref
from infra.manifest import File, Manifest
from infra.storage import Store
from tests.cmh.data.readers import forms as made


@pytest.fixture
def dataset_ref(local_store: Store, tmp_path: Path) -> Ref:
    """Thirty pairs of a user's own, as the pipeline makes them."""
    folder = made.csv_folder(tmp_path / "own", made.items())
    (photos,) = (path for path in folder.iterdir() if path.is_dir())
    entry = catalog.folder_entry(photos, folder / "items.csv")
    target = images.target(entry)
    pixels = images.make.compute(local_store, target, entry, None, Resources(threads=1)).ref
    target = dataset.target(pixels, entry)
    return dataset.make.compute(local_store, target, pixels, entry, None).ref


def test_a_card_has_pictures_splits_and_croissant(
    local_store: Store, dataset_ref: Ref, tmp_path: Path
) -> None:
    """Every file has its checksum, every field is a column, and the ids are those of the split."""
    files = card.write(local_store, dataset_ref.address, tmp_path / "card")
    found = {path.relative_to(tmp_path / "card").as_posix(): path.read_bytes() for path in files}
    described = json.loads(found.pop("croissant.json"))
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    listed = {file["contentUrl"]: file["sha256"] for file in described["distribution"]}
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    items = pq.read_table(io.BytesIO(found["items.parquet"]))
    (record_set,) = described["recordSet"]
    assert [one["source"]["extract"]["column"] for one in record_set["field"]] == items.column_names
    assert [one["name"] for one in record_set["field"] if one.get("isArray")] == ["labels"]
    split = {row["id"]: row["split"] for row in items.to_pylist()}
    for part in ("query", "train", "validation"):
        ids = found[f"splits/{part}.txt"].decode().split()
        assert ids == [one for one, its in split.items() if its == part]
        assert ids
    for name in ("pairs.jpg", "histograms.png"):
        assert f"]({name})" in found["README.md"].decode()
        assert Image.open(io.BytesIO(found[name])).size > (400, 300)


def test_a_card_is_whole_or_not_there(
    local_store: Store, dataset_ref: Ref, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves nothing, so that the same command works afterwards, into an empty folder too."""
    (tmp_path / "cards" / "mine").mkdir(parents=True)
    whole = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "labels.txt":
            raise OSError(errno.ENOSPC, "no space left")
        return whole(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="no space left"):
            card.write(local_store, dataset_ref.address, tmp_path / "cards" / "mine")
    assert [path.name for path in (tmp_path / "cards").rglob("*")] == ["mine"]
    files = card.write(local_store, dataset_ref.address, tmp_path / "cards" / "mine")
    assert all(path.is_file() for path in files)


@pytest.mark.parametrize(
    ("name", "noise", "reader", "about"),
    [
        ("wiki", None, "wiki", "2,866 sections"),
        ("wiki-validation", None, "wiki", "a tenth of the database"),
        ("wiki-noise50", {"rate": 0.5}, "wiki", "2,866 sections"),
        ("wiki", None, "folder", ""),  # somebody's own, of the same name
    ],
)
def test_licence_and_citation_are_those_of_the_entry_that_it_was_made_from(
    name: str, noise: dict[str, float] | None, reader: str, about: str
) -> None:
    """By a protocol or with wrong labels, too; and never those of another dataset with the same name."""
    config: dict[str, Any] = {"reader": reader, "sources": {"features": "0" * 64}}
    if noise is not None:
        config["label_noise"] = noise
    manifest = Manifest(
        kind="dataset", name=name, identity="0" * 64, content="0" * 64, config=config, inputs={}, revision=5,
        data="data-0", files={"README.md": File(size=1, sha256="0" * 64)}, run={},
    )  # fmt: skip
    described = card._description(manifest, {})
    assert about in str(described["description"])
    assert ("license" in described) == ("citeAs" in described) == bool(about)


def test_what_cannot_have_a_card_is_refused(local_store: Store, dataset_ref: Ref, tmp_path: Path) -> None:
    """A folder that holds something, and artifacts of other kinds; nothing is written."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for place in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        with pytest.raises(ValueError, match="is no empty folder; name a new one"):
            card.write(local_store, dataset_ref.address, place)
    (pixels,) = local_store.folders("images/folder")
    with pytest.raises(ValueError, match="is no dataset; `cmh ls dataset` lists them"):
        card.write(local_store, f"images/folder/{pixels}", tmp_path / "new")
    assert not (tmp_path / "new").exists()
