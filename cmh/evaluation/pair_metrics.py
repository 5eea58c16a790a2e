"""Measure how well codes find the pair of a query: figures that need no labels.

Shape suffixes: Q = queries, A = queries that ask (of images, one for each), P = bytes of a packed code,
K = bits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.evaluation import bootstrap, instance_recall, report
from cmh.evaluation.counts import CodedItems
from cmh.evaluation.instance_recall import KS

DIRECTIONS: Mapping[str, tuple[str, str]] = {
    "image_to_text": ("image", "text"),
    "text_to_image": ("text", "image"),
}


def measure(queries: CodedItems, lengths: Sequence[int]) -> tuple[list[dict[str, Any]], pa.Table]:
    """Return rows of `cmh.evaluation.report.METRICS`, and a table of PAIRS: a row per query.

    The queries of one modality search those of the other.

    `instance_recall_at_k`, `instance_mrr` (mean reciprocal rank) and `instance_median_rank` ask for a query's
    own pair; `group_recall_at_k` for another item of its group, where there are groups of several images.

    Args:
        queries: with codes of both modalities; their groups and images are respected.
        lengths: numbers of bits; shorter codes are prefixes.
    """
    rows: list[dict[str, Any]] = []
    pairs = [report.PAIRS.empty_table()]
    for direction, (asking, asked) in DIRECTIONS.items():
        for bits in lengths:
            query_QP, gallery_QP = (hamming.prefix(queries.codes[side], bits) for side in (asking, asked))
            where = {"direction": direction, "bits": bits, "ranking": "stored"}
            rows += [where | row for row in _direction(queries, where, query_QP, gallery_QP, pairs.append)]
    return rows, pa.concat_tables(pairs)


def _direction(
    queries: CodedItems,
    where: Mapping[str, Any],
    query_QP: hamming.Codes,
    gallery_QP: hamming.Codes,
    keep: Callable[[pa.Table], None],
) -> Iterator[dict[str, Any]]:
    image_Q, group_Q = queries.image_N, queries.group_N
    gallery = len(query_QP) if image_Q is None else len(np.unique(image_Q))
    ks = [k for k in KS if k < gallery]
    if not ks:
        return
    asks_image = where["direction"] == "image_to_text"
    first_A = np.arange(len(query_QP))
    if image_Q is not None and asks_image:
        first_A = np.sort(np.unique(image_Q, return_index=True)[1])
    group_A = None if group_Q is None else group_Q[first_A]
    found = instance_recall.of_pairs(query_QP, gallery_QP, ks, image_Q=image_Q, query_is_image=asks_image)
    keep(_pairs(where, found, ks, queries, first_A))
    yield from _recalls("instance", found.hit_AJ, ks, group_A)
    value, low, high = bootstrap.interval(found.reciprocal_rank_A, group_A)
    yield {"metric": "instance_mrr", "value": value, "low": low, "high": high}
    yield {"metric": "instance_median_rank", "value": float(np.median(found.rank_A))}
    if group_Q is None or image_Q is None:
        return
    several_Q = instance_recall.has_others(group_Q, image_Q)
    if several_Q.any():
        hit_QJ = instance_recall.group_recall(query_QP, gallery_QP, group_Q, image_Q, ks)
        yield from _recalls("group", hit_QJ[several_Q], ks, group_Q[several_Q])


def _pairs(
    where: Mapping[str, Any],
    found: instance_recall.Found,
    ks: Sequence[int],
    queries: CodedItems,
    first_A: NDArray[np.int64],
) -> pa.Table:
    """Return PAIRS; queries without ids go by position, and without groups by their ids."""
    ids = first_A if queries.id_N is None else queries.id_N[first_A]
    groups = ids if queries.group_N is None else queries.group_N[first_A]
    columns: dict[str, Any] = {"query": ids.astype(str), "group": groups.astype(str)}
    columns |= {name: np.full(len(ids), value) for name, value in where.items()}
    hit_A = found.hit_AJ[:, ks.index(10)].astype(np.float32) if 10 in ks else [None] * len(ids)
    columns |= {"reciprocal_rank": found.reciprocal_rank_A.astype(np.float32), "recall_at_10": hit_A}
    return pa.table(columns, report.PAIRS)


def _recalls(
    kind: str, hit_AJ: NDArray[np.float64], ks: Sequence[int], group_A: NDArray[Any] | None
) -> Iterator[dict[str, Any]]:
    for k, hit_A in zip(ks, hit_AJ.T, strict=True):
        value, low, high = bootstrap.interval(hit_A, group_A)
        yield {"metric": f"{kind}_recall_at_{k}", "value": value, "low": low, "high": high}
