"""Collections of one's own images and texts: what is added, found, exported; what is refused; a kill amid it.

The model is a small network with random weights: what it finds is checked against its own codes.
"""

import re
import tempfile
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cmh import collection, model
from cmh.codes import hamming
from cmh.collection_files import manifest
from cmh.data.images import read_image
from cmh.networks import backbones
from flows import index, index_encoding
from flows.resources import Resources
from infra import artifacts
from infra.artifacts import Target
from infra.stores import open_store
from tests.flows.command_line import cmh

BITS, SIZE, HERE = 16, 32, Resources(threads=1)
WORDS = ("blue", "circle", "red", "square", "Ü")


@pytest.fixture
def home(cmh_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and a store with one model."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    put_model("small", "scahn")
    return folder


def put_model(name: str, method: str) -> str:
    """A model in the store; its address."""
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", "none")
    given = {"bits": BITS}
    built = model.build(method, given, backbone, frozen=True, text_dim=len(WORDS), labels=2)
    sizes = {"grid": 1, "stored_size": SIZE, "image_size": SIZE, "text_dim": len(WORDS), "labels": 2}
    facts = model.facts(method, built, given, "resnet18", "none", length=None, **sizes)
    trained = model.Model(built.eval(), backbone.eval(), facts, WORDS, ("one", "other"))
    with (
        artifacts.write(open_store(), Target("model", name, {}, {}, 1)) as draft,
        tempfile.TemporaryDirectory() as folder,
    ):
        model.save(trained, Path(folder))
        draft.add_tree(Path(folder))
    return draft.ref.address


def draw(folder: Path, names: list[str], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(40, 50, 3), dtype=np.uint8)).save(path)


NAMES = ["a.png", "B.JPG", "sub/deep/ü c.webp", "sub/d.bmp"]


@pytest.fixture
def photos(home: Path) -> Path:
    draw(home / "photos", NAMES)
    (home / "photos" / "notes.csv").write_text("not an image, and not named as one")
    (home / "photos" / "._a.png").write_text("hidden")
    return Path("photos")


def test_images_of_all_folders_are_found_by_the_codes_of_their_model(home: Path, photos: Path) -> None:
    """Names are paths below the folder; codes are those of the model; an image finds itself first."""
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (photos / "text.jpg").write_text("no image")
    called = cmh("index", photos, "--to", "own", "--threads", 1)
    assert called.status == 0, called.err
    assert "4 added to own, 0 were there, 2 rejected" in called.out
    assert "text.jpg" in called.out
    assert "not an image of a kind that is read" in called.out

    trained = model.load(home / "own" / "model")
    expected = {n: trained.encode_images([read_image(photos / n, SIZE)])[0] for n in NAMES}
    kept = collection.all_codes(Path("own"))
    assert dict(zip(kept.ids.tolist(), kept.codes().tolist(), strict=True)) == {
        name: code.tolist() for name, code in expected.items()
    }
    for name in expected:
        rows = cmh("search", "own", "--image", photos / name, "--json").rows
        assert {row["id"] for row in rows if row["what"] == "word"} == set(WORDS)
        images = [row for row in rows if row["what"] == "image"]
        assert len(images) == 4
        assert (images[0]["id"], images[0]["distance"]) == (name, 0)
        assert images[0]["similarity"] > 0.999
    found = cmh("search", "a red square", "--index", "own", "--json", "--sheet", "s.png").rows
    code = trained.encode_texts(["a red square"])
    nearest = sorted(int(d) for d in hamming.distances(code, np.array(list(expected.values())))[0])
    assert sorted(row["distance"] for row in found) == nearest
    cosines = [row["similarity"] for row in found]
    assert cosines == sorted(cosines, reverse=True)
    plain = cmh("search", "own", "a red square", "--order", "hamming", "--json").rows
    assert [row["distance"] for row in plain] == nearest
    with Image.open("s.png") as sheet:
        assert sheet.format == "PNG"


def test_only_what_is_new_is_encoded(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time a part with the new images; the third nothing is even loaded."""
    store = open_store()
    assert index.add(store, photos, Path("own"), None, HERE).items == 4
    draw(home / "photos", ["new.png"], seed=1)
    again = index.add(store, photos, Path("own"), None, HERE)
    assert (again.items, again.known, again.rejected) == (1, 4, {})
    assert [part.items for part in manifest.read(Path("own")).parts] == [4, 1]
    monkeypatch.setattr(index_encoding, "_load", None)
    third = index.add(store, photos, Path("own"), None, HERE)
    assert (third.items, third.known) == (0, 5)
    assert len(collection.open_collection(Path("own")).index) == 5


def test_texts(home: Path) -> None:
    """One a line, each once, those without a known word rejected; an image finds them."""
    Path("texts.txt").write_text(
        "\ufeffa red circle\n\n  blue square \nred, blue\na red circle\nzzz\n", "utf-8"
    )
    called = cmh("index", "texts.txt", "--to", "captions")
    assert "3 added" in called.out
    assert "no word that the model knows" in called.out
    draw(home, ["query.png"])
    rows = cmh("search", "--image", "query.png", "--index", "captions", "--json").rows
    texts = {row["text"]: row["distance"] for row in rows if row["what"] == "text"}
    trained = model.load(home / "captions" / "model")
    image = trained.encode_images([read_image(home / "query.png", SIZE)])
    assert texts == {
        text: hamming.distances(image, trained.encode_texts([text]))[0, 0]
        for text in ("a red circle", "blue square", "red, blue")
    }
    printed = cmh("search", "red", "--index", "captions")
    assert "Texts for red" in printed.out
    refused = cmh("search", "red", "--index", "captions", "--sheet", "s.png")
    assert "these items are texts" in refused.err


def test_exports(home: Path, photos: Path) -> None:
    """FAISS opens the index; row for row it is the table."""
    cmh("index", photos, "--to", "own")
    for name in ("own.faiss", "own.parquet"):
        assert "4 codes of 16 bits written" in cmh("export", "own", name).out
    kept = collection.all_codes(Path("own"))
    read = faiss.read_index_binary("own.faiss")
    assert (read.ntotal, read.d) == (4, BITS)
    distances, _ = read.search(kept.codes(), 1)
    assert not distances.any()
    table = pq.read_table("own.parquet")
    assert table["id"].to_pylist() == kept.ids.tolist()
    assert [list(code) for code in table["code"].to_pylist()] == kept.codes().tolist()
    assert sorted(path.name for path in home.iterdir() if "own." in path.name) == ["own.faiss", "own.parquet"]


def test_the_readme_holds(home: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its Python, word for word, on an index as its commands make it."""
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    cmh("index", photos, "--to", "my-photos")
    rng = np.random.default_rng(0)
    labels = np.eye(4, dtype=np.uint8)
    given = {
        "images": [np.asarray(Image.open(photos / name).convert("RGB")) for name in NAMES],
        "names": NAMES,
        **dict(zip(("query_u", "database_u"), rng.standard_normal((2, 200, 64)), strict=True)),
        **dict.fromkeys(("query_labels", "database_labels"), labels[np.arange(200) % 4]),
    }
    capsys.readouterr()
    exec(program.replace("red fruit", "red square"), given)
    hits, figures = capsys.readouterr().out.splitlines()
    assert all(name in hits for name in NAMES)
    assert 0.2 < float(figures.split()[0]) < 0.3  # chance is a quarter


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "nowhere", "--to", "own"], "nowhere is not there; give a folder, tar or Parquet file of"),
        (
            ["index", "bad/a.png", "--to", "own"],
            "bad/a.png holds nothing that is encoded; give a folder, tar",
        ),
        (["index", "empty", "--to", "own"], "tars and Parquet files that hold such\n"),
        (["index", "empty", "--to", "full"], "what is gone goes out of full by cmh remove full NAME"),
        (["index", "empty.csv", "--to", "own"], "holds no text: its column text is empty in every row"),
        (["index", "empty.txt", "--to", "own"], "holds no text"),
        (["index", "latin.txt", "--to", "own"], "not UTF-8 (byte 1)"),
        (
            ["index", "long.txt", "--to", "own"],
            "text 2, 'red red red red red red red red red red ', is its own name",
        ),
        (["index", "long.csv", "--to", "own"], "a name has at most 4096; give a table with a short id"),
        (
            ["index", "ids.csv", "--to", "own"],
            "aaa', has 5000 characters, and a name has at most 4096; write",
        ),
        (["index", "nulls.csv", "--to", "own"], "the id of text 2, 'a\\x00b', has a null character"),
        (
            ["index", "words.txt", "--to", "own", "--prune"],
            "words.txt holds texts, and --prune is for images",
        ),
        (["index", "photos", "--to", "photos"], "is no collection; give a new folder"),
        (["index", "photos", "--to", "own", "--model", "model/no/such"], "model/no/such"),
        (["index", "words.txt", "--to", "full"], "full holds images, and these are texts"),
        (["index", "photos", "--to", "full", "--model", "model/x/y"], "was encoded with model/small/"),
        (["index", "bad", "--to", "own"], "none of the 1 images of bad can be encoded"),
        (["index", "photos", "--to", "own", "--dask", "tcp://127.0.0.1:9"], "nobody answers at --dask"),
        (["export", "full", "taken.parquet"], "Is a directory"),
        (["search", "red", "--index", "photos"], "is no collection; make one with"),
        (["search", "red", "--index", "full", "--codes", "codes/a/b"], "not both"),
        (["search", "full", "red", "--sheet", "nowhere/s.png"], "ends with .png in a folder that is there"),
        (["search", "full", "red", "--sheet", "s.csv"], "ends with .png"),
        (["search", "full", "--image", "photos"], "photos is a folder"),
        (["search", "full", "--image", "nowhere.png"], "nowhere.png is not there"),
        (["search", "full", "--image", "bad/a.png"], "bad/a.png cannot be searched with: "),
        (["export", "full", "nowhere/x.parquet"], "nowhere is no folder"),
        (["search", "zzz", "--index", "full"], "no word of 'zzz'"),
        (["export", "full", "codes.npy"], "to end with .faiss or .parquet"),
        (["export", "codes/no/such", "codes.faiss"], "codes/no/such"),
    ],
)
def test_what_cannot_be_done_is_said(home: Path, photos: Path, arguments: list[str], message: str) -> None:
    """In one line, with status 2, and nothing is left behind."""
    for folder in ("empty", "bad"):
        (home / folder).mkdir()
    (home / "bad" / "a.png").write_text("no image")
    Path("empty.txt").write_text("\n \n")
    Path("latin.txt").write_bytes("bür".encode("latin-1"))
    Path("words.txt").write_text("red")
    Path("long.txt").write_text("red\n" + "red " * 2000)
    Path("long.csv").write_text("text\nred\n" + "red " * 2000 + "\n")
    Path("ids.csv").write_text(f"id,text\n{'a' * 5000},red\n")
    Path("nulls.csv").write_text("id,text\nc,red\na\0b,red\n")
    Path("empty.csv").write_text("id,text\n,\n , \n")
    Path("taken.parquet").mkdir()
    assert cmh("index", photos, "--to", "full").status == 0
    before = {path.name for path in home.iterdir()}
    called = cmh(*arguments)
    assert called.status == 2
    assert message in called.err
    assert {path.name for path in home.iterdir()} == before
    assert {path.name for path in home.rglob(".*")} == {"._a.png"}


def test_models_without_codes_are_refused(home: Path, photos: Path) -> None:
    """A real-valued method has nothing that a search could use."""
    address = put_model("real", "acmr")
    with pytest.raises(ValueError, match=f"{address} gives no codes of images and words: it is real-valued"):
        index.add(open_store(), photos, Path("own"), address, HERE)
    assert not Path("own").exists()


def names_in(folder: str) -> list[str]:
    return sorted(Path(name).name for name in collection.all_codes(Path(folder)).ids.tolist())


def codes_in(folder: Path) -> dict[str, list[int]]:
    kept = collection.all_codes(folder)
    return dict(zip(kept.ids.tolist(), kept.codes().tolist(), strict=True))


def test_a_folder_that_changes(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed files are encoded again, gone ones named and pruned if asked for; one name per file."""
    own = Path("own")
    index.add(open_store(), photos, own, None, HERE)
    before = codes_in(own)
    draw(home / "photos", ["a.png"], seed=9)
    (home / "photos" / "B.JPG").rename(home / "photos" / "renamed.jpg")
    (home / "photos" / "sub" / "d.bmp").unlink()
    called = cmh("index", home / "photos", "--to", "own", "--threads", 1)
    said = " ".join(called.out.split())
    assert "2 added to own, 1 were there, 0 rejected" in said
    assert "1 of these had changed" in said
    assert f"2 that are gone from {home / 'photos'} stay in the collection; --prune removes them" in said
    assert names_in("own") == ["B.JPG", "a.png", "d.bmp", "renamed.jpg", "ü c.webp"]
    sheet = cmh("search", "red", "--index", "own", "--top", 9, "--sheet", "sheet.png")  # of gone files too
    assert sheet.status == 0, sheet.err
    a = "a.png"
    code = model.load(own / "model").encode_images([read_image(photos / a, SIZE)])[0].tolist()
    assert codes_in(own)[a] == code
    assert codes_in(own).items() >= {kept: before[kept] for kept in before if kept != a}.items()
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    (row,) = cmh("index", "../photos", "--to", "../own", "--threads", 1, "--prune", "--json").rows
    assert (row["added"], row["known"], len(row["gone"]), row["pruned"]) == (0, 3, 2, True)
    found = cmh("search", "red", "--index", "../own", "--top", 9, "--sheet", "sheet.png")
    assert found.status == 0, found.err
    monkeypatch.chdir(home)
    assert names_in("own") == ["a.png", "renamed.jpg", "ü c.webp"]
    assert len(list(own.glob("part-*"))) == len(manifest.read(own).parts)
