"""What is asked, and the nearest items: texts, images and items of the collection, alone or together.

Each part of a query becomes a relaxed code.  Several are one query by the mean of their directions, so that
each counts the same, and the engine finds what is nearest to it, as `cmh search` does.

Shape suffixes: M = parts of one query, K = bits.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from cmh.codes.hits import Order
from cmh.engine import Image, Relaxed
from cmh.service.snapshots import Snapshot


class Refused(ValueError):
    """A query that cannot be answered, with what to do about it."""


class UnknownItem(Refused):
    """An item that the collection does not have, or not any more."""


@dataclass(frozen=True)
class Query:
    """A query of one or more parts."""

    texts: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    likes: tuple[str, ...] = ()  # items, as `Snapshot.item` names them; they are not among the hits
    k: int = 10
    offset: int = 0  # nearest items to leave out, such as those of the page before
    bits: int | None = None  # first bits to compare; None: all
    order: Order | None = None  # None: the best that the collection has
    where: str | None = None  # condition on the collection's columns

    def __len__(self) -> int:
        """Return M, the number of parts."""
        return len(self.texts) + len(self.images) + len(self.likes)


@dataclass(frozen=True)
class Nearest:
    """The nearest items of one query, nearest first."""

    snapshot: Snapshot
    bits: int  # that were compared
    order: Order
    matching: int  # items that fulfil the condition
    rows: list[int]
    distances: list[int]  # in bits; of a query of several parts, to the code of their mean
    similarities: list[float] | None  # cosines, where these gave the order
    more: bool  # whether other items follow
    encoding: float  # seconds for all queries that were encoded together
    scan: float  # seconds


def answer(
    snapshot: Snapshot, queries: Sequence[Query], threads: int | None = None
) -> list[Nearest | Exception]:
    """Answer queries together: one call of the model for all texts, and one for all images.

    Args:
        snapshot: what is searched.
        queries: at least one.
        threads: of a scan.

    Returns:
        The nearest items of each query, or why it has none; one query's failure is no other's.
    """
    try:
        return _answer(snapshot, queries, threads)
    except Exception as error:
        if len(queries) == 1:
            return [error]
        return [result for query in queries for result in answer(snapshot, [query], threads)]


def _answer(snapshot: Snapshot, queries: Sequence[Query], threads: int | None) -> list[Nearest | Exception]:
    began = time.perf_counter()
    relaxed = _relaxed(snapshot, queries)
    encoding = time.perf_counter() - began
    results: list[Nearest | Exception] = []
    for query, found in zip(queries, relaxed, strict=True):
        try:
            results.append(
                found if isinstance(found, Refused) else _nearest(snapshot, query, found, threads, encoding)
            )
        except Refused as refused:
            results.append(refused)
    return results


def _nearest(
    snapshot: Snapshot, query: Query, query_K: Relaxed, threads: int | None, encoding: float
) -> Nearest:
    """Find the items of one page; every page is cut from the same order.

    Raises:
        Refused: the collection does not have the order, or the condition is wrong.
    """
    began = time.perf_counter()
    end = query.offset + query.k
    top = end + len(query.likes) + 1  # one more says whether there is a next page
    try:
        found = snapshot.engine.nearest(
            query_K, top, query.bits, order=query.order, where=query.where, threads=threads
        )
    except ValueError as error:
        raise Refused(str(error)) from error
    other = np.flatnonzero(~np.isin(found.row, _rows(snapshot, query.likes)))
    page = other[query.offset : end]
    return Nearest(
        snapshot,
        query.bits or snapshot.engine.model.bits,
        found.order,
        found.allowed,
        found.row[page].tolist(),
        found.distance[page].tolist(),
        None if found.cosine is None else found.cosine[page].tolist(),
        len(other) > end,
        encoding,
        time.perf_counter() - began,
    )


def _relaxed(snapshot: Snapshot, queries: Sequence[Query]) -> list[Relaxed | Refused]:
    """Return the relaxed code (K,) of each query, or why it has none."""
    model = snapshot.engine.model
    texts = list(dict.fromkeys(text for query in queries for text in query.texts))
    known = list(compress(texts, model.knows(texts))) if texts else []
    of_text = dict(zip(known, model.relax_texts(known), strict=True)) if known else {}
    images = [image for query in queries for image in query.images]
    of_images: Iterator[Relaxed] = iter(model.relax_images(images) if images else ())

    results: list[Relaxed | Refused] = []
    for query in queries:
        parts: list[Relaxed] = [
            next(of_images) for _ in query.images
        ]  # taken also of a query that is refused
        try:
            parts += [_relaxed_text(text, of_text, snapshot) for text in query.texts]
            parts += [snapshot.engine.relaxed(row) for row in _rows(snapshot, query.likes)]
            results.append(_mean(parts))
        except Refused as refused:
            results.append(refused)
    return results


def _mean(parts: Sequence[Relaxed]) -> Relaxed:
    """Return the mean direction (K,) of relaxed codes, whose lengths differ by where they come from."""
    if len(parts) == 1:
        return parts[0]
    part_MK = np.stack(parts)
    length_M1 = np.linalg.norm(part_MK, axis=1, keepdims=True)
    mean_K: Relaxed = (part_MK / np.where(length_M1 == 0, 1, length_M1)).mean(0)
    return mean_K


def _relaxed_text(text: str, relaxed: Mapping[str, Relaxed], snapshot: Snapshot) -> Relaxed:
    """Return the relaxed code (K,) of a text, of those that say something to the model.

    Raises:
        Refused: if this one does not, naming words that do.
    """
    if text in relaxed:
        return relaxed[text]
    words = snapshot.engine.model.vocabulary
    such = ", ".join(words[:: max(1, len(words) // 6)][:6])
    raise Refused(
        f"the model knows no word of {text[:80]!r}; it knows {len(words)} words, such as {such}"
        if words
        else f"{text[:80]!r} has no characters that the model reads"
    )


def _rows(snapshot: Snapshot, items: Sequence[str]) -> list[int]:
    rows = []
    for item in items:
        row = snapshot.row(item)
        if row is None:
            raise UnknownItem(f"the collection has no item {item[:40]!r}; it may have been removed")
        rows.append(row)
    return rows


def warm_up(snapshot: Snapshot, threads: int | None = None) -> None:
    """Ask a query of each kind, so that the first person does not wait for what happens at first use.

    Raises:
        Exception: whatever keeps the model from encoding, such as a graph that cannot be made.
    """
    model = snapshot.engine.model
    side = model.facts.stored_size
    text, image = (model.vocabulary or ("picture",))[0], np.zeros((side, side, 3), np.uint8)
    for result in answer(snapshot, [Query((text,)), Query((), (image,)), Query((text,), (image,))], threads):
        if isinstance(result, Exception) and not isinstance(result, Refused):
            raise result
