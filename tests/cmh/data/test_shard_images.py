"""Images in tars and Parquet files: their names, their bytes, their columns; what is no path, or damaged."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmh.data import shard_columns, shard_images
from tests.cmh.data.shards_of_photos import drawing, in_structs, write_parquet, write_tar


def test_images_of_a_tar_of_samples(tmp_path: Path) -> None:
    """One of each sample, with its text, JSON and class as columns; what the JSON nests stays as JSON."""
    shard = write_tar(
        tmp_path / "0.tar",
        {
            "./a/1.png": drawing(1), "./a/1.txt": "a dog",
            "./a/1.json": {"year": 1999, "name": "x", "box": {"w": 1}},
            "./a/2.png": drawing(2), "./a/2.seg.png": drawing(9), "./a/2.json": {"year": "?"},
            "./a/2.cls": "7", "README.md": "no sample",
        },
    )  # fmt: skip
    names = shard_images.listing(shard).names
    assert names == ["a/1.png", "a/2.png"]
    assert [shard_images.read_bytes(shard / name) for name in names] == [drawing(1), drawing(2)]
    table = shard_columns.read(shard, names, {"text": "text"})
    assert table is not None
    assert table.to_pylist() == [
        {
            "name": "a/1.png", "year": "1999", "name in the shard": "x", "box": '{"w": 1}', "text": "a dog",
            "labels": None,
        },
        {
            "name": "a/2.png", "year": "?", "name in the shard": None, "box": None, "text": None,
            "labels": ["7"],
        },
    ]  # fmt: skip
    assert shard_images.read_image(shard / "a/1.png", 16).shape == (16, 16, 3)
    with pytest.raises(FileNotFoundError, match=r"0\.tar holds no image a/3\.png"):
        shard_images.read_bytes(shard / "a" / "3.png")


def test_a_tar_of_photos_alone(tmp_path: Path) -> None:
    """All of them, dots or not; names that lead elsewhere are rejected, and hold no bytes."""
    files = {
        "IMG.2020.1.png": drawing(1),
        "../up.png": drawing(2),
        "/etc/x.png": drawing(3),
        "c/.d.png": drawing(4),
    }
    listing = shard_images.listing(write_tar(tmp_path / "photos.tar", files))
    assert listing.names == ["IMG.2020.1.png"]
    assert listing.rejected == {
        "../up.png": "its name is no path below the shard",
        "/etc/x.png": "its name is no path below the shard",
        "c/.d.png": "it is hidden; rename it, without the dot",
    }
    assert shard_columns.read(tmp_path / "photos.tar", listing.names, {}) is None
    assert shard_images.listing(write_tar(tmp_path / "texts.tar", {"a.txt": "a"})).names == []


@pytest.mark.parametrize("in_order", [False, True])
def test_images_of_parquet(tmp_path: Path, in_order: bool) -> None:
    """By their own paths where each has one, else by row; of a second column of images under its name."""
    numbers = [1, 2, 3, 4, 5]
    named = write_parquet(
        tmp_path / "a.parquet", {"image": in_structs(numbers, [f"d/{n}.png" for n in numbers])}
    )
    twice = write_parquet(tmp_path / "b.parquet", {"photo": in_structs(numbers, ["x.png"] * 5)})
    plain = write_parquet(tmp_path / "c.parquet", {"jpg": [drawing(n) for n in numbers]})
    two = {"front": [drawing(n) for n in numbers], "back": [drawing(n + 10) for n in numbers]}
    both = write_parquet(tmp_path / "d.parquet", two)
    assert list(shard_images.listing(named).names) == [f"d/{n}.png" for n in numbers]
    for shard in (twice, plain):
        assert list(shard_images.listing(shard).names) == ["0", "1", "2", "3", "4"]
    with pytest.raises(ValueError, match="has the columns of images front, back; say which is meant"):
        shard_images.listing(both)
    with pytest.raises(ValueError, match="has no column 'left' of images"):
        shard_images.listing(both, "left")
    assert list(shard_images.listing(both, "back").names)[:2] == ["back/0", "back/1"]
    for path, number in [(named / "d/3.png", 3), (twice / "4", 5), (plain / "0", 1), (both / "back/1", 12)]:
        assert shard_images.read_bytes(path, in_order=in_order) == drawing(number)
    for path in (named / "9", twice / "5", both / "0", both / "left/0"):
        with pytest.raises(FileNotFoundError):
            shard_images.read_bytes(path, in_order=in_order)


def test_columns_of_parquet(tmp_path: Path) -> None:
    """All but images and vectors, names of classes for their numbers, and each as what it is said to be."""
    shard = write_parquet(
        tmp_path / "a.parquet",
        {
            "image": in_structs([1, 2, 3], ["1.png", "2.png", "3.png"]), "title": ["a", "b", None],
            "labels": [0, 1, -1], "vector": [[0.5], [1.5], [2.5]], "year": [1999, 2000, None],
        },
        labels={"names": ["cat", "dog"]},
    )  # fmt: skip
    names = shard_images.listing(shard).names
    table = shard_columns.read(shard, names, {"text": "title"})
    assert table is not None
    assert table.to_pydict() == {
        "name": ["1.png", "2.png", "3.png"], "text": ["a", "b", None], "labels": [["cat"], ["dog"], None],
        "year": [1999, 2000, None],
    }  # fmt: skip
    with pytest.raises(ValueError, match="has no column 'words' for text; it has title, labels, year"):
        shard_columns.read(shard, names, {"text": "words"})


def test_columns_of_parquet_that_are_more_than_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary holds a text once, however many rows have it; their bytes are counted as they are read."""
    monkeypatch.setattr(shard_columns, "MAX_BYTES", 1 << 20)
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), ["x" * 10_000])
    for stored in (True, False):  # the type of Arrow, by which it would read the column as a dictionary
        shard = tmp_path / f"{stored}.parquet"
        pq.write_table(pa.table({"image": [b"1"] * 5000, "text": text}), shard, store_schema=stored)
        assert shard.stat().st_size < 10_000
        pool = pa.proxy_memory_pool(pa.system_memory_pool())
        usual = pa.default_memory_pool()
        pa.set_memory_pool(pool)
        try:
            with pytest.raises(ValueError, match="what is read of it has more than 1048576 bytes"):
                shard_columns.read(shard, [str(row) for row in range(5000)], {})
        finally:
            pa.set_memory_pool(usual)
        assert 0 < pool.max_memory() < 16 << 20


def test_columns_of_any_names_and_texts(tmp_path: Path) -> None:
    """Halves of characters that JSON may hold become ?; a column may be called as a field of another is."""
    tar = write_tar(
        tmp_path / "0.tar", {"a.png": drawing(1), "a.json": '{"s": "\\ud800", "\\ud801": ["\\udfff"]}'}
    )
    table = shard_columns.read(tar, ["a.png"], {})
    assert table is not None
    assert table.to_pylist() == [{"name": "a.png", "s": "?", "?": ["?"]}]
    held = {"image": [drawing(1)], "a.b": [1], "a": [{"b": 2}], "bytes": pa.array([b"1234"], pa.binary(4))}
    table = shard_columns.read(write_parquet(tmp_path / "0.parquet", held), ["0"], {})
    assert table is not None
    assert table.to_pylist() == [{"name": "0", "a.b": 1}]
    bad = {"image": [drawing(1)], "text": pa.array([b"\xff"]).view(pa.string())}
    with pytest.raises(ValueError, match=r"1\.parquet: column 'text' cannot be kept: .*UTF8"):
        shard_columns.read(write_parquet(tmp_path / "1.parquet", bad), ["0"], {})


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    """Saying which file, and what to do."""
    whole = write_tar(tmp_path / "a.tar", {"a.png": drawing(1), "a.json": "{"})
    with pytest.raises(ValueError, match=r"a\.json is not readable"):
        shard_columns.read(whole, ["a.png"], {})
    twice = write_tar(tmp_path / "b.tar", {"a.png": drawing(1), "a.json": '{"year": 1, "year": 2}'})
    with pytest.raises(ValueError, match=r"a\.json is not readable: an object has the key 'year' twice"):
        shard_columns.read(twice, ["a.png"], {})
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:1500])
    (tmp_path / "packed.tar").write_bytes(gzip.compress(whole.read_bytes()))
    parquet = write_parquet(tmp_path / "a.parquet", {"image": [drawing(1)]})
    (tmp_path / "cut.parquet").write_bytes(parquet.read_bytes()[:-9])
    again = pa.table([pa.array([b"1"]), pa.array([b"2"])], names=["image", "image"])
    pq.write_table(again, tmp_path / "again.parquet")
    for name in ("cut.tar", "packed.tar", "cut.parquet", "again.parquet"):
        with pytest.raises(ValueError, match=name):
            shard_images.listing(tmp_path / name)
