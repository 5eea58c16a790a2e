"""What a search gives: the orders that there are, items in one of them, and what is said of each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["embeddings", "weighted", "hamming"]
"""How items are put into order.

`embeddings`: the nearest few hundred by Hamming distance, by the cosine of their embeddings with the query's;
`weighted`: all, by the distance in which a bit counts as much as the query's number that it is the sign of;
`hamming`: all, by the number of bits that differ.
"""


@dataclass(frozen=True)
class Hit:
    """One search result: an item, or a word."""

    what: Literal["image", "text", "word"]
    rank: int  # from 1
    distance: int  # in bits; of a word that captions gave, that of its nearest caption
    id: str  # of the item, or the word
    text: str  # of the item, or empty
    row: int | None = None  # of the item in the index; None for words
    similarity: float | None = None  # cosine of the embeddings, where they gave the order
    columns: Mapping[str, Any] = field(default_factory=dict)  # one's own of the item, by name

    def shown(self) -> dict[str, Any]:
        """Return the hit as a row of a table: its fields but `row`, then the columns other than `text`."""
        fields = {key: value for key, value in asdict(self).items() if key not in ("row", "columns")}
        if self.similarity is None:
            del fields["similarity"]
        said = {"", self.text}
        others = {k: v for k, v in self.columns.items() if not (isinstance(v, str) and v in said)}
        return fields | {f"columns.{k}" if k in fields else k: v for k, v in others.items()}


@dataclass(frozen=True)
class Ranking:
    """The first items of an order."""

    order: Order
    row: NDArray[np.int64]  # (k,) of the items in the index
    distance: NDArray[np.int64]  # (k,) in bits
    cosine: NDArray[np.float64] | None  # (k,) of the embeddings, where they gave the order
    allowed: int  # items that fulfil the condition
