"""Search the codes of a run: words find images, an image finds images and words.

engine = Engine.open(store)            # the newest codes, or those at an address
engine.images_for("red fruit", 10)
engine.words_for(decoded_image, 10)
"""

import mimetypes
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from cmh import model as models
from cmh import schema, transforms
from cmh.contact_sheet import contact_sheet
from cmh.hamming import Codes
from cmh.model import Model
from cmh.search import Index
from infra import artifacts
from infra.storage import Store

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Hit:
    """One result: an item of the dataset, or a word of the vocabulary (then there is no row)."""

    what: Literal["image", "word"]
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
    """Everything a search needs: the model, the codes of the retrieval database, and what the items are."""

    model: Model
    codes: zarr.Group
    dataset: zarr.Group
    images: zarr.Group
    items: pa.Table

    @classmethod
    def open(cls, store: Store, address: str | None = None) -> "Engine":
        """The engine of the codes at `address`; by default of the newest codes in the store.

        Raises:
            ValueError: no codes there.
        """
        codes = artifacts.open_artifact(store, address or _newest(store))
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
        if "images" not in made_of:
            raise ValueError(
                f"{codes.ref.address} were made of features that the dataset brought along: there are no "
                "images to find, and no network to encode one; name other codes with --codes"
            )
        model, dataset, images = (
            artifacts.open_artifact(store, made_of[kind]) for kind in ("model", "dataset", "images")
        )
        return cls(
            models.load(model.local()),
            packed,
            zarr.open_group(dataset.zarr("dataset.zarr"), mode="r"),
            zarr.open_group(images.zarr("images.zarr"), mode="r"),
            dataset.read_table("items.parquet"),
        )

    def images_for(self, words: str, top: int = 10, bits: int | None = None) -> list[Hit]:
        """The database's images nearest to a text.

        Raises:
            ValueError: no word of it is in the vocabulary.
        """
        if not transforms.bag_of_words([words], self.model.vocabulary).any():
            known = self.model.vocabulary
            raise ValueError(
                f"no word of {words!r} is among the {len(known)} that the model knows, such as "
                f"{', '.join(known[:: max(1, len(known) // 8)])}"
            )
        return self._items(self.model.encode_texts([words]), top, bits)

    def images_like(self, image: Image, top: int = 10, bits: int | None = None) -> list[Hit]:
        """The database's images nearest to an image, uint8 (H, W, 3)."""
        return self._items(self.model.encode_images([image]), top, bits)

    def words_for(self, image: Image, top: int = 10, bits: int | None = None) -> list[Hit]:
        """The words of the vocabulary, each taken as a text of its own, nearest to an image."""
        hits = self._words.search(self.model.encode_images([image]), top, prefix=bits)
        return [
            Hit("word", rank, int(distance), word, "")
            for rank, (distance, word) in enumerate(zip(hits.distance[0], hits.id[0], strict=True), 1)
        ]

    def image(self, row: int) -> Image:
        """The image of an item of the dataset, uint8 (H, W, 3)."""
        pixels: Image = schema.array(self.images, "image")[int(schema.array(self.dataset, "image_row")[row])]
        return pixels

    def sheet(self, title: str, hits: list[Hit]) -> bytes:
        """PNG of the images found."""
        found = [hit for hit in hits if hit.row is not None]
        captions = [f"{hit.distance} bits: {hit.text}" for hit in found]
        return contact_sheet(title, [self.image(hit.row) for hit in found if hit.row is not None], captions)

    @cached_property
    def _database(self) -> Index:
        rows = schema.array(self.dataset, "split/database")[:]
        return Index(schema.array(self.codes, "image")[:][rows], self.model.bits, rows)

    @cached_property
    def _words(self) -> Index:
        words = list(self.model.vocabulary)
        return Index(self.model.encode_texts(words), self.model.bits, np.array(words))

    def _items(self, query_1P: Codes, top: int, bits: int | None) -> list[Hit]:
        hits = self._database.search(query_1P, top, prefix=bits)
        rows = [int(row) for row in hits.id[0]]
        found = self.items.take(rows).to_pylist()
        return [
            Hit("image", rank, int(distance), item["id"], item["text"], row)
            for rank, (distance, item, row) in enumerate(zip(hits.distance[0], found, rows, strict=True), 1)
        ]


def read_image(path: Path, size: int) -> Image:
    """An image file as the pipeline would have stored it.

    Raises:
        ValueError, OSError: not an image, or none of a kind that is read.
    """
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return transforms.decode_image(path.read_bytes(), media_type, size)


def _newest(store: Store) -> str:
    manifests = {
        path.removesuffix("/manifest.json"): entry.modified
        for path, entry in store.entries("codes").items()
        if path.endswith("/manifest.json")
    }
    if not manifests:
        raise ValueError(f"there are no codes in {store.url} yet; make some with `cmh run` or `cmh demo`")
    return max(manifests, key=lambda address: manifests[address])
