"""The interface: what requests hold, and what answers do."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Form, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cmh.codes.hits import Order
from cmh.data.sides import Side
from cmh.service import queries
from cmh.service.facets import Column
from cmh.service.queries import Nearest, Refused
from cmh.service.snapshots import Snapshot

MOST_PARTS, MOST_HITS, MOST_DEPTH, MOST_QUERIES = 8, 200, 2000, 64
MOST_CONDITION = 500  # characters: each comparison reads a column

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
ItemId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]
GivenId = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Query(description="names the item: giving it again replaces what has this id", examples=["cat-17"]),
]
Cells = Annotated[
    Annotated[str, StringConstraints(max_length=1 << 16)] | None,
    Form(description="columns as a JSON object", examples=['{"year": 2021, "labels": ["dog", "snow"]}']),
]
K = Annotated[int, Field(ge=1, le=MOST_HITS, description="number of hits")]
Offset = Annotated[
    int, Field(ge=0, le=MOST_DEPTH, description="nearest items to leave out, for the next page")
]
Bits = Annotated[int | None, Field(ge=1, description="compare only so many first bits of the codes")]
Ordered = Annotated[
    Order | None,
    Field(
        description="by the cosine of `embeddings`, if the collection keeps them; `weighted`: bits count as "
        "much as the query is sure of them; `hamming`: bits that differ. By default the first that there is",
        examples=["weighted"],
    ),
]
Condition = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CONDITION)] | None,
    Field(
        description="only items whose columns fulfil this",
        examples=['year >= 2020 and "dog" in labels', '"snow" in caption or licence in ("CC0", "CC BY")'],
    ),
]


class Item(BaseModel):
    """An item of the collection."""

    id: str = Field(description="names it in requests", examples=["9f86d081884c7d65"])
    name: str = Field(description="path of an image below the images' folder; empty for texts")
    text: str = Field(description="the text, or the image's caption where it has one")
    thumbnail: str | None = Field(description="where its image is; null for texts")
    columns: dict[str, Any] = Field(
        description="the collection's own columns of it; dates as in ISO 8601",
        examples=[{"caption": "A dog in the snow", "labels": ["dog", "snow"], "year": 2021}],
    )

    @classmethod
    def of(cls, snapshot: Snapshot, row: int) -> "Item":
        """Describe the item in a row."""
        item, _, text = snapshot.item(row), *snapshot.engine.describe(row)
        thumbnail = f"{snapshot.address}/items/{item}/thumbnail" if snapshot.engine.what == "image" else None
        columns = snapshot.engine.columns_of(row)
        return cls(id=item, name=snapshot.shown_name(row), text=text, thumbnail=thumbnail, columns=columns)


class Hit(Item):
    """An item that was found."""

    rank: int = Field(description="from 1, over all pages")
    distance: int = Field(description="bits that differ; of several parts, from the code of their mean")
    similarity: float | None = Field(description="cosine of the embeddings, where these gave the order")


class Seconds(BaseModel):
    """Where the time went; queries that come side by side are encoded together."""

    encode: float
    scan: float
    total: float


class Answer(BaseModel):
    """The nearest items of a query, nearest first; equal ones in the order of the collection."""

    what: Side
    version: str = Field(description="of the collection; it changes with every change of the collection")
    items: int = Field(description="of the collection")
    matching: int = Field(description="items that fulfil `where`; without it, all")
    bits: int = Field(description="that were compared")
    order: Order
    hits: list[Hit]
    next: int | None = Field(description="offset of the next page; null if there is none")
    seconds: Seconds

    @classmethod
    def of(cls, query: queries.Query, found: Nearest | BaseException, total: float) -> "Answer":
        """Describe what was found in `total` seconds; raise what kept the query from being answered."""
        if isinstance(found, BaseException):
            raise found
        snapshot = found.snapshot
        similarities: list[float] | list[None] = found.similarities or [None] * len(found.rows)
        hits = [
            Hit(
                **dict(Item.of(snapshot, row)),
                rank=rank,
                distance=distance,
                similarity=None if similarity is None else round(similarity, 4),
            )
            for rank, (row, distance, similarity) in enumerate(
                zip(found.rows, found.distances, similarities, strict=True), query.offset + 1
            )
        ]
        return cls(
            what=snapshot.engine.what,
            version=snapshot.version,
            items=len(snapshot),
            matching=found.matching,
            bits=found.bits,
            order=found.order,
            hits=hits,
            next=_next(query.offset + query.k, query.k, found.more),
            seconds=Seconds(encode=found.encoding, scan=found.scan, total=total),
        )


class Items(BaseModel):
    """Some items in the order of the collection."""

    what: Side
    version: str
    items: int
    matching: int = Field(description="items that fulfil `where`; without it, all")
    shown: list[Item]
    next: int | None

    @classmethod
    def of(cls, snapshot: Snapshot, k: int, offset: int, where: str | None) -> "Items":
        """Describe k of the items that fulfil a condition, from the one after `offset` on.

        Raises:
            Refused: the condition is wrong.
        """
        try:
            rows = range(len(snapshot)) if where is None else np.flatnonzero(snapshot.engine.allowed(where))
        except ValueError as error:
            raise Refused(str(error)) from error
        return cls(
            what=snapshot.engine.what,
            version=snapshot.version,
            items=len(snapshot),
            matching=len(rows),
            shown=[Item.of(snapshot, int(row)) for row in rows[offset : offset + k]],
            next=offset + k if offset + k < len(rows) else None,
        )


class Question(BaseModel):
    """One query of a batch: at least one text or item."""

    model_config = ConfigDict(extra="forbid")

    text: list[Text] = Field([], max_length=MOST_PARTS, examples=[["a dog in the snow"]])
    like: list[ItemId] = Field([], max_length=MOST_PARTS, examples=[[]])
    k: K = 10
    offset: Offset = 0
    bits: Bits = None
    order: Ordered = None
    where: Condition = None


class Questions(BaseModel):
    """Queries that are answered together."""

    model_config = ConfigDict(extra="forbid")

    queries: list[Question] = Field(min_length=1, max_length=MOST_QUERIES)


class Outcome(BaseModel):
    """The answer to one query of a batch, or why it has none."""

    answer: Answer | None = None
    error: str | None = None

    @classmethod
    def of(cls, query: queries.Query, found: Nearest | BaseException, total: float) -> "Outcome":
        """Describe what was found in `total` seconds, or why the query was refused; raise anything else."""
        if isinstance(found, Refused):
            return cls(error=str(found))
        return cls(answer=Answer.of(query, found, total))


class Outcomes(BaseModel):
    """One outcome per query, in their order."""

    outcomes: list[Outcome]

    @classmethod
    def json_of(
        cls, asked: Sequence[queries.Query], found: Sequence[Nearest | BaseException], total: float
    ) -> str:
        """Describe, as JSON, what was found in `total` seconds or why a query was refused; raise the rest."""
        outcomes = [Outcome.of(*pair, total) for pair in zip(asked, found, strict=True)]
        return cls(outcomes=outcomes).model_dump_json()


class Place(BaseModel):
    """One of several collections behind this port."""

    name: str
    address: str = Field(description="below which its page and its interface are")


class About(BaseModel):
    """What is searched."""

    name: str
    what: Side
    items: int
    version: str
    bits: int
    lengths: list[int] = Field(description="code lengths that are worth asking for, the last one is whole")
    labels: list[str] = Field(description="that the model was trained with")
    orders: list[Order] = Field(description="that a search may ask for, the default first")
    columns: list[Column] = Field(
        description="the collection's own, with values that many items share, each with the `where` for it"
    )
    writable: bool = Field(description="whether items may be added and deleted")
    collections: list[Place] = Field(description="all behind this port; empty if this is the only one")


class Change(BaseModel):
    """What adding or deleting an item did."""

    id: str = Field(description="names the item in requests", examples=["9f86d081884c7d65"])
    change: Literal["added", "replaced", "unchanged", "deleted"]
    version: str = Field(description="of the collection after it; `/readyz` says it once searches follow")


class Problem(BaseModel):
    """Why a request was refused, and what to do."""

    error: str


class Token(BaseModel):
    """What the page trades for its cookie."""

    token: Annotated[str, StringConstraints(max_length=1000)]


def check_query(query: queries.Query, snapshot: Snapshot) -> None:
    """Refuse a query that is too large for the service or for the collection.

    Raises:
        Refused: saying what is wrong.
    """
    if not 1 <= len(query) <= MOST_PARTS:
        raise Refused(f"a query has 1 to {MOST_PARTS} texts, images and items, got {len(query)}")
    if query.offset + query.k > MOST_DEPTH:
        raise Refused(f"offset and k are {MOST_DEPTH} together at most, got {query.offset} and {query.k}")
    bits = snapshot.engine.model.bits
    if query.bits is not None and query.bits > bits:
        raise Refused(f"the codes have {bits} bits, got bits={query.bits}; ask for 1 to {bits}")


def _next(after: int, k: int, more: bool) -> int | None:
    return after if more and after + k <= MOST_DEPTH else None
