"""`cmh inspect`: what it says of good data, and of ten kinds of damage, before anything runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from flows import own_data
from flows.experiment import Experiment
from flows.run import resolve
from infra import bucket
from infra.storage import Store
from tests import damaged
from tests.cmh.data.readers import forms as made
from tests.flows.command_line import cmh

SAID = {  # damage → exit status, what is said
    "truncated": (1, r"03.jpg  +image cannot be decoded|truncated"),
    "wrong_suffix": (0, "1 named .jpg, but is PNG: read by content, such as 03.jpg"),
    "cmyk": (0, "1 CMYK: converted to RGB without a colour profile, such as 03.jpg"),
    "sixteen_bits": (0, "1 16 bits of grey: scaled to 8, such as 03.jpg"),
    "animated": (0, "1 animated: only its first picture is read, such as 03.jpg"),
    "zero_bytes": (1, "at least 1 of 40 items are unusable, more than 1%"),
    "turned": (0, "1 turned by EXIF: read as it is shown, such as 03.jpg"),
    "missing_label_row": (2, "line 6: 2 fields for 3 columns"),
    "wrong_height": (2, r"different numbers of rows \(image 40, text 40, labels 39\)"),
    "double_id": (1, "1 id.s. occur twice, such as 7"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damaged.make(tmp_path_factory.mktemp("good") / "data")


def test_what_is_said_of_good_data(good: Path, cmh_home: Path) -> None:
    """Form, columns, counts, pairs, labels, images, doubles, the split, and the command to go on with."""
    said = cmh("inspect", good)
    assert said.status == 0, said.err
    for line in (
        "a table of items and a folder of images",
        "40 items, 40 images, 40 groups, 4 labels, 0 items without a label",
        "looked at all; 0 cannot be used",
        "40 JPEG RGB",
        "drawn: by groups, query 0.15",
        f"cmh run {good} --bits 16 --evaluation.bits 16 --training.batch-size 16",
    ):
        assert line in said.out
    assert not (cmh_home / "store").exists()  # nothing is written


@pytest.mark.parametrize("damage", damaged.DAMAGES)
def test_what_is_said_of_damage(damage: str, tmp_path: Path, cmh_home: Path) -> None:
    """By name, with what a run would do; the exit status says whether it would stop."""
    damaged.DAMAGES[damage](damaged.make(tmp_path / "data"))
    said = cmh("inspect", tmp_path / "data")
    status, message = SAID[damage]
    assert said.status == status, said.out + said.err
    assert re.search(message, said.out + said.err), said.out + said.err


def test_validation_by_copies_of_one_image_is_told(tmp_path: Path, cmh_home: Path) -> None:
    """No epoch is better than another by them, whatever is trained."""
    folder = damaged.make(tmp_path / "data")
    photos = sorted(folder.rglob("*.jpg"))
    for photo in photos[:36]:
        photo.write_bytes(photos[0].read_bytes())
    said = cmh("inspect", folder)
    assert "40 items, 40 images, 5 groups" in said.out
    assert "are of 1 group(s), such as" in said.out


def test_groups_torn_by_the_validation_set_are_told(tmp_path: Path, cmh_home: Path) -> None:
    """Of a table that states its own split."""
    folder = damaged.make(tmp_path / "data")
    (table,) = folder.glob("*.csv")
    head, *rows = table.read_text().splitlines()
    splits = ["query"] * 7 + ["train"] * 23 + ["validation"] * 10
    groups = [f"place {number // 7}" for number in range(len(rows))]
    cells = zip(rows, splits, groups, strict=True)
    table.write_text("\n".join([f"{head},split,group", *(",".join(row) for row in cells)]))
    said = cmh("inspect", folder)
    assert (
        "1 group(s) have items both in the training and in the validation set, such as 'place 4'" in said.out
    )


def test_other_columns_are_named_in_the_command(tmp_path: Path, cmh_home: Path) -> None:
    """What was needed to understand the table is part of what to go on with."""
    path = made.tsv_of_other_names(tmp_path / "x", made.items(40))
    refused = cmh("inspect", path)
    assert refused.status == 2
    assert "it has path, title, tags" in refused.err
    said = cmh("inspect", path, "--columns", "image=path,text=title,labels=tags")
    assert f"cmh run {path} --columns image=path,text=title,labels=tags" in said.out
    assert [line.split() for line in said.out.splitlines() if line.startswith("Tags ")] == [
        ["Tags", "labels"]
    ]


def test_the_words_of_a_run_are_understood(good: Path, cmh_home: Path) -> None:
    """`--images` and `--items`, as `cmh run` takes them; a table named twice, or nothing, is refused."""
    (table,), images = good.glob("*.csv"), next(good.rglob("*.jpg")).parent
    by_path = cmh("inspect", table, "--images", images, "--json").out
    assert cmh("inspect", "--images", images, "--items", table, "--json").out == by_path
    assert json.loads(by_path)["refusals"] == []
    said = cmh("inspect", images, "--items", table).err
    assert "both name the data; give one of them, or the images of the table as --images: " in said
    assert f"cmh inspect --images {images} --items {table}" in said
    assert "no data was given; give a folder or a file: cmh inspect photos/" in cmh("inspect").err
    assert f"--images {images} has no table; give a folder" in cmh("inspect", "--images", images).err


def test_what_programs_get(good: Path, cmh_home: Path) -> None:
    """One JSON object with the same parts."""
    found = json.loads(cmh("inspect", good, "--json").out)
    assert set(found) == {"sections", "refusals", "command"}
    assert {row["column"]: row["read as"] for row in found["sections"]["Columns"]["rows"]} == {
        "image": "image", "text": "text", "labels": "labels",
    }  # fmt: skip


def test_a_copy_of_a_bucket_is_named_by_its_address(cmh_home: Path) -> None:
    """In what is shown, in why a run would stop, and in what is refused."""
    folder = damaged.make(bucket.copies() / "mine" / "data")
    damaged.DAMAGES["zero_bytes"](folder)
    said = cmh("inspect", folder)
    assert "s3://mine/data/items.csv" in said.out
    assert str(bucket.copies()) not in said.out.partition("A run would stop")[2]
    damaged.DAMAGES["missing_label_row"](folder)
    refused = cmh("inspect", folder)
    assert "cmh: s3://mine/data/items.csv, line 6: 2 fields for 3 columns" in refused.err


@pytest.mark.slow
def test_data_in_a_bucket(good: Path, s3_store: Store) -> None:
    """Copied, and looked at as if it lay here; the command to go on names the bucket."""
    for path in good.rglob("*.*"):
        s3_store.write_bytes(path.relative_to(good).as_posix(), path.read_bytes())
    said = cmh("inspect", s3_store.url)
    assert said.status == 0, said.out + said.err
    assert "40 items, 40 images" in said.out
    assert f"cmh run {s3_store.url} --bits 16" in said.out
    table = f"{s3_store.url}/items.csv"
    said = cmh("inspect", table, "--images", f"{s3_store.url}/photos")
    assert f"cmh run --images {s3_store.url}/photos --items {table}" in said.out
    s3_store.write_bytes("cut/items.csv", b"image,text\na.jpg\n")
    assert f"cmh: {s3_store.url}/cut/items.csv, line 2" in cmh("run", f"{s3_store.url}/cut").err
    refused = cmh("inspect", f"{s3_store.url}/nothing")
    assert "no such object, and nothing below it" in refused.err


def test_features_of_one_label_go_on(tmp_path: Path, cmh_home: Path) -> None:
    """With the method of own data, which needs no labels."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.random((60, 8), np.float32) for name in ("image", "text")}
    np.savez(tmp_path / "f.npz", labels=np.ones((60, 1), np.uint8), **arrays)
    said = cmh("inspect", tmp_path / "f.npz")
    assert f"cmh run {tmp_path / 'f.npz'}" in said.out, said.out + said.err


def test_data_without_labels_goes_on(tmp_path: Path, cmh_home: Path) -> None:
    """The method of own data learns from pairs."""
    items = [item._replace(labels=()) for item in made.items(60)]
    path = made.csv_folder(tmp_path / "x", items)
    said = cmh("inspect", path)
    assert said.status == 0, said.out
    assert f"cmh run {path}" in said.out
    assert resolve(Experiment(dataset=str(path))).experiment.method == own_data.METHOD
