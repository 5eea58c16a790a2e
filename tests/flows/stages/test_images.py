"""Preprocessing with a real Dask cluster: hand-made emoji and folders in, two artifacts out."""

import json
import os

import numpy as np
import pytest
import zarr
from PIL import Image

from cmh.data import schema
from data_catalog import catalog
from flows import rejections, sources
from flows.resources import Resources
from flows.stages import dataset as dataset_stage
from flows.stages import images as images_stage
from flows.stages import records as record_stage
from infra import artifacts, fetch, process_pool
from infra.fetch import FetchError
from infra.process_pool import ProcessPool
from infra.stores import open_store
from tests.cmh.data.readers import published
from tests.raw import pack

RESOURCES = Resources(threads=1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of its own for every test."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path / "home"))


def emoji_entry(folder, **changes):
    """The catalog's entry over the hand-made emoji."""
    entry = catalog.load("emoji")
    sources = {name: catalog.Local(kind="path", path=path) for name, path in pack.emoji(folder).items()}
    options = {"openmoji": "openmoji", "keywords": "emojilib", "icons": ["icons"]}
    text = entry.text.model_copy(update={"min_df": 1})
    return entry.model_copy(update={"sources": sources, "options": options, "text": text} | changes)


def folder_entry(folder, rows, broken=(), **changes):
    """A folder of red squares with a table of (image, text, labels)."""
    (folder / "photos").mkdir()
    for name in {row[0] for row in rows}:
        path = folder / "photos" / name
        Image.new("RGB", (40, 30), "red").save(path)
        path.write_bytes(path.read_bytes() + name.encode())  # no two files are the same, byte by byte
    for name in broken:
        path = folder / "photos" / name
        path.write_bytes(path.read_bytes()[:60])
    table = "\n".join(",".join(row) for row in [("image", "text", "labels"), *rows])
    (folder / "items.csv").write_text(table)
    return catalog.folder_entry(folder / "photos", folder / "items.csv", **changes)


def build(entry, resources, limit=None):
    """Both artifacts of an entry, opened."""
    store = open_store()
    images = images_stage.make.compute(store, images_stage.target(entry, limit), entry, limit, resources).ref
    target = dataset_stage.target(images, entry, limit)
    dataset = dataset_stage.make.compute(store, target, images, entry, limit).ref
    return artifacts.open_artifact(store, images), artifacts.open_artifact(store, dataset)


def test_emoji(tmp_path):
    """Every array and column is as the schema says, rows agree with each other, and no group is torn."""
    images, dataset = build(emoji_entry(tmp_path), RESOURCES)
    pixels = zarr.open_group(images.zarr("images.zarr"), mode="r")["image"][:]
    group = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    sizes = schema.validate(group, schema.DATASET)
    described = images.read_table("images.parquet").to_pylist()
    items = dataset.read_table("items.parquet").to_pylist()
    words = dataset.read_bytes("vocabulary.txt").decode().split()
    names = dataset.read_bytes("labels.txt").decode().split()
    quality = json.loads(dataset.read_bytes("quality.json"))
    assert quality["overlaps"] == quality["groups_torn"] == 0
    assert quality["items"]["query"] == len(group["split/query"][:])
    assert f"{quality['queries_alike']} of" in dataset.read_bytes("README.md").decode()
    assert [row["hash"] is None for row in images.read_table("images.parquet").to_pylist()] == [False] * 12
    assert pixels.shape == (12, 96, 96, 3)
    assert sizes["N"] == len(items) == 12
    assert [described[row]["id"] for row in group["image_row"][:]] == [item["id"] for item in items]
    apple = [item["id"] for item in items].index("icons/1F34E")
    assert items[apple]["labels"] == ["food", "fruit"]
    assert (pixels[group["image_row"][apple], 48, 10] == (221, 0, 0)).all()
    labels = [[name for name, has in zip(names, row, strict=True) if has] for row in group["label"][:]]
    assert labels == [item["labels"] for item in items]
    parts = {
        part: {i["group"] for i in items if i["split"] == part} for part in ("query", "train", "validation")
    }
    assert not parts["query"] & parts["train"]
    assert not parts["query"] & parts["validation"]
    order = [[word for word in item["text"].lower().split() if word in words] for item in items]
    assert [[words[number - 1] for number in row if number] for row in group["tokens"][:]] == order
    train = {word for i in items if i["split"] == "train" for word in i["text"].lower().split()}
    assert set(words) == train


def test_the_length_of_sequences_is_part_of_the_dataset(tmp_path):
    """Two words of each text in their order; another dataset than that of all of them."""
    entry = emoji_entry(tmp_path)
    entry = entry.model_copy(update={"text": entry.text.model_copy(update={"length": 2})})
    _, short = build(entry, RESOURCES)
    _, whole = build(emoji_entry(tmp_path), RESOURCES)
    two, all_words = (zarr.open_group(d.zarr("dataset.zarr"), mode="r")["tokens"][:] for d in (short, whole))
    assert two.shape == (12, 2)
    assert np.array_equal(two, all_words[:, :2])
    assert short.ref.identity != whole.ref.identity


def test_second_run_is_cached_and_a_label_rule_touches_the_dataset_only(tmp_path):
    """The images of an entry do not depend on its label rules; the dataset does."""
    entry, store = emoji_entry(tmp_path), open_store()
    images, dataset = build(entry, RESOURCES)
    changed = entry.model_copy(update={"labels": entry.labels | {"fruit": {"tags": ["banana"]}}})
    assert artifacts.lookup(store, images_stage.target(changed)) == images.ref
    assert artifacts.lookup(store, dataset_stage.target(images.ref, entry)) == dataset.ref
    assert artifacts.lookup(store, dataset_stage.target(images.ref, changed)) is None
    _, other = build(changed, RESOURCES)
    assert other.ref.content != dataset.ref.content


def test_limit_takes_whole_groups(tmp_path):
    """A trial of four records has both drawings of a concept, and a target of its own."""
    entry = emoji_entry(tmp_path)
    records = list(record_stage.read(entry, sources.paths(entry), 4))
    assert len(records) == 4
    assert len({record.group for record in records}) < 4
    assert images_stage.target(entry, 4).identity != images_stage.target(entry).identity


ROWS = [(f"{i}.png", f"word{i % 5} red", "a" if i % 2 else "b|c") for i in range(20)]


def test_folder_with_one_corrupt_image(tmp_path, monkeypatch):
    """The damaged item is put aside with its reason, and only it; counts unlike the entry's are told."""
    told: list[str] = []
    monkeypatch.setattr(sources._log, "warning", told.append)
    monkeypatch.setattr(rejections._log, "info", told.append)
    counts = {"records": 20, "items": 20, "labels": 3}
    entry = folder_entry(tmp_path, ROWS, broken=["3.png"], max_rejected=0.1, counts=counts)
    images, dataset = build(entry, RESOURCES)
    assert told == [
        "folder: 1 of 20 items left out: 1 damaged image",
        "folder, unlike its catalog entry: 19 items in place of 20; are its sources whole?",
    ]
    (rejected,) = dataset.read_table("rejected.parquet").to_pylist()
    assert rejected["id"] == "3.png"
    assert "truncated" in rejected["reason"] or "Truncated" in rejected["reason"]
    group = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    assert group["image_row"][:].tolist() == [i for i in range(20) if i != 3]
    pixels = zarr.open_group(images.zarr("images.zarr"), mode="r")["image"][:]
    assert (pixels[3] == 0).all()
    assert (pixels[4] == (255, 0, 0)).all()


def test_too_many_damaged_items_stop_the_run(tmp_path):
    """The default is 1 %; the message lists them and says what to do."""
    entry = folder_entry(tmp_path, ROWS, broken=["3.png"])
    with pytest.raises(
        ValueError, match=r"at least 1 of 20 items are unusable, more than 1%:\n  3\.png: .*\nmend them"
    ):
        build(entry, RESOURCES)
    assert artifacts.list_artifacts(open_store()) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(image, text, "") for image, text, _ in ROWS], "no item has a label"),
        ([(image, text, "a") for image, text, _ in ROWS], "only one label, 'a'"),
        ([*ROWS[:-1], ("19.png", " ", "a")], r"19\.png: its text is empty"),
        ([], "names its columns and has no item"),
    ],
)
def test_unfit_tables_are_refused_before_the_work(tmp_path, rows, message, monkeypatch):
    """No process is started for a table that cannot give a dataset."""
    monkeypatch.setattr(process_pool, "start", None)
    entry = folder_entry(tmp_path, rows).model_copy(update={"unlabelled": "left out"})
    with pytest.raises(ValueError, match=message):
        build(entry, RESOURCES)


def test_ids_that_occur_twice_are_refused(tmp_path, monkeypatch):
    """Those of the table's own column; several rows of one image without ids get a number."""
    monkeypatch.setattr(process_pool, "start", None)
    entry = folder_entry(tmp_path, ROWS)
    rows = "".join(f"{image},{text},{labels},same\n" for image, text, labels in ROWS)
    (tmp_path / "items.csv").write_text(f"image,text,labels,id\n{rows}")
    with pytest.raises(ValueError, match=r"1 id\(s\) occur twice, such as same"):
        build(entry, RESOURCES)


def test_one_image_with_several_captions_is_decoded_once(tmp_path):
    """Its items share a row of the images and a group, so they are on one side of the split."""
    entry = folder_entry(tmp_path, [*ROWS, *ROWS[:4]])
    images, dataset = build(entry, RESOURCES)
    assert zarr.open_group(images.zarr("images.zarr"), mode="r")["image"].shape[0] == 20
    group = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    assert group["image_row"][:].tolist() == [*range(20), 0, 1, 2, 3]
    table = dataset.read_table("items.parquet").to_pydict()
    assert table["id"][20] == "0.png#2"
    query = set(group["split/query"][:].tolist())
    assert all((row in query) == (row + 20 in query) for row in range(4))


def test_changed_folder_is_another_target(tmp_path):
    """One pixel changed in one file: the images are made again."""
    entry = folder_entry(tmp_path, ROWS)
    before = images_stage.target(entry)
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "photos" / "0.png")
    assert images_stage.target(entry).identity != before.identity


def test_what_is_no_data_leaves_the_target_as_it_is(tmp_path, monkeypatch):
    """A store within the folder, hidden files; a name that is no UTF-8 counts like others."""
    entry = folder_entry(tmp_path, ROWS)
    before = images_stage.target(entry)
    photos = tmp_path / "photos"
    monkeypatch.setenv("CMH_HOME", str(photos / "kept"))
    for name in ("kept/store/a", ".hidden/b.png", ".DS_Store"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"no data")
    assert images_stage.target(entry).identity == before.identity
    (photos / os.fsdecode(b"caf\xe9.png")).write_bytes(b"data")
    assert images_stage.target(entry).identity != before.identity


def test_a_folder_of_downloads_is_told_by_its_files(tmp_path, monkeypatch):
    """What a person puts into the home's downloads is data, although it lies in the home."""
    home = tmp_path / "home"
    monkeypatch.setenv("CMH_HOME", str(home))
    folder = home / "downloads" / "set"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"one")
    before = sources.file_or_folder(folder)
    (folder / "a.jpg").write_bytes(b"other")
    assert sources.file_or_folder(folder) != before


def test_finished_shards_are_taken_over(tmp_path, monkeypatch):
    """After a break only the missing shards are decoded, and the result is the undisturbed one."""
    monkeypatch.setattr(images_stage, "SHARD_BYTES", 96 * 96 * 3 * 4)
    entry, store = emoji_entry(tmp_path), open_store()
    target = images_stage.target(entry)
    mapped = []

    def breaks(_pool, function, parts, **options):
        mapped.append(len(parts))
        options["on_done"](parts[0], function(parts[0]))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProcessPool, "map_parts", breaks)
        with pytest.raises(KeyboardInterrupt):
            images_stage.make.compute(store, target, entry, None, RESOURCES)
        with pytest.raises(KeyboardInterrupt):
            images_stage.make.compute(store, target, entry, None, RESOURCES)
    assert mapped == [3, 2]
    resumed = images_stage.make.compute(store, target, entry, None, RESOURCES).ref
    other = open_store(str(tmp_path / "other"))
    assert images_stage.make.compute(other, target, entry, None, RESOURCES).ref == resumed
    reading = artifacts.open_artifact(store, resumed)
    assert json.loads(reading.read_bytes("logs/rows-0-4.json"))["reasons"] == {}
    assert (
        np.asarray(zarr.open_group(reading.zarr("images.zarr"), mode="r")["image"]).any(axis=(1, 2, 3)).all()
    )


def test_manual_sources_are_asked_for_and_then_read(tmp_path):
    """Without them the message says where to put them; links there make the dataset, and change with it."""
    entry = catalog.load("mirflickr25k")
    split = {"query": 0.3, "validation": 0.3, "train": 1.0}
    options = {"labels": ["plant_life", "sea"], "tag_photos": 3}
    entry = entry.model_copy(update={"options": options, "split": catalog.Split(**split)})
    asked = r"Get it: https://press\.liacs\.nl[^\n]*\nPut it, or a link to it, at .*"
    with pytest.raises(FetchError, match=rf"{asked}\n(.|\n)*{asked}$"):  # for both sources at once
        images_stage.target(entry)
    with pytest.raises(FetchError, match=rf"{asked}\n(.|\n)*{asked}$"):
        sources.paths(entry)
    found = published.mirflickr(tmp_path)
    for source, path in found.items():
        place = fetch.downloads() / entry.sources[source].path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    for number in (1, 2, 3):
        Image.new("RGB", (9, 9), "red").save(found["photos"] / "mirflickr" / f"im{number}.jpg")
    before = images_stage.target(entry).identity
    _, dataset = build(entry, RESOURCES)
    items = dataset.read_table("items.parquet").to_pylist()
    assert [(item["id"], item["labels"]) for item in items] == [
        ("im1", ["sea"]),
        ("im2", ["plant_life", "sea"]),
        ("im3", ["sea"]),
    ]
    (found["annotations"] / "sea.txt").write_text("1\n2\n")
    assert images_stage.target(entry).identity != before


def test_groups_torn_by_the_validation_set_are_told(tmp_path, caplog):
    """A split that is drawn item by item may tear the texts of one image; one drawn by groups does not."""
    rows = [
        (f"{number % 6}.png", f"word{number % 4} red", "a" if number % 2 else "b") for number in range(30)
    ]
    by_item = {"query": 5, "train": "database", "validation": 6}
    build(folder_entry(tmp_path, rows, split=by_item), RESOURCES)
    (told,) = [line for line in caplog.messages if "in the validation set" in line]
    assert told.startswith("folder: ")
    assert "group(s) have items both in the training and in the validation set, such as '0.png'" in told
    caplog.clear()
    build(catalog.folder_entry(tmp_path / "photos", tmp_path / "items.csv"), RESOURCES)
    assert "validation set" not in caplog.text
