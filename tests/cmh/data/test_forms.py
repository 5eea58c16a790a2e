"""The form of data is told by its content, and the same items come in by every door."""

import pickle
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmh.data import forms, readers, tables
from cmh.data.item_table import columns_of
from cmh.data.records import Record
from tests.cmh.data.readers import forms as made
from tests.cmh.data.readers import published

ITEMS = made.items()


def read(path: Path, columns: str = "", images: Path | None = None) -> list[Record]:
    form = forms.detect(path, columns_of(columns), images)
    return list(readers.load(form.reader).read(form.sources, form.options))


def facts(records: list[Record]) -> list[tuple[object, ...]]:
    return [(r.id, r.source, r.group, r.text, r.traits, r.image_name, r.split, r.image()) for r in records]


@pytest.mark.parametrize("door", made.DOORS)
def test_the_same_items_by_every_door(tmp_path: Path, door: str) -> None:
    """Ids, groups, texts, labels and the bytes of the images, also where a worker is sent the records."""
    path = getattr(made, door)(tmp_path / door, ITEMS)
    sent = pickle.dumps(read(path, made.DOORS[door]))
    assert len(sent) < 1000 * len(ITEMS)
    found = facts(pickle.loads(sent))
    assert found == [
        (i.image, "own", i.image, i.text, {"labels": i.labels}, i.image, "", i.data) for i in ITEMS
    ]


@pytest.mark.parametrize("door", made.DOORS)
def test_equal_bytes_are_one_group_by_every_door(tmp_path: Path, door: str) -> None:
    """Whether they lie in a folder, an archive or a shard."""
    double = ITEMS[0]._replace(image="zzz.png")
    path = getattr(made, door)(tmp_path / door, [*ITEMS, double])
    assert {r.id: r.group for r in read(path, made.DOORS[door])}["zzz.png"] == ITEMS[0].image


def test_equal_names_in_two_shards_are_two_images(tmp_path: Path) -> None:
    """Shards carry their images along; the same name and other bytes is another image."""
    other = ITEMS[:15] + [item._replace(image=ITEMS[0].image) for item in ITEMS[15:16]]
    path = made.parquet_shards(tmp_path / "shards", other)
    records = read(path)
    assert len({record.id for record in records}) == len(other)
    assert records[-1].image() == ITEMS[15].data
    assert records[-1].id.endswith(f"/{ITEMS[0].image}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: made.photos(f, ITEMS), "holds 30 images and no table; a CSV file"),
        (lambda f: made.table(f / "a.csv", ITEMS) and made.table(f / "b.csv", ITEMS), "holds 2 tables"),
        (lambda f: f.mkdir(), "holds no files, and nothing that is read"),
        (lambda f: made.tsv_of_other_names(f, ITEMS), r"lacks the column\(s\) image, text; it"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said(tmp_path: Path, make: object, message: str) -> None:
    """Nothing is guessed: images alone, two tables, an empty folder, unknown columns."""
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "x")


@pytest.mark.parametrize(
    ("columns", "message"),
    [("image", "not understood at 'image'"), ("picture=a", "not understood at 'picture=a'"),
     ("image=a,image=b", "not understood at 'image=b'"), ("image=no", "has no column 'no' for image")],
)  # fmt: skip
def test_columns_that_are_misnamed(tmp_path: Path, columns: str, message: str) -> None:
    """The message says what is written, or what the table has."""
    made.csv_folder(tmp_path / "x", ITEMS)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "x", columns)


def test_splits_by_the_names_of_shards(tmp_path: Path) -> None:
    """As Hugging Face has them; shards of training alone say nothing."""
    path = made.parquet_shards(tmp_path / "shards", ITEMS)
    assert {record.split for record in read(path)} == {""}
    (path / "train-00001-of-00002.parquet").rename(path / "test-00000-of-00001.parquet")
    splits = [record.split for record in read(path)]
    assert splits == ["query"] * 15 + ["train"] * 15


def test_notes_beside_shards_are_not_looked_at(tmp_path: Path) -> None:
    """`datasets` and img2dataset leave JSON and Parquet beside them."""
    path = made.parquet_shards(tmp_path / "x" / "data", ITEMS).parent
    (path / "dataset_infos.json").write_text('{"default": {}}')
    assert len(read(path)) == len(ITEMS)
    tars = made.webdataset_shards(tmp_path / "tars", ITEMS)
    pq.write_table(pa.table({"url": ["x"]}), tars / "00000.parquet")
    assert len(read(tars)) == len(ITEMS)


def test_a_csv_beside_a_parquet_table_is_refused(tmp_path: Path) -> None:
    """Each might be the one that is meant."""
    path = made.parquet_table(tmp_path / "x", ITEMS)
    made.table(path / "other.csv", ITEMS)
    with pytest.raises(ValueError, match=r"holds 2 tables: items\.parquet, other\.csv; give the one"):
        read(path)


def test_features_in_a_parquet_file_further_down(tmp_path: Path) -> None:
    """Whose folder is given."""
    (tmp_path / "data").mkdir()
    vectors = [[0.1, 0.2], [0.3, 0.4]]
    columns = {"image": vectors, "text": vectors, "labels": ["a", "b"]}
    pq.write_table(pa.table(columns), tmp_path / "data" / "f.parquet")
    form = forms.detect(tmp_path)
    assert readers.load_features(form.reader).vectors(form.sources, form.options).labels == ("a", "b")


def test_what_only_the_last_sample_has_is_a_column(tmp_path: Path) -> None:
    """Labels that begin after a hundred samples without any."""
    few = [item._replace(image=f"{n:03}.png", labels=()) for n, item in enumerate(made.items(30) * 4)]
    last = few[-1]._replace(labels=("late",))
    records = read(made.webdataset_shards(tmp_path / "x", [*few[:-1], last], shards=1))
    assert [dict(record.traits) for record in records[-2:]] == [{"labels": ()}, {"labels": ("late",)}]


@pytest.mark.parametrize("suffix", [".parquet", ".tar"])
def test_hidden_shards_are_no_data(tmp_path: Path, suffix: str) -> None:
    """What loads a dataset keeps copies in .cache, and the identity of a folder leaves out what is hidden."""
    door = made.parquet_shards if suffix == ".parquet" else made.webdataset_shards
    path = door(tmp_path / "shards", ITEMS)
    shutil.copytree(path, tmp_path / "copy")
    (tmp_path / "copy").rename(path / ".cache")
    assert len(read(path)) == len(ITEMS)


def test_a_shard_written_again_is_read_again(tmp_path: Path) -> None:
    """Images that are kept in memory do not outlive their file."""
    shard = tmp_path / "shard.parquet"
    for number, item in enumerate(ITEMS[:2]):
        (written,) = made.parquet_shards(tmp_path / f"{number}", [item], shards=1).iterdir()
        written.replace(shard)
        assert [record.image() for record in read(shard)] == [item.data]


def test_compressed_images_beside_a_table_are_said(tmp_path: Path) -> None:
    """Not that each image is missing."""
    folder = made.csv_folder(tmp_path / "own", ITEMS)
    (photos,) = (path for path in folder.iterdir() if path.is_dir())
    shutil.make_archive(str(folder / "photos"), "gztar", photos)
    shutil.rmtree(photos)
    with pytest.raises(ValueError, match=r"photos\.tar\.gz is compressed, which is not read; unpack it"):
        forms.detect(folder, {}, None)


def test_a_dictionary_of_images_is_counted_as_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet writes an image of many rows once, so a small file may stand for more than the memory."""
    monkeypatch.setattr("cmh.data.readers.parquet.GROUP_BYTES", 1 << 20)
    image = {"bytes": bytes(100_000), "path": "a.png"}
    pq.write_table(pa.table({"image": [image] * 1000, "text": ["a"] * 1000}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    with pytest.raises(ValueError, match=r"a\.parquet: row group 0 holds 1 MiB of images or more"):
        read(tmp_path / "a.parquet")


def test_a_dictionary_of_texts_is_counted_as_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of few bytes may stand for more than the memory as well."""
    monkeypatch.setattr("cmh.data.tables.MAX_BYTES", 1 << 20)
    rows = {"image": ["a.png"] * 2000, "text": ["a" * 10_000] * 2000}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: what is read of it has more than 1048576 bytes"):
        list(tables.read(tmp_path / "a.parquet").rows)


def test_texts_where_bytes_of_images_belong_are_no_images(tmp_path: Path) -> None:
    """Only the kind of the column tells."""
    cells = [{"bytes": "GIF89a", "path": "a.png"}]
    pq.write_table(pa.table({"image": cells, "text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column holds images"):
        list(readers.load("parquet").read({"shards": tmp_path / "a.parquet"}, {}))


def test_cocos_folder(tmp_path: Path) -> None:
    """The published folders, of any year, by their annotations."""
    published.coco(tmp_path)
    (tmp_path / "annotations" / "annotations").rename(tmp_path / "moved")
    (tmp_path / "annotations").rmdir()
    (tmp_path / "moved").rename(tmp_path / "annotations")
    for part in ("train2014", "val2014"):
        (tmp_path / part / part).rename(tmp_path / "moved")
        (tmp_path / part).rmdir()
        (tmp_path / "moved").rename(tmp_path / part)
    assert [record.text for record in read(tmp_path)] == ["A man. A dog.", "Sky.", "A woman."]
