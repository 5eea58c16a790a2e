"""Damaged and hostile files: clean errors, bounded time, whatever the bytes.

Each kind starts from a whole file and is mutated: bits, bytes, lengths, insertions, repetitions.  Only
ValueError and OSError may come out, which the command line shows in one line, and each file takes a bounded
time.  `CMH_FUZZ_SECONDS=600 pytest -m slow tests/fuzz` goes on for ten minutes a kind.
"""

import io
import json
import os
import random
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch
from PIL import Image

from cmh import collection, model
from cmh.codes import index_files
from cmh.codes.search import Index
from cmh.collection_files import changes
from cmh.collection_files import manifest as collection_manifest
from cmh.collection_files.parts import FileState
from cmh.data import archives, columns, images, item_table, matlab
from cmh.networks import backbones
from data_catalog import catalog
from infra import artifacts, manifest
from infra.artifacts import Target
from infra.stores import open_store

SECONDS = float(os.environ.get("CMH_FUZZ_SECONDS", "6"))
SLOWEST = 20.0  # seconds for one file, on a busy machine
ODD = (
    b"\0",
    b"\xff" * 4,
    b"-1",
    b"1e999",
    b"NaN",
    b"[" * 3000,
    b'"',
    b"\n",
    b"9" * 25,
    b"\xe2\x80\xae",
    b"{}",
    b"<a>",
)


def mutated(whole: bytes, dice: random.Random) -> bytes:
    """The file with a few changes."""
    data = bytearray(whole)
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0 if data:
                data[at - 1] ^= 1 << dice.randrange(8)
            case 1 if data:
                data[at - 1] = dice.randrange(256)
            case 2:
                del data[at : at + dice.choice((1, 4, 100))]
            case 3:
                data[at:at] = dice.choice(ODD)
            case 4:
                data[at : at + 4] = dice.randrange(1 << 32).to_bytes(4, "little")
            case 5:
                data[at:at] = data[at // 2 : at] * dice.choice((1, 8))
            case _:
                del data[at:]
    return bytes(data[: 1 << 20])


def fuzz(whole: bytes, read: Callable[[bytes], object], seed: int) -> None:
    """Read mutations for a while; at the start, all ends of the file that are cut off at powers of two."""
    dice, until, tried = random.Random(seed), time.monotonic() + SECONDS, 0
    cut = [whole[: 1 << power] for power in range(len(whole).bit_length())]
    while cut or time.monotonic() < until:
        data = cut.pop() if cut else mutated(whole, dice)
        began = time.monotonic()
        said = ""
        try:
            read(data)
        except (ValueError, OSError) as error:
            said = str(error)
        except Exception as error:
            error.add_note(f"mutation {tried} of seed {seed}: {data[:300]!r}")
            raise
        assert len(said) < 5000, f"mutation {tried}: {said[:200]}"
        assert time.monotonic() - began < SLOWEST, f"mutation {tried}: {data[:300]!r}"
        tried += 1


@pytest.fixture(scope="module")
def drawing() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))


def encoded(drawing: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    drawing.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_images(drawing: Image.Image, kind: str) -> None:
    images.reads_heic()

    def decode(data: bytes) -> None:
        images.decode_whole(data, "image", 32)
        images.decode_image(data, "image", 32)

    fuzz(encoded(drawing, kind), decode, 1)


@pytest.mark.slow
def test_drawings() -> None:
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><defs><linearGradient id="g"/></defs>'
        b'<g transform="scale(2)"><path d="M0 0L9 9" fill="url(#g)"/><use href="#g"/></g></svg>'
    )
    fuzz(svg, lambda data: images.decode_image(data, "image/svg+xml", 32), 2)


def reader(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """What writes the bytes to a file and reads that."""

    def from_bytes(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return from_bytes


@pytest.mark.slow
def test_tables(tmp_path: Path) -> None:
    table = 'image,text,labels,split\na.png,"a, b",x|y,train\nb.png,ü,"[""x"", ""y""]",test\n'.encode()
    fuzz(table, reader(tmp_path / "items.csv", item_table.read), 3)


@pytest.mark.slow
def test_catalog_entries(tmp_path: Path) -> None:
    entry = (catalog.FOLDER / "emoji.yaml").read_bytes()[:3000]
    fuzz(entry, reader(tmp_path / "entry.yaml", catalog.load), 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_matlab_files(tmp_path: Path) -> None:
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"I": np.eye(4), "L": np.arange(3, dtype=np.uint8)}, do_compression=True)
    fuzz(stream.getvalue(), reader(tmp_path / "a.mat", lambda path: matlab.read(path, ["I", "L"])), 5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar"])
def test_archives(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a/1.txt", "text " * 99)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz" if kind == "tar.gz" else "w") as file:
            entry = tarfile.TarInfo("a/1.txt")
            entry.size = 5
            file.addfile(entry, io.BytesIO(b"hello"))

    def read_all(path: Path) -> object:
        return [read() for read in archives.listing(path).values()]

    fuzz(stream.getvalue(), reader(tmp_path / f"archive.{kind}", read_all), 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["words.npy", "ids.parquet", "index.json"])
def test_indexes(tmp_path: Path, name: str) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (20, 3), np.uint8)
    index_files.save(Index(codes, 24, np.array([f"item {n}" for n in range(20)])), tmp_path / "index")
    path = tmp_path / "index" / name

    def search(_: Path) -> object:
        return index_files.load(tmp_path / "index", mapped=False).search(codes[:1], 3)

    fuzz(path.read_bytes(), reader(path, search), 7)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", "none")
    words = ("red", "blue", "green")
    method = model.build("scm", {"bits": 8}, backbone, frozen=True, text_dim=3, labels=2)
    sizes = {"grid": 1, "stored_size": 32, "image_size": 32, "text_dim": 3, "labels": 2, "length": None}
    facts = model.facts("scm", method, {"bits": 8}, "resnet18", "none", **sizes)
    folder = tmp_path_factory.mktemp("model")
    model.save(model.Model(method.eval(), backbone.eval(), facts, words, ("a", "b")), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.txt", "labels.txt"])
def test_models(small_model: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(small_model, tmp_path / "model")
    path = folder / name
    fuzz(path.read_bytes(), reader(path, lambda _: model.load(folder).encode_texts(["red"])), 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("collection.json", "part-00000/words.npy", "part-00000/files.parquet"),
        *("part-00000/embeddings.npy", "columns-00001/columns.parquet"),
    ],
)
def test_collections(small_model: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are opened where checksums fit: whoever changes a file can change these too."""
    folder = tmp_path / "own"
    changes.create(folder, small_model, "image", "model/a/b", embeddings="int8")
    codes = np.arange(5, dtype=np.uint8)[:, None]
    names, states = [f"/photos/{n}.png" for n in range(5)], [FileState(1, n) for n in range(5)]
    kept = np.ones((5, 8), np.int8)
    contents = collection_manifest.read(folder)
    contents = changes.add_part(folder, contents, codes, names, states, kept)
    contents = changes.set_columns(folder, contents, pa.table({"name": names, "year": range(5)}))
    path, whole = folder / name, (folder / name).read_bytes()
    monkeypatch.setattr(changes, "check", lambda folder, contents: None)
    relaxed = np.ones(8, np.float32)

    def searched(_: Path) -> object:
        states = changes.states(folder, collection_manifest.read(folder))
        return states, collection.open_collection(folder).for_relaxed(relaxed, where="year > 2")

    fuzz(whole, reader(path, searched), 9)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns(tmp_path: Path, suffix: str) -> None:
    """Tables of columns of one's own."""
    path = tmp_path / f"c{suffix}"
    rows = [{"name": f"{n}.jpg", "year": n, "labels": "a|b", "said": "ü, x"} for n in range(9)]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        csv = "name,year,labels,said\n" + "".join(f'{n}.jpg,{n},a|b,"ü, x"\n' for n in range(9))
        path.write_text(csv if suffix == ".csv" else text, "utf-8")
    fuzz(path.read_bytes(), reader(path, lambda path: columns.read(path, "image")), 13)


@pytest.mark.slow
def test_manifests(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with artifacts.write(store, Target("codes", "a", {"x": [1]}, {}, 1)) as draft:
        draft.write_json("a.json", {"a": 1})
    address = draft.ref.address
    (path,) = (tmp_path / "store").rglob("manifest.json")
    whole = json.loads(path.read_bytes())
    assert whole

    def read(_: Path) -> object:
        manifest.read(store, address)
        return artifacts.verify(store, address)

    fuzz(path.read_bytes(), reader(path, read), 10)
