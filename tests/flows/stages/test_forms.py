"""The same data by every door gives the same dataset, byte by byte."""

import csv
import tarfile
from pathlib import Path

import pytest

from flows.experiment import Experiment
from flows.resources import Resources
from flows.run import resolve
from flows.stages import dataset, images
from infra import dask_cluster
from infra.stores import open_store
from tests.cmh.data.readers import forms as made
from tests.cmh.data.readers.forms import Item
from tests.cmh.methods import shallow

pytestmark = pytest.mark.slow


def flickr8k(count: int) -> list[Item]:
    """The first photos of Flickr8k with their first caption; a word of it is their label."""
    folder = shallow.SHARED / "flickr8k"
    if not folder.exists():
        pytest.skip(f"Flickr8k is not at {folder}; set CMH_SHARED_DATA to the folder that holds it")
    with (folder / "captions.txt").open(newline="") as file:
        said = {row["image"]: row["caption"] for row in reversed(list(csv.DictReader(file)))}
    found = []
    with tarfile.open(folder / "flickr8k_128px_q88.tar") as tar:
        for info in tar:
            name = Path(info.name).name
            if name in said and len(found) < count:
                text = said[name].strip()
                labels = tuple(word for word in ("dog", "man", "girl", "boy") if word in text) or ("other",)
                found.append(Item(name, tar.extractfile(info).read(), text, labels))
    return sorted(found)


def content(path: Path, columns: str, address: str) -> tuple[str, str]:
    """The contents of the two artifacts of a user's own data."""
    entry = resolve(Experiment(dataset=str(path), columns=columns)).entry
    store, resources = open_store(), Resources(threads=1, dask=address)
    pictures = images.make.compute(store, images.target(entry), entry, None, resources).ref
    target = dataset.target(pictures, entry)
    return pictures.content, dataset.make.compute(store, target, pictures, entry, None).ref.content


def test_equal_digests(tmp_path: Path, cmh_home: Path) -> None:
    """Three hundred photos of Flickr8k: in a folder, in Parquet and webdataset shards, and others."""
    items = flickr8k(300)
    with dask_cluster.connect(dashboard="127.0.0.1:0") as client:
        found = {
            door: content(getattr(made, door)(tmp_path / door, items), columns, client.scheduler.address)
            for door, columns in made.DOORS.items()
        }
    assert set(found.values()) == {found["csv_folder"]}, found
