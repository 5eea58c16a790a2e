"""Search the codes of a run, or of a collection (`flows.collection`): words and images find its items.

engine = open_run(store)               # the newest codes, or those at an address
engine.for_words("red fruit", 10)
engine.for_image(decoded_image, 10)
engine.words_for(decoded_image, 10)
"""

import mimetypes
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from cmh import model as models
from cmh.codes.hamming import Codes
from cmh.codes.search import Index
from cmh.data import schema
from cmh.data.images import decode_image
from cmh.evaluation.contact_sheet import contact_sheet
from cmh.model import Model
from infra import artifacts
from infra.artifacts import Reading
from infra.storage import Store

Image = NDArray[np.uint8]
What = Literal["image", "text"]


@dataclass(frozen=True)
class Hit:
    """One result: an item, or a word of the vocabulary (then there is no row)."""

    what: Literal["image", "text", "word"]
    rank: int
    distance: int  # bits
    id: str
    text: str
    row: int | None = None

    def shown(self) -> dict[str, Any]:
        """As a row of a table."""
        return {key: value for key, value in asdict(self).items() if key != "row"}


@dataclass(frozen=True)
class Engine:
    """Everything a search needs: the model, codes of items, and what the items are."""

    model: Model
    index: Index  # by row
    what: What
    describe: Callable[[int], tuple[str, str]]  # row → id and text of the item
    image: Callable[[int], Image]  # row → uint8 (H, W, 3); of items that are images

    def for_words(self, words: str, top: int = 10, bits: int | None = None) -> list[Hit]:
        """The items nearest to a text.

        Raises:
            ValueError: the model knows no word of it.
        """
        if not self.model.knows([words]).all():
            known = self.model.vocabulary
            raise ValueError(
                f"no word of {words!r} is among the {len(known)} that the model knows, such as "
                f"{', '.join(known[:: max(1, len(known) // 8)])}"
            )
        return self._items(self.model.encode_texts([words]), top, bits)

    def for_image(self, image: Image, top: int = 10, bits: int | None = None) -> list[Hit]:
        """The items nearest to an image, uint8 (H, W, 3)."""
        return self._items(self.model.encode_images([image]), top, bits)

    def words_for(self, image: Image, top: int = 10, bits: int | None = None) -> list[Hit]:
        """The words of the vocabulary, each taken as a text of its own, nearest to an image."""
        hits = self._words.search(self.model.encode_images([image]), top, prefix=bits)
        return [
            Hit("word", rank, int(distance), word, "")
            for rank, (distance, word) in enumerate(zip(hits.distance[0], hits.id[0], strict=True), 1)
        ]

    def sheet(self, title: str, hits: list[Hit]) -> bytes:
        """PNG of the images found.

        Raises:
            ValueError: the items are texts.
        """
        if self.what != "image":
            raise ValueError("a contact sheet shows images, and these items are texts; leave out --sheet")
        found = [hit for hit in hits if hit.row is not None]
        captions = [f"{hit.distance} bits: {hit.text or hit.id}" for hit in found]
        return contact_sheet(title, [self.image(hit.row) for hit in found if hit.row is not None], captions)

    @cached_property
    def _words(self) -> Index:
        words = list(self.model.vocabulary)
        return Index(self.model.encode_texts(words), self.model.bits, np.array(words))

    def _items(self, query_1P: Codes, top: int, bits: int | None) -> list[Hit]:
        hits = self.index.search(query_1P, top, prefix=bits)
        found = zip(hits.distance[0], hits.row[0], strict=True)
        return [
            Hit(self.what, rank, int(distance), *self.describe(int(row)), int(row))
            for rank, (distance, row) in enumerate(found, 1)
        ]


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
    trained = models.load(model.local())
    return Engine(
        trained,
        Index(schema.array(packed, "image")[:], trained.bits),
        "image",
        lambda row: (items["id"][row].as_py(), items["text"][row].as_py()),
        lambda row: np.asarray(pixels[int(image_row[row])], np.uint8),
    )


def read_codes(store: Store, address: str | None) -> tuple[Reading, zarr.Group, pa.Table]:
    """A codes artifact (None: the newest), its packed codes, and the items that they are of.

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


def joined(store: Store, address: str, side: What) -> Index:
    """All codes of one side of a run, with the ids of its items."""
    codes, packed, items = read_codes(store, address)
    bits = codes.read_json("codes.json")["bits"]
    return Index(schema.array(packed, side)[:], bits, np.array(items["id"].to_pylist()))


def read_image(path: Path, size: int) -> Image:
    """An image file as the pipeline would have stored it.

    Raises:
        ValueError, OSError: not an image, or none of a kind that is read.
    """
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return decode_image(path.read_bytes(), media_type, size)


def newest(store: Store, kind: str) -> str:
    """Address of the artifact of a kind that was written last.

    Raises:
        ValueError: there is none.
    """
    manifests = {
        path.removesuffix("/manifest.json"): entry.modified
        for path, entry in store.entries(kind).items()
        if path.endswith("/manifest.json")
    }
    if not manifests:
        raise ValueError(
            f"there are no artifacts of kind {kind} in {store.url} yet; `cmh run` or `cmh demo` makes some"
        )
    return max(manifests, key=lambda address: manifests[address])
