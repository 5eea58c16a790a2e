"""Collections of one's own images and texts: what is added, found, exported; what is refused; a kill amid it.

The model is a small network with random weights: what it finds is checked against its own codes.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cmh import collection, collection_files, model
from cmh.codes import hamming
from cmh.data.images import read_image
from cmh.networks import backbones
from flows import index
from flows.experiment import Resources
from infra import artifacts
from infra.artifacts import Target
from infra.stores import open_store
from tests.flows.command_line import cmh

SMALL_PARTS = """
from flows import cli, index

index.TASK, index.PART, index.SECONDS = 4, 8, 0
if __name__ == "__main__":
    cli.main()
"""
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
    """Names are absolute paths; codes are those of the model; an image finds itself first."""
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (photos / "text.jpg").write_text("no image")
    called = cmh("index", photos, "--to", "own", "--threads", 1)
    assert called.status == 0, called.err
    assert "4 added to own, 0 were there, 2 rejected" in called.out
    assert "photos/text.jpg" in called.out
    assert "not an image of a kind that is read" in called.out

    trained = model.load(home / "own" / "model")
    expected = {
        str(home / "photos" / n): trained.encode_images([read_image(photos / n, SIZE)])[0] for n in NAMES
    }
    kept = collection.all_codes(Path("own"))
    assert dict(zip(kept.ids.tolist(), kept.codes().tolist(), strict=True)) == {
        name: code.tolist() for name, code in expected.items()
    }
    for name in expected:
        rows = cmh("search", "--image", name, "--index", "own", "--json").rows
        assert {row["id"] for row in rows if row["what"] == "word"} == set(WORDS)
        images = [row for row in rows if row["what"] == "image"]
        assert len(images) == 4
        assert {row["id"]: row["distance"] for row in images}[name] == 0
    found = cmh("search", "a red square", "--index", "own", "--json", "--sheet", "s.png").rows
    code = trained.encode_texts(["a red square"])
    nearest = sorted(int(d) for d in hamming.distances(code, np.array(list(expected.values())))[0])
    assert [row["distance"] for row in found] == nearest
    with Image.open("s.png") as sheet:
        assert sheet.format == "PNG"


def test_only_what_is_new_is_encoded(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time a part with the new images; the third nothing is even loaded."""
    store = open_store()
    assert index.add(store, photos, Path("own"), None, HERE).items == 4
    draw(home / "photos", ["new.png"], seed=1)
    again = index.add(store, photos, Path("own"), None, HERE)
    assert (again.items, again.known, again.rejected) == (1, 4, {})
    assert [part.items for part in collection_files.read(Path("own")).parts] == [4, 1]
    monkeypatch.setattr(index, "_load", None)
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
        (["index", "nowhere", "--to", "own"], "neither a folder of images nor a .txt file"),
        (["index", "empty", "--to", "own"], "holds no images"),
        (["index", "empty.txt", "--to", "own"], "holds no text"),
        (["index", "latin.txt", "--to", "own"], "not UTF-8 (byte 1)"),
        (["index", "photos", "--to", "photos"], "is no collection; give a new folder"),
        (["index", "photos", "--to", "own", "--model", "model/no/such"], "model/no/such"),
        (["index", "words.txt", "--to", "full"], "full holds images, and these are texts"),
        (["index", "photos", "--to", "full", "--model", "model/x/y"], "was encoded with model/small/"),
        (["index", "bad", "--to", "own"], "none of the 1 images of bad can be encoded"),
        (["index", "photos", "--to", "own", "--dask", "tcp://127.0.0.1:9"], "nobody answers at --dask"),
        (["export", "full", "taken.parquet"], "Is a directory"),
        (["search", "red", "--index", "photos"], "is no collection; make one with"),
        (["search", "red", "--index", "full", "--codes", "codes/a/b"], "not both"),
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
    Path("taken.parquet").mkdir()
    assert cmh("index", photos, "--to", "full").status == 0
    before = {path.name for path in home.iterdir()}
    called = cmh(*arguments)
    assert called.status == 2
    assert message in called.err
    assert {path.name for path in home.iterdir()} - before <= {"own"}
    assert {path.name for path in home.rglob(".*")} == {"._a.png"}


def test_models_without_codes_are_refused(home: Path, photos: Path) -> None:
    """A real-valued method has nothing that a search could use."""
    address = put_model("real", "acmr")
    with pytest.raises(ValueError, match=f"{address} gives no codes of images and words: it is real-valued"):
        index.add(open_store(), photos, Path("own"), address, HERE)
    assert not Path("own").exists()


@pytest.mark.slow
def test_a_broken_off_addition_goes_on(home: Path) -> None:
    """Killed after the first of several parts, then repeated: every image once, as if nothing had been."""
    names = [f"{number:03}.png" for number in range(40)]
    draw(home / "many", names)
    command = [sys.executable, "-c", SMALL_PARTS, "index", "many", "--to", "own", "--threads", "2"]
    child = subprocess.Popen(command)
    while not (home / "own" / "part-00000" / "index.json").exists():
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 8 <= len(collection.all_codes(Path("own"))) < 40
    again = cmh("index", "many", "--to", "own", "--threads", 2)
    assert again.status == 0, again.err
    cmh("index", "many", "--to", "whole", "--threads", 1)
    broken, whole = (collection.all_codes(Path(folder)) for folder in ("own", "whole"))
    assert sorted(broken.ids.tolist()) == [str(home / "many" / name) for name in names]
    by_name = [dict(zip(i.ids.tolist(), i.codes().tolist(), strict=True)) for i in (broken, whole)]
    assert by_name[0] == by_name[1]


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
    assert "2 whose file is gone stay in the collection; --prune removes them" in said
    assert names_in("own") == ["B.JPG", "a.png", "d.bmp", "renamed.jpg", "ü c.webp"]
    sheet = cmh("search", "red", "--index", "own", "--top", 9, "--sheet", "sheet.png")  # of gone files too
    assert sheet.status == 0, sheet.err
    a = str(home / "photos" / "a.png")
    code = model.load(own / "model").encode_images([read_image(Path(a), SIZE)])[0].tolist()
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
    assert len(list(own.glob("part-*"))) == len(collection_files.read(own).parts)


def test_links_names_and_other_files(home: Path, photos: Path) -> None:
    """Links are followed, each folder once; what is no image is counted; odd names are rejected by name."""
    folder = home / "photos"
    draw(home, ["outside.png"], seed=5)
    outside = Image.open(home / "outside.png")
    for target, name in (("photos", "loop"), ("outside.png", "one.png"), ("nowhere.png", "dangling.png")):
        (folder / name).symlink_to(home / target)
    os.mkfifo(folder / "pipe.png")
    (folder / "film.mov").write_bytes(b"film")
    outside.save(folder / "no-suffix", "PNG")
    for name, kind in (("x.tif", "TIFF"), ("x.avif", "AVIF"), ("x.jfif", "JPEG")):
        outside.save(folder / name, kind)
    odd = os.path.join(os.fsencode(folder), b"caf\xe9.png")
    Path(os.fsdecode(odd)).write_bytes((home / "outside.png").read_bytes())
    called = cmh("index", photos, "--to", "own", "--threads", 1)
    assert called.status == 0, called.err
    said = " ".join(called.out.split())
    assert "9 added to own" in said
    assert "3 rejected" in said
    assert "caf\\xe9.png" in said
    assert "2 other files were not read: 1 .csv, 1 .mov" in said
    expected = ["B.JPG", "a.png", "d.bmp", "no-suffix", "one.png", "x.avif", "x.jfif", "x.tif", "ü c.webp"]
    assert names_in("own") == expected


def test_two_additions_at_once(home: Path, photos: Path) -> None:
    """The second is refused, and names the first; the lock of a process that died is free."""
    index.add(open_store(), photos, Path("own"), None, HERE)
    with (
        collection_files.lock(Path("own")),
        pytest.raises(ValueError, match=rf"process {os.getpid()} on .* is changing own; wait"),
    ):
        index.add(open_store(), photos, Path("own"), None, HERE)
    program = (
        "import os; from pathlib import Path; from cmh import collection_files\n"
        "with collection_files.lock(Path('own')): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert index.add(open_store(), photos, Path("own"), None, HERE).known == 4


def test_every_damage_is_found_on_opening(home: Path, photos: Path) -> None:
    """A flipped bit or a lost byte, of any file that counts, by name; by search, addition and verify."""
    index.add(open_store(), photos, Path("own"), None, HERE)
    files = [path for path in sorted(Path("own").rglob("*")) if path.is_file() and path.name != "lock"]
    assert len(files) >= 9
    for path in files:
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for damaged in (bytes(flipped), whole[:-2]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"{re.escape(str(path))} is"):
                collection.open_collection(Path("own"))
        path.unlink()
        missing = "own is no collection" if path.name == "collection.json" else f"{path} is missing"
        with pytest.raises(ValueError, match=re.escape(missing)):
            collection.all_codes(Path("own"))
        path.write_bytes(whole)
    assert cmh("verify", "own").status == 0
    words = next(path for path in files if path.name == "words.npy")
    words.write_bytes(words.read_bytes()[:-1] + b"x")
    called = cmh("verify", "own")
    assert called.status == 1
    assert "words.npy" in called.out.replace("\n", "")
    assert "restore them from a backup" in cmh("index", photos, "--to", "own").err
