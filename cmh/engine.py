"""Search items by words or by an image, with a model, the codes of the items and their descriptions.

Example:
    engine = collection.open_collection(folder)
    engine.for_words("red fruit", 10)
    engine.for_image(decoded_image, 10)
    engine.words_for(decoded_image, 10)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.codes.captions import Captions
from cmh.codes.embeddings import Embeddings
from cmh.codes.hits import Hit, Order, Ranking
from cmh.codes.search import Index
from cmh.data import filters
from cmh.data.sides import Side
from cmh.evaluation.contact_sheet import contact_sheet
from cmh.hashing.encoder import Encoder

CANDIDATES = 400
"""How many of the nearest items by Hamming distance their embeddings put into order.

For hits beyond, the next 1,200 follow, then 4,800 and so on, so that a longer list begins with a shorter.
"""

_CONDITIONS = 16  # whose items are kept, a byte each

Image = NDArray[np.uint8]
Relaxed = NDArray[np.float32]


@dataclass(frozen=True)
class Engine:
    """A search engine over items of one modality.

    Searches take `top`, the number of hits; `bits`, the length of the code to compare, its first bits (None:
    all); `order`, see `Order` (None: the first that there is); and `where`, a condition on the columns, see
    `cmh.data.filters`, which is evaluated first, so that `top` items are found if so many fulfil it.
    """

    model: Encoder  # encodes the queries
    index: Index  # codes of the items, by row
    what: Side  # modality of the items
    describe: Callable[[int], tuple[str, str]]  # row → id and text of the item
    image: Callable[[int], Image]  # row → image, uint8 (H, W, 3); only for items that are images
    embeddings: Embeddings | None = None  # relaxed ones of the items, by row, where they are kept
    columns: pa.Table | None = None  # one's own columns of the items, by row
    file: Callable[[int], Path] | None = None  # row → path of an image (`cmh.data.shard_images`)
    names: pa.ChunkedArray | None = None  # of the items, by row: paths, ids, or the texts themselves
    captions: Captions | None = None  # texts with codes of their own, which give words for an image

    def for_words(
        self,
        words: str,
        top: int = 10,
        bits: int | None = None,
        *,
        order: Order | None = None,
        where: str | None = None,
    ) -> list[Hit]:
        """Return the items nearest to a text.

        Raises:
            ValueError: the vocabulary of the model contains no word of the text, or the condition is wrong.
        """
        if not self.model.knows([words]).all():
            vocabulary = self.model.vocabulary
            if self.model.facts.text != "words":
                raise ValueError("the query holds no words; say what to look for")
            raise ValueError(
                f"no word of {words!r} is among the {len(vocabulary)} that the model knows, such as "
                f"{', '.join(vocabulary[:: max(1, len(vocabulary) // 8)])}"
            )
        return self.for_relaxed(self.model.relax_texts([words])[0], top, bits, order=order, where=where)

    def for_image(
        self,
        image: Image,
        top: int = 10,
        bits: int | None = None,
        *,
        order: Order | None = None,
        where: str | None = None,
    ) -> list[Hit]:
        """Return the items nearest to an image, uint8 (H, W, 3) RGB."""
        return self.for_relaxed(self.model.relax_images([image])[0], top, bits, order=order, where=where)

    def for_relaxed(
        self,
        query_K: Relaxed,
        top: int = 10,
        bits: int | None = None,
        *,
        order: Order | None = None,
        where: str | None = None,
    ) -> list[Hit]:
        """Return the items nearest to a relaxed code (K,) of `Model.relax_texts`, or to a mean of some.

        Raises:
            ValueError: an order that this collection does not have, or a wrong condition, length or `top`.
        """
        found = self.nearest(query_K, top, bits, order=order, where=where)
        cosines = [None] * len(found.row) if found.cosine is None else found.cosine.round(4).tolist()
        return [
            Hit(self.what, rank, distance, *self.describe(row), row, cosine, self.columns_of(row))
            for rank, (row, distance, cosine) in enumerate(
                zip(found.row.tolist(), found.distance.tolist(), cosines, strict=True), 1
            )
        ]

    def nearest(
        self,
        query_K: Relaxed,
        top: int,
        bits: int | None = None,
        *,
        order: Order | None = None,
        where: str | None = None,
        threads: int | None = None,
    ) -> Ranking:
        """Return the rows of the items nearest to a relaxed code (K,); `top` more go on where `top` ended.

        Raises:
            ValueError: an order that this collection does not have, or a wrong condition, length or `top`.
        """
        order = self._checked_order(order)
        length = self.index.bits if bits is None else bits
        if top < 1 or not 1 <= length <= self.index.bits:
            raise ValueError(
                f"a search returns 1 item or more and compares 1 to {self.index.bits} bits; {top} items by "
                f"{length} bits were asked for"
            )
        query_1P = self.model.pack(query_K[None])
        allowed_N = None if where is None else self.allowed(where)
        allowed = len(self.index) if allowed_N is None else int(allowed_N.sum())
        if not allowed:
            return Ranking(order, np.empty(0, np.int64), np.empty(0, np.int64), None, 0)
        cosine_k = None
        if order == "weighted":
            weight_K = np.abs(query_K) * (np.arange(len(query_K)) < length)
            weighted = self.index.search_weighted(
                query_1P, weight_K, top, allowed_N=allowed_N, threads=threads
            )
            row_k = weighted.row[0]
        else:
            edges = [0, top] if order == "hamming" else _tiers(top)
            found = self.index.search(query_1P, edges[-1], prefix=bits, allowed_N=allowed_N, threads=threads)
            row_k = found.row[0]
            if order == "embeddings":
                assert self.embeddings is not None
                tiers = [self.embeddings.nearest(query_K[:length], row_k[a:b]) for a, b in pairwise(edges)]
                row_k = np.concatenate([row for row, _ in tiers])[:top]
                cosine_k = np.concatenate([cosine for _, cosine in tiers])[:top]
        distance_k = hamming.distances_at(query_1P, self.index.words_WN, row_k[None], bits)[0]
        return Ranking(order, row_k, distance_k, cosine_k, allowed)

    def relaxed(self, row: int) -> Relaxed:
        """Return the relaxed code (K,) of an item, for more like it; its code where none is kept."""
        if self.embeddings is not None:
            return np.asarray(self.embeddings.take(np.array([row]))[0], np.float32)
        code_1P = self.index.codes(slice(row, row + 1))
        return np.asarray(hamming.unpack(code_1P, self.index.bits)[0], np.float32)

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders that this collection has, the best first."""
        return get_args(Order) if self.embeddings is not None else get_args(Order)[1:]

    def words_for(
        self, image: Image, top: int = 10, bits: int | None = None, *, order: Order | None = None
    ) -> list[Hit]:
        """Return words for an image: those of the nearest captions, where there are some.

        Else those of the vocabulary that are nearest by `order`, each encoded as a text of its own; a model
        that reads texts with a network may have no vocabulary, and then there are no words.
        """
        if self.captions is not None:
            found = self.captions.words(self.model.encode_images([image]), top, bits)
            return [Hit("word", rank, far, word, "") for rank, (word, far) in enumerate(found, 1)]
        if not self.model.vocabulary:
            return []
        hits = self._words.for_relaxed(self.model.relax_images([image])[0], top, bits, order=order)
        return [replace(hit, what="word", row=None) for hit in hits]

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

    def allowed(self, where: str) -> NDArray[np.bool_]:
        """Return which items fulfil a condition, bool (N,).

        Raises:
            ValueError: if it is wrong, or there are no columns.
        """
        if self.columns is None:
            raise ValueError(
                "the items have no columns; add some with `cmh index photos/ --to … --columns FILE`"
            )
        return self._matches(where)

    def columns_of(self, row: int) -> dict[str, Any]:
        """Return one's own columns of an item, by name."""
        return {} if self.columns is None else self.columns.slice(row, 1).to_pylist()[0]

    @cached_property
    def _matches(self) -> Callable[[str], NDArray[np.bool_]]:
        """Evaluates conditions, and keeps the last ones: each page of a search has the same."""
        columns = self.columns
        return lru_cache(_CONDITIONS)(lambda where: filters.matches(where, columns))

    @cached_property
    def _words(self) -> "Engine":
        """Searches the words of the vocabulary, as texts."""
        words, relaxed_DK = self.model.vocabulary, self.model.relax_vocabulary()
        index = Index(self.model.pack(relaxed_DK), self.model.bits)
        return Engine(
            self.model, index, "text", lambda row: (words[row], ""), self.image, Embeddings([relaxed_DK])
        )

    def _checked_order(self, order: Order | None) -> Order:
        if order is not None and order not in self.orders:
            raise ValueError(
                f"order {order!r} is not to be had here; choose one of {', '.join(self.orders)}"
                + ("" if self.embeddings is not None else "; this collection keeps no embeddings")
            )
        return order or self.orders[0]


def _tiers(top: int) -> list[int]:
    """Return where ranks by Hamming distance are divided; each tier is put into order by itself."""
    edges = [0, CANDIDATES]
    while edges[-1] < top:
        edges.append(4 * edges[-1])
    return edges
