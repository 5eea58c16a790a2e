"""Collections of images in tars and Parquet files: added, changed, pruned, shown, with their columns."""

import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from cmh import collection
from cmh.collection_files import changes, manifest
from cmh.data import shard_images
from flows import index, index_sources
from flows.index_sources import Added
from infra import bucket
from infra.stores import open_store
from tests.cmh.data.shards_of_photos import drawing, in_structs, write_parquet, write_tar
from tests.flows.command_line import cmh
from tests.flows.test_index import HERE, codes_in, draw, home

__all__ = ["home"]  # a fixture


def sample(number: int, year: int) -> dict[str, object]:
    return {
        f"{number}.png": drawing(number),
        f"{number}.txt": f"red number {number}",
        f"{number}.json": {"year": year},
    }


def add(source: str, **options: object) -> Added:
    return index.add(open_store(), Path(source), Path("own"), None, HERE, **options)  # type: ignore[arg-type]


def test_shards_that_change(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is added twice; of a shard that changed what differs is encoded; what is gone is pruned."""
    tar = write_tar(home / "data" / "0.tar", sample(1, 1999) | sample(2, 2001) | {"bad.png": b"none"})
    table = {"image": in_structs([5, 6, 7], ["5.png", "6.png", "7.png"]), "caption": [["a", "b"], ["c"], []]}
    write_parquet(home / "data" / "x" / "1.parquet", table | {"year": [2005, 2006, 2007]})
    write_parquet(home / "data" / "no-images.parquet", {"a": [1]})
    draw(home / "data", ["plain.png"])
    first = add("data")
    assert (first.items, list(first.rejected), first.skipped) == (6, ["0.tar/bad.png"], {".parquet": 1})
    names = {"0.tar/1.png", "0.tar/2.png", *(f"x/1.parquet/{n}.png" for n in (5, 6, 7)), "plain.png"}
    before = codes_in(Path("own"))
    assert before.keys() == names
    again = add("data")
    assert (again.items, again.known, again.changed, again.gone) == (0, 6, 0, [])
    engine = collection.open_collection(Path("own"))
    found = engine.for_words("red", 9, where="year >= 2001")
    assert {(hit.id, hit.text, hit.columns["year"]) for hit in found} == {
        ("0.tar/2.png", "red number 2", 2001), ("x/1.parquet/5.png", "a", 2005),
        ("x/1.parquet/6.png", "c", 2006), ("x/1.parquet/7.png", "", 2007),
    }  # fmt: skip
    for hit in found:
        assert hit.row is not None
        number = int(hit.id.rpartition("/")[2][0])
        whole = Image.open(io.BytesIO(drawing(number))).convert("RGB")
        assert engine.image(hit.row).shape == (32, 32, 3)
        assert engine.file is not None
        assert Image.open(io.BytesIO(shard_images.read_bytes(engine.file(hit.row)))).convert("RGB") == whole

    write_tar(tar, {**sample(1, 1999), "1.json": {"year": 3000}, "2.png": drawing(22), **sample(3, 2003)})
    os.utime(home / "data" / "x" / "1.parquet", ns=(1, 1))
    third = add("data")
    assert (third.items, third.changed, third.known, third.gone) == (2, 1, 5, [])
    after = codes_in(Path("own"))
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"0.tar/2.png", "0.tar/3.png"}
    assert changes.states(Path("own"), manifest.read(Path("own")))["x/1.parquet/5.png"].modified == 1
    (hit,) = collection.open_collection(Path("own")).for_words("red", where="year == 3000")
    assert hit.id == "0.tar/1.png"

    tar.write_bytes(tar.read_bytes()[:700])
    shutil.rmtree(home / "data" / "x")
    pruned = add("data", prune=True)
    assert len(pruned.gone) == 3
    assert "0.tar" in next(iter(pruned.rejected))
    assert codes_in(Path("own")).keys() == {"0.tar/1.png", "0.tar/2.png", "0.tar/3.png", "plain.png"}
    write_tar(tar, sample(1, 1999))
    assert add("data/0.tar", prune=True).gone == ["0.tar/2.png", "0.tar/3.png"]


def test_a_shard_from_the_command_line(home: Path) -> None:
    """Added by itself, shown on a sheet, removed by its path; texts of Parquet are texts."""
    write_parquet(home / "p.parquet", {"front": [drawing(1), drawing(2)], "back": [drawing(3), drawing(4)]})
    assert "say which is meant: --columns image=COLUMN" in cmh("index", "p.parquet", "--to", "own").err
    called = cmh("index", "p.parquet", "--to", "own", "--columns", "image=back", "--threads", 1)
    assert "2 added to own" in called.out, called.err
    sheet = cmh("search", "own", "red", "--sheet", "s.png", "--json")
    assert {row["id"] for row in sheet.rows} == {"p.parquet/back/0", "p.parquet/back/1"}
    with Image.open("s.png") as shown:
        assert len(shown.convert("RGB").getcolors(1 << 24) or []) > 1000  # noise, and no grey squares
    assert "1 removed from own, 1 left" in cmh("remove", "own", "p.parquet/back/1").out
    write_parquet(home / "t.parquet", {"text": ["red", "blue"], "id": [1, 2]})
    assert "2 added to texts" in cmh("index", "t.parquet", "--to", "texts").out
    assert "is no file that ends with" in cmh("index", "t.parquet", "--to", "texts", "--columns", "no").err
    write_tar(home / "none.tar", {"a.txt": "a"})
    assert "holds no images; those are files that end" in cmh("index", "none.tar", "--to", "own").err


def test_what_was_copied_from_a_bucket_is_named_by_its_address(home: Path) -> None:
    """A shard of it that is damaged, and data that holds nothing; the copy is named once."""
    folder = bucket.copies() / "mine" / "photos"
    write_tar(folder / "cut.tar", sample(1, 1999) | sample(2, 2001))
    whole = (folder / "cut.tar").read_bytes()
    (folder / "cut.tar").write_bytes(whole[:700])
    draw(folder, ["a.png"])
    (name,) = add(str(folder)).rejected
    assert name == "s3://mine/photos/cut.tar"
    (folder / "a.png").unlink()
    said = cmh("index", folder, "--to", "other").err
    assert "cmh: s3://mine/photos/cut.tar" in said
    assert f"(what lies at s3:// is read from its copy in {bucket.copies()})" in said


def test_an_image_that_vanishes_after_it_was_listed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is gone, and no failure of the others."""
    draw(home / "photos", ["a.png", "b.png"])
    add("photos")
    listed = index_sources.images

    def vanishing(source: Path, *rest: object) -> index_sources.Images:
        found = listed(source, *rest)  # type: ignore[arg-type]
        (home / "photos" / "a.png").unlink()
        return found

    monkeypatch.setattr(index_sources, "images", vanishing)
    done = add("photos")
    assert (done.items, done.known, done.gone) == (0, 1, ["a.png"])
