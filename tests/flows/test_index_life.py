"""A collection that is lived with: moved, touched, filtered, thinned out, merged; one without training."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmh import collection
from cmh.collection_files import changes, manifest
from flows import index
from infra.stores import open_store
from tests.cmh.test_untrained import COLOURS, colours, plain
from tests.flows.command_line import cmh
from tests.flows.test_index import HERE, codes_in, draw, home, names_in, photos

__all__ = ["colours", "home", "photos"]  # fixtures


def test_a_folder_that_moved(home: Path, photos: Path) -> None:
    """With --root its images are found in the new place, and none is encoded again; also after a touch."""
    index.add(open_store(), photos, Path("own"), None, HERE)
    before = codes_in(Path("own"))
    (home / "disk").mkdir()
    shutil.move(home / "photos", home / "disk" / "pictures")
    engine = collection.open_collection(Path("own"))
    with pytest.raises(FileNotFoundError):
        engine.image(0)
    os.utime(home / "disk" / "pictures" / "a.png")
    moved = ["index", "disk/pictures", "--to", "own", "--root", "disk/pictures", "--threads", 1, "--json"]
    (row,) = cmh(*moved).rows
    assert (row["added"], row["known"], row["changed"], row["gone"]) == (0, 4, 0, [])
    contents = manifest.read(Path("own"))
    assert contents.root == str(home / "disk" / "pictures")
    state = changes.states(Path("own"), contents)["a.png"]
    assert state.modified == (home / "disk" / "pictures" / "a.png").stat().st_mtime_ns
    assert codes_in(Path("own")) == before
    assert collection.open_collection(Path("own")).image(0).shape == (32, 32, 3)
    draw(home / "elsewhere", ["z.png"], seed=4)
    index.add(open_store(), Path("elsewhere"), Path("own"), None, HERE)
    assert str(home / "elsewhere" / "z.png") in codes_in(Path("own"))
    refused = cmh("index", home / "t.txt", "--to", "own", "--root", "disk")
    assert "t.txt holds texts, and --root is for images; leave it out" in refused.err


def test_a_changed_image_that_cannot_be_read_leaves(home: Path, photos: Path) -> None:
    """Its old code is of what is no longer there."""
    index.add(open_store(), photos, Path("own"), None, HERE)
    (home / "photos" / "a.png").write_text("no image any more")
    done = index.add(open_store(), photos, Path("own"), None, HERE)
    assert list(done.rejected) == ["a.png"]
    assert "a.png" not in names_in("own")
    assert len(codes_in(Path("own"))) == 3


def test_columns_and_conditions(home: Path, photos: Path) -> None:
    """Columns are kept, shown, updated, and conditions on them hold for every result."""
    Path("c.csv").write_text(
        "file_name,caption,year,labels\na.png,a red one,2019,x|y\nB.JPG,,2021,y\nnobody.png,,1900,\n"
    )
    called = cmh("index", photos, "--to", "own", "--columns", "c.csv", "--threads", 1)
    assert "1 row(s) of c.csv name no item, such as nobody.png" in called.out
    rows = cmh("search", "own", "red", "--where", "year >= 2000", "--top", 9, "--json").rows
    assert {row["id"]: (row["year"], row["labels"]) for row in rows} == {
        "a.png": (2019, ["x", "y"]), "B.JPG": (2021, ["y"])
    }  # fmt: skip
    assert {row["id"]: row["text"] for row in rows} == {"a.png": "a red one", "B.JPG": ""}
    (row,) = cmh("search", "own", "red", "--where", '"x" in labels', "--json").rows
    assert row["id"] == "a.png"
    assert cmh("search", "own", "red", "--where", "year > 3000", "--json").rows == []
    assert "there is no column 'yaer'" in cmh("search", "own", "red", "--where", "yaer > 3").err
    Path("more.jsonl").write_text('{"name": "B.JPG", "year": 2030, "mine": true}\n')
    assert cmh("index", photos, "--to", "own", "--columns", "more.jsonl", "--threads", 1).status == 0
    (row,) = cmh("search", "own", "red", "--where", "mine and year == 2030", "--json").rows
    assert (row["id"], row["labels"]) == ("B.JPG", None)
    for name in ("a.png", "B.JPG"):
        assert cmh("remove", "own", name).status == 0
    assert "2 items of own: 1 parts are now 1" in cmh("compact", "own").out
    table = changes.read_columns(Path("own"), manifest.read(Path("own")))
    assert table is not None
    assert len(table) == 0
    whole = cmh("verify", "own")
    assert whole.status == 0, whole.out


def test_items_are_removed_by_name_path_or_folder(home: Path, photos: Path) -> None:
    """All of them or none; what is not there is said."""
    index.add(open_store(), photos, Path("own"), None, HERE)
    refused = cmh("remove", "own", "a.png", "unknown.png")
    assert "own holds no image 'unknown.png'; nothing was removed" in refused.err
    assert len(codes_in(Path("own"))) == 4
    assert "2 removed from own, 2 left" in cmh("remove", "own", "photos/sub").out
    assert "1 removed from own, 1 left" in cmh("remove", "own", home / "photos" / "a.png").out
    assert names_in("own") == ["B.JPG"]
    assert "nothing to remove from own was named" in cmh("remove", "own").err
    for empty in ("", " "):  # as of a variable of the shell that is not set
        assert "holds no image" in cmh("remove", "own", empty).err
    for everything in (".", "..", "/", home / "photos"):
        assert "which holds all of own; nothing was removed" in cmh("remove", "own", everything).err
    assert names_in("own") == ["B.JPG"]


@pytest.mark.slow
def test_collections_are_merged(home: Path, photos: Path) -> None:
    """Of one model; names below the first root, whole paths elsewhere; of a name the last item counts."""
    draw(home / "photos" / "more", ["n.png"], seed=7)
    draw(home / "other", ["o.png"], seed=8)
    store = open_store()
    index.add(store, photos, Path("one"), None, HERE)
    index.add(store, Path("photos/more"), Path("two"), "one", HERE, root=Path("photos"))
    index.add(store, Path("other"), Path("three"), "one", HERE)
    Path("c.csv").write_text("name,year\no.png,2001\n")
    index.add(store, Path("other"), Path("three"), None, HERE, columns_file=Path("c.csv"))
    called = cmh("merge", "one", "two", "three", "--to", "all")
    assert "6 items of 3 collections are in all" in called.out, called.err
    other = str(home / "other" / "o.png")
    kept = codes_in(Path("one")) | {other: codes_in(Path("three"))["o.png"]}
    assert codes_in(Path("all")) == kept
    (row,) = cmh("search", "all", "red", "--where", "year == 2001", "--json").rows
    assert row["id"] == other
    assert "is there; merge into a new folder" in cmh("merge", "one", "two", "--to", "all").err
    index.add(store, photos, Path("plain"), None, HERE, embeddings="none")
    assert "different kinds of embeddings" in cmh("merge", "one", "plain", "--to", "x").err
    assert "merging takes two" in cmh("merge", "one", "--to", "x").err
    assert not Path("x").exists()
    assert "choose one of weighted, hamming" in cmh("search", "plain", "red", "--order", "embeddings").err


def test_a_collection_without_training(home: Path, colours: Path) -> None:
    """From a folder and a file of weights to words that find: no label, text or run; then texts, too."""
    rng = np.random.default_rng(3)
    Path("plain").mkdir()
    for number in range(64):
        colour = list(COLOURS)[number % 8]
        Image.fromarray(np.ascontiguousarray(plain(rng.normal(COLOURS[colour], 12)))).save(
            f"plain/{number:02} {colour}.png"
        )
    few = cmh("index", "plain", "--to", "ix", "--model", "colours", "--weights", colours, "--bits", 64)
    assert "64 bits are learnt from more than 64 different images, and 64 can be read" in few.err
    assert "or ask for --bits 56" in few.err
    assert not Path("ix").exists()
    made = ["index", "plain", "--to", "ix", "--model", "colours", "--weights", colours, "--bits", 16]
    called = cmh(*made, "--threads", 1)
    assert "64 added to ix" in called.out, called.err
    for colour in ("red", "blue"):
        rows = cmh("search", "ix", colour, "--top", 8, "--json").rows
        assert [row["id"].split(" ")[1] for row in rows] == [f"{colour}.png"] * 8
    shown = cmh("search", "ix", "--image", "plain/00 red.png", "--top", 3, "--json").rows
    assert (shown[0]["id"], {row["what"] for row in shown}) == ("00 red.png", {"image"})
    again = cmh("index", "plain", "--to", "ix", "--model", "colours", "--bits", 16, "--json").rows
    assert (again[0]["added"], again[0]["known"]) == (0, 64)
    assert "leave out --weights, --bits" in cmh("index", "plain", "--to", "ix", "--bits", 8).err
    Path("words.txt").write_text("a red thing\na blue thing\n")
    assert (
        "index a folder of images first" in cmh("index", "words.txt", "--to", "t", "--model", "colours").err
    )
    assert "2 added" in cmh("index", "words.txt", "--to", "t", "--model", "ix").out
    (best, _) = cmh("search", "t", "--image", "plain/00 red.png", "--json").rows
    assert best["text"] == "a red thing"
    assert "the query holds no words" in cmh("search", "ix", " ").err
    assert "--weights and --bits are for a model" in cmh("index", "plain", "--to", "z", "--bits", 8).err


def test_texts_of_a_table(home: Path) -> None:
    """Each by its id, which a changed text keeps, and one that had none gets; other columns are kept."""
    Path("t.txt").write_text("a red circle\na green circle\n")
    assert "2 added" in cmh("index", "t.txt", "--to", "captions").out
    head = "key\ttitle\tyear\n"
    rows = '7\ta red circle\t2001\n8\t"a blue\nsquare"\t2002\n9\ta red circle\t2003\n'
    Path("t.tsv").write_text(head + rows)
    options = ["--to", "captions", "--columns", "id=key,text=title"]
    called = cmh("index", "t.tsv", *options)
    assert "3 added" in called.out, called.err
    assert codes_in(Path("captions")).keys() == {"7", "8", "9", "a green circle"}
    (row,) = cmh("search", "captions", "red", "--where", "year < 2002", "--json").rows
    assert (row["id"], row["text"], row["year"]) == ("7", "a red circle", 2001)
    Path("t.tsv").write_text(head + "7\ta red circle\t2001\n8\ta blue circle\t2030\n")
    (row,) = cmh("index", "t.tsv", *options, "--json").rows
    assert (row["added"], row["changed"], row["known"]) == (1, 1, 1)
    assert "4 items of captions: 3 parts are now 1" in cmh("compact", "captions").out
    (row,) = cmh("search", "captions", "red", "--where", "year == 2030", "--json").rows
    assert (row["id"], row["text"]) == ("8", "a blue circle")
    assert "1 removed from captions, 3 left" in cmh("remove", "captions", "8").out
    Path("twice.csv").write_text("id,text\n1,red\n1,blue\n")
    assert "a second of '1'" in cmh("index", "twice.csv", "--to", "captions").err
    Path("t.jsonl").write_text('{"words": "red"}\n')
    assert "does not say which text" in cmh("index", "t.jsonl", "--to", "captions").err
    Path("empty.csv").write_text("text,year\n")
    assert "holds no text" in cmh("index", "empty.csv", "--to", "captions").err
