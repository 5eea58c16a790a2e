"""Search items by words or by an image, with a model, the codes of the items and their descriptions.

Example:
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
    """One search result: an item, or a word of the vocabulary."""

    what: Literal["image", "text", "word"]
    rank: int  # from 1
    distance: int  # in bits
    id: str  # of the item, or the word
    text: str  # of the item, or empty
    row: int | None = None  # of the item in the index; None for words

    def shown(self) -> dict[str, Any]:
        """Return the hit as a row of a table: all fields but `row`, by name."""
        return {key: value for key, value in asdict(self).items() if key != "row"}


@dataclass(frozen=True)
class Engine:
    """A search engine over items of one modality."""

    model: Model  # encodes the queries
    index: Index  # codes of the items, by row
    what: Side  # modality of the items
    describe: Callable[[int], tuple[str, str]]  # row → id and text of the item
    image: Callable[[int], Image]  # row → image, uint8 (H, W, 3); only for items that are images

    def for_words(self, words: str, top: int = 10, bits: int | None = None) -> list[Hit]:
        """Return the items nearest to a text.

        Args:
            words: the text.
            top: number of hits.
            bits: length of the code to compare, its first bits; None for all bits.

        Raises:
            ValueError: the vocabulary of the model contains no word of the text.
        """
        if not self.model.knows([words]).all():
            vocabulary = self.model.vocabulary
            raise ValueError(
                f"no word of {words!r} is among the {len(vocabulary)} that the model knows, such as "
                f"{', '.join(vocabulary[:: max(1, len(vocabulary) // 8)])}"
            )
        return self._items(self.model.encode_texts([words]), top, bits)

    def for_image(self, image: Image, top: int = 10, bits: int | None = None) -> list[Hit]:
        """Return the items nearest to an image, uint8 (H, W, 3) RGB; `top` and `bits` as of `for_words`."""
        return self._items(self.model.encode_images([image]), top, bits)

    def words_for(self, image: Image, top: int = 10, bits: int | None = None) -> list[Hit]:
        """Return the words of the vocabulary nearest to an image, each word encoded as a text of its own."""
        hits = self._words.search(self.model.encode_images([image]), top, prefix=bits)
        return [
            Hit("word", rank, int(distance), word, "")
            for rank, (distance, word) in enumerate(zip(hits.distance[0], hits.id[0], strict=True), 1)
        ]

    def sheet(self, title: str, hits: list[Hit]) -> bytes:
        """Return a contact sheet of the images among the hits, as the bytes of a PNG file.

        An image that cannot be read any more is a grey square, and its caption says so.

        Raises:
            ValueError: the items are texts.
        """
        if self.what != "image":
            raise ValueError("a contact sheet shows images, and these items are texts; leave out --sheet")
        images, captions = [], []
        for hit in hits:
            if hit.row is None:
                continue
            caption = f"{hit.distance} bits: {hit.text or hit.id[-36:]}"
            try:
                images.append(self.image(hit.row))
            except (OSError, ValueError):  # the user's file is gone or was replaced
                images.append(np.full((64, 64, 3), 128, np.uint8))
                caption = f"cannot be read now; {caption}"
            captions.append(caption)
        return contact_sheet(title, images, captions)

    @cached_property
    def _words(self) -> Index:
        """Return the codes of all words of the vocabulary, with the words as ids."""
        words = list(self.model.vocabulary)
        return Index(self.model.encode_texts(words), self.model.bits, np.array(words))

    def _items(self, query_1P: Codes, top: int, bits: int | None) -> list[Hit]:
        """Return the items nearest to one packed query code (1, P)."""
        hits = self.index.search(query_1P, top, prefix=bits)
        neighbours = zip(hits.distance[0], hits.row[0], strict=True)
        return [
            Hit(self.what, rank, int(distance), *self.describe(int(row)), int(row))
            for rank, (distance, row) in enumerate(neighbours, 1)
        ]
