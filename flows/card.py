"""The card of a dataset: a folder that says what it holds, for people and for machines, from its artifact.

README.md       counts, leakage and quality, with the pictures below
pairs.jpg       pairs drawn at random from the training set
histograms.png  items of each label, and words of each text
items.parquet   each item's id, group, text, labels and split
splits/*.txt    the ids of each part, a line each
croissant.json  all of it in Croissant 1.1, with checksums

Nothing of it is part of an artifact, so that no font and no drawing library bears on any identity.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray
from PIL import Image

from cmh.data import croissant, schema, texts
from cmh.data.croissant import Column, File
from cmh.evaluation import figures
from cmh.evaluation.contact_sheet import contact_sheet
from data_catalog import catalog
from data_catalog.catalog import Entry
from infra import artifacts, lineage
from infra.artifacts import Reading
from infra.manifest import Manifest
from infra.storage import Store

PAIRS = 15
COLUMNS = (
    Column("id", "identifier of the pair"),
    Column("source", "origin within the dataset"),
    Column("group", "pairs of one group are never on both sides of a split"),
    Column("text", "the text"),
    Column("labels", "names of the labels", is_list=True),
    Column("split", "query, train, validation, or database: in the database only"),
)
_KEPT = ("README.md", "items.parquet", "quality.json", "labels.txt", "vocabulary.txt")
_MEDIA = {
    ".md": "text/markdown", ".jpg": "image/jpeg", ".png": "image/png", ".txt": "text/plain",
    ".json": "application/json", ".parquet": "application/x-parquet",
}  # fmt: skip
_ABOUT = {
    "README.md": "counts, leakage and quality", "pairs.jpg": "pairs of the training set, drawn at random",
    "histograms.png": "items of each label, words of each text", "items.parquet": "the pairs without pixels",
    "labels.txt": "names of the labels", "vocabulary.txt": "words of the training texts",
    "quality.json": "leakage and quality as numbers",
}  # fmt: skip


def write(store: Store, address: str, to: Path) -> list[Path]:
    """Write the card of a dataset into a new folder; return its files.

    Raises:
        ValueError: the folder holds something already, or is a file, or the artifact is no dataset.
        FileNotFoundError: there is no such artifact.
    """
    reading = artifacts.open_artifact(store, address)
    if reading.ref.kind != "dataset":
        raise ValueError(f"{address} is no dataset; `cmh ls dataset` lists them")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"{to} is no empty folder; name a new one")
    items = reading.read_table("items.parquet")
    split_N = np.array(items["split"].to_pylist())
    files = {name: reading.read_bytes(name) for name in _KEPT if name in reading.files}
    for part in ("query", "train", "validation"):
        ids = items["id"].filter(pa.array(split_N == part)).to_pylist()
        files[f"splits/{part}.txt"] = "".join(f"{one}\n" for one in ids).encode()
    page = files.get("README.md", f"# {reading.ref.name}\n".encode()).decode()
    sheet = _pairs(store, reading, items, np.flatnonzero(split_N == "train"))
    if sheet is not None:
        files["pairs.jpg"] = sheet
        page += "\n![Pairs of the training set](pairs.jpg)\n"
    files["histograms.png"] = _histograms(items)
    page += "\n![Items of each label, and words of each text](histograms.png)\n"
    files["README.md"] = page.encode()
    described = _description(reading.manifest, files)
    files["croissant.json"] = json.dumps(described, indent=1, ensure_ascii=False).encode()
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as draft:  # whole, or not at all
        whole = Path(draft, "card")
        (whole / "splits").mkdir(parents=True)
        for name, data in files.items():
            (whole / name).write_bytes(data)
        whole.replace(to)
    return [to / name for name in sorted(files)]


def _pairs(store: Store, dataset: Reading, items: pa.Table, row_n: NDArray[np.int64]) -> bytes | None:
    """Return a contact sheet; None where the dataset brings features, or its images are gone."""
    known = lineage.read(store)
    images = known.inputs(known.at(dataset.ref.address)).get("images")
    if images is None or not len(row_n):
        return None
    some = np.sort(np.random.default_rng(0).permutation(row_n)[:PAIRS])
    source = artifacts.open_artifact(store, images.ref)
    pixels = schema.array(zarr.open_group(source.zarr("images.zarr"), mode="r"), "image")
    image_row = schema.array(zarr.open_group(dataset.zarr("dataset.zarr"), mode="r"), "image_row")
    said = items["text"].take(pa.array(some)).to_pylist()
    drawn = contact_sheet(dataset.ref.name, [pixels[row] for row in image_row[:][some]], said)
    out = io.BytesIO()
    Image.open(io.BytesIO(drawn)).convert("RGB").save(out, "JPEG", quality=85)
    return out.getvalue()


def _histograms(items: pa.Table) -> bytes:
    labels = pa.chunked_array(items["labels"]).combine_chunks().flatten().value_counts().to_pylist()
    counted = {one["values"]: one["counts"] for one in sorted(labels, key=lambda one: -one["counts"])}
    words = [len(texts.words(text)) for text in items["text"].to_pylist()]
    return figures.render(figures.frequencies(counted, words), "png")


def _description(manifest: Manifest, held: Mapping[str, bytes]) -> dict[str, object]:
    other = "ids of one part of the split, a line each"
    files = [
        File(name, _MEDIA[Path(name).suffix], hashlib.sha256(data).hexdigest(), _ABOUT.get(name, other))
        for name, data in sorted(held.items())
    ]
    name, about = manifest.ref.name, f"{manifest.ref.name}: images with texts"
    entry = _entry(manifest)
    began = str(manifest.run.get("began", ""))[:10]
    facts = {"datePublished": began, "url": f"urn:cmh:{manifest.ref.address}"}
    if entry is not None:
        about, facts["citeAs"] = entry.about or entry.title, entry.citation
        facts["license"] = "; ".join(dict.fromkeys(one.licence for one in entry.sources.values()))
    return croissant.describe(
        name, " ".join(about.split()), version=f"{manifest.revision}.0.0", files=files, table="items.parquet",
        columns=COLUMNS, facts={key: " ".join(fact.split()) for key, fact in facts.items() if fact},
    )  # fmt: skip


def _entry(manifest: Manifest) -> Entry | None:
    """Return the catalog's entry that a dataset was made from, by its protocol; None: data of one's own.

    A name alone tells nothing: one's own entry may be called as one of the catalog, and has other licences.
    """
    made, called = manifest.config, manifest.ref.name
    for entry in map(catalog.load, catalog.available()):
        for one in (entry, *map(entry.under, entry.protocols)):
            named = called == one.name or ("label_noise" in made and called.startswith(f"{one.name}-noise"))
            if named and one.reader == made["reader"] and one.sources.keys() == made["sources"].keys():
                return one
    return None
