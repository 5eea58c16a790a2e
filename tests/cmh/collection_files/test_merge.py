"""Merging: images that were given go along; what happens meanwhile is said; nothing is left of a failure."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cmh.collection_files import changes, manifest, merge, uploads
from cmh.collection_files.parts import Items, read_items
from tests.cmh.collection_files.test_kills import BITS, added, create


def give(folder: Path, item: str, data: bytes) -> None:
    """An image under an id, as a service adds it."""
    name = uploads.name_of(item)
    with changes.lock(folder):
        contents = manifest.read(folder)
        there = {name} & changes.states(folder, contents).keys()
        _, state = uploads.write(folder, name, data)
        codes, kept = np.zeros((1, BITS // 8), np.uint8), np.ones((1, BITS), np.int8)
        changes.add_part(folder, contents, codes, [name], [state], kept, replaced=there)


def two(root: Path) -> list[Path]:
    """Two collections with a found image each, and given ones of which one has an id in both."""
    folders = [create(root / "a"), create(root / "b")]
    for number, folder in enumerate(folders):
        with changes.lock(folder):
            contents = changes.set_root(folder, manifest.read(folder), f"/photos{number}")
            added(number, 1)(folder, contents)
        give(folder, "both", f"both {number}".encode())
        give(folder, f"only {number}", b"only")
    return folders


def test_given_images_go_along(tmp_path: Path) -> None:
    """The last one of an id counts, and no bytes are left of the other; the sources stay as they are."""
    folders = two(tmp_path)
    merged = merge.merge(folders, tmp_path / "all")
    found = uploads.paths(tmp_path / "all", merged)
    assert {name: place.read_bytes() for name, place in found.items()} == {
        "upload:both": b"both 1", "upload:only 0": b"only", "upload:only 1": b"only"
    }  # fmt: skip
    held = [path for path in (tmp_path / "all" / "uploads").rglob("*") if path.is_file()]
    assert len(held) == 3
    assert {*changes.states(tmp_path / "all", merged)} == {"0.jpg", "/photos1/1.jpg", *found}
    assert uploads.damage(tmp_path / "all", merged) == []
    found["upload:both"].write_bytes(b"other")
    found["upload:only 0"].unlink()
    problems = uploads.damage(tmp_path / "all", merged)
    assert [problem.rsplit(", ", 1)[1] for problem in sorted(problems, key=len)] == [
        "is missing", "is not what was written: its checksum differs"
    ]  # fmt: skip
    assert all(uploads.damage(folder, manifest.read(folder)) == [] for folder in folders)


def test_a_given_image_that_is_replaced_stays_for_readers_until_it_is_swept(tmp_path: Path) -> None:
    """Its bytes have a place of their own."""
    folder = create(tmp_path)
    give(folder, "a", b"old")
    (before,) = uploads.paths(folder, manifest.read(folder)).values()
    give(folder, "a", b"new")
    assert before.read_bytes() == b"old"
    with changes.lock(folder):
        uploads.sweep(folder, manifest.read(folder))
    assert not before.exists()
    (after,) = uploads.paths(folder, manifest.read(folder)).values()
    assert after.read_bytes() == b"new"


def test_a_source_that_changes_while_it_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named, and nothing is left of the draft; another draft beside it is not touched."""
    folders = two(tmp_path)
    (tmp_path / ".all-merging").mkdir()

    def changed(folder: Path, contents: manifest.Contents, part: manifest.Part) -> Items:
        with changes.lock(folders[1]):
            changes.compact(folders[1], manifest.read(folders[1]))
        return read_items(folder, contents, part)

    monkeypatch.setattr(merge, "read_items", changed)
    with pytest.raises(ValueError, match="b/own was changed while it was merged; run it again"):
        merge.merge(folders, tmp_path / "all")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".all-merging", "a", "b"]


def test_columns_go_with_the_item_that_stays(tmp_path: Path) -> None:
    """The last one's columns count, also where it has none; those of other items are kept."""
    folders = two(tmp_path)
    changes.set_columns(
        folders[0],
        manifest.read(folders[0]),
        pa.table({"name": ["upload:both", "upload:only 0"], "year": [1, 2]}),
    )
    changes.set_columns(
        folders[1], manifest.read(folders[1]), pa.table({"name": ["upload:only 1"], "year": [3]})
    )
    merged = merge.merge(folders, tmp_path / "all")
    table = changes.read_columns(tmp_path / "all", merged)
    assert table is not None
    assert sorted(zip(*table.to_pydict().values(), strict=True)) == [
        ("upload:only 0", 2),
        ("upload:only 1", 3),
    ]


def test_columns_of_no_item_can_be_merged(tmp_path: Path) -> None:
    """As they are when the only item that had some was deleted."""
    folders = two(tmp_path)
    empty = pa.table({"name": pa.array([], pa.string()), "year": pa.array([], pa.int64())})
    changes.set_columns(folders[1], manifest.read(folders[1]), empty)
    merged = merge.merge(folders, tmp_path / "all")
    table = changes.read_columns(tmp_path / "all", merged)
    assert table is None or len(table) == 0
