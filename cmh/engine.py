"""Find items by words or by an image: a model, codes of items, and what the items are.

engine = collection.open_collection(folder)
engine.for_words("red fruit", 10)
engine.for_image(decoded_image, 10)
engine.words_for(decoded_image, 10)
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmh.codes.hamming import Codes
from cmh.codes.search import Index
from cmh.data.batches import Side
from cmh.evaluation.contact_sheet import contact_sheet
from cmh.model import Model

Image = NDArray[np.uint8]


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
        """Return the hit as a row of a table."""
        return {key: value for key, value in asdict(self).items() if key != "row"}


@dataclass(frozen=True)
class Engine:
    """Everything a search needs: the model, codes of items, and what the items are."""

    model: Model
    index: Index  # by row
    what: Side
    describe: Callable[[int], tuple[str, str]]  # row → id and text of the item
    image: Callable[[int], Image]  # row → uint8 (H, W, 3); of items that are images

    def for_words(self, words: str, top: int = 10, bits: int | None = None) -> list[Hit]:
        """Return the items nearest to a text.

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
        """Return the items nearest to an image, uint8 (H, W, 3)."""
        return self._items(self.model.encode_images([image]), top, bits)

    def words_for(self, image: Image, top: int = 10, bits: int | None = None) -> list[Hit]:
        """Return the words of the vocabulary, each taken as a text of its own, nearest to an image."""
        hits = self._words.search(self.model.encode_images([image]), top, prefix=bits)
        return [
            Hit("word", rank, int(distance), word, "")
            for rank, (distance, word) in enumerate(zip(hits.distance[0], hits.id[0], strict=True), 1)
        ]

    def sheet(self, title: str, hits: list[Hit]) -> bytes:
        """Return PNG of the images found.

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
