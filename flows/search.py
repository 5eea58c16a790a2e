"""Search the codes of a run in the store; `cmh.engine` does it, and `cmh.collection` opens collections.

engine = open_run(store)               # the newest codes, or those at an address
engine.for_words("red fruit", 10)
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr

from cmh.codes.captions import Captions
from cmh.codes.embeddings import Embeddings
from cmh.codes.search import Index
from cmh.data import schema
from cmh.data.sides import Side
from cmh.engine import Engine
from cmh.onnx import exported
from infra import artifacts, stores
from infra.artifacts import Reading, newest
from infra.storage import Store


def open_run(store: Store, address: str | None = None) -> Engine:
    """Search all images of the codes at `address`; by default of the newest codes in the store.

    Raises:
        ValueError: no codes there, or none that can be searched.
    """
    codes, packed, items = read_codes(store, address)
    made_of = codes.read_json("codes.json")
    if "images" not in made_of:
        raise ValueError(
            f"{codes.ref.address} were made of features that the dataset brought along: there are no "
            "images to find, and no network to encode one; name other codes with --codes"
        )
    model, dataset, images = (
        artifacts.open_artifact(store, made_of[kind]) for kind in ("model", "dataset", "images")
    )
    image_row = schema.array(zarr.open_group(dataset.zarr("dataset.zarr"), mode="r"), "image_row")[:]
    pixels = schema.array(zarr.open_group(images.zarr("images.zarr"), mode="r"), "image")
    trained = exported.load(model.local(), threads=1, cache=stores.graphs())
    known = np.flatnonzero(pc.not_equal(items["split"], "query"))  # queries are new to the model
    captions = Captions(
        Index(schema.array(packed, "text")[:][known], trained.bits), items["text"].take(known).to_pylist()
    )
    return Engine(
        trained,
        Index(schema.array(packed, "image")[:], trained.bits),
        "image",
        lambda row: (items["id"][row].as_py(), items["text"][row].as_py()),
        lambda row: np.asarray(pixels[int(image_row[row])], np.uint8),
        Embeddings([schema.array(packed, "image_relaxed")[:]]),
        items.select(["labels"]),
        captions=captions,
    )


def read_codes(store: Store, address: str | None) -> tuple[Reading, zarr.Group, pa.Table]:
    """Return a codes artifact (None: the newest), its packed codes, and the items that they are of.

    Raises:
        ValueError: no codes there, or embeddings.
    """
    codes = artifacts.open_artifact(store, address or newest(store, "codes"))
    if codes.ref.kind != "codes":
        raise ValueError(
            f"{codes.ref.address} is a {codes.ref.kind}, not codes; list codes with `cmh ls codes`"
        )
    made_of = codes.read_json("codes.json")
    packed = zarr.open_group(codes.zarr("codes.zarr"), mode="r")
    if "image_embedding" in packed:
        raise ValueError(
            f"{codes.ref.address} holds real-valued embeddings of {made_of['method']}, which is here for "
            "comparison only; search needs binary codes: name others with --codes (`cmh ls codes`)"
        )
    dataset = artifacts.open_artifact(store, made_of["dataset"])
    return codes, packed, dataset.read_table("items.parquet")


def all_codes(store: Store, address: str, side: Side) -> Index:
    """Return all codes of one side of a run, with the ids of its items."""
    codes, packed, items = read_codes(store, address)
    bits = codes.read_json("codes.json")["bits"]
    return Index(schema.array(packed, side)[:], bits, np.array(items["id"].to_pylist()))
