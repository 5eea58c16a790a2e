"""How many database items, and how many relevant ones, lie at each Hamming distance from each query.

These counts are all that MAP, precision, recall and their curves need (`cmh.evaluation.metrics`): they do not
depend on the order of the database, so ties are treated exactly, and the counts of parts of a database add
up.

Shape suffixes: Q = queries, N = database items, P = bytes of a packed code, L = labels, B = their bytes,
W and X = words of 64 bits of codes and labels, D = bits + 1 distances, G = grades 0, 1, ...
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh.codes import hamming, numba_kernels
from cmh.codes.hamming import Codes
from cmh.codes.threads import run

Counts = NDArray[np.int64]
Block = tuple[Codes, ArrayLike]
"""A part of a database: packed codes (n, P) and multi-hot labels (n, L)."""

_QUERIES_AT_ONCE = 16  # their histograms fit the first-level cache beside a tile


@dataclass(frozen=True)
class Histograms:
    """Counts per query and distance, (Q, D) int64.  Those of two parts of a database add up with `+`."""

    all_QD: Counts
    relevant_QD: Counts

    @classmethod
    def of_grades(cls, counts_QGD: Counts) -> "Histograms":
        """Make histograms of counts per grade (`grade_counts`): relevant is any grade above 0."""
        return cls(counts_QGD.sum(axis=1), counts_QGD[:, 1:].sum(axis=1))

    def __add__(self, other: "Histograms") -> "Histograms":
        return Histograms(self.all_QD + other.all_QD, self.relevant_QD + other.relevant_QD)

    @property
    def bits(self) -> int:
        return int(self.all_QD.shape[1]) - 1

    @property
    def relevant_Q(self) -> Counts:
        """Relevant items of each query in the whole database."""
        return np.asarray(self.relevant_QD.sum(axis=1))


def stack(parts: Sequence[Histograms]) -> Histograms:
    """Return the histograms of several parts of the queries, in their order."""
    return Histograms(
        np.concatenate([p.all_QD for p in parts]), np.concatenate([p.relevant_QD for p in parts])
    )


def distance_histograms(
    query_QP: Codes,
    database_NP: Codes,
    query_labels_QL: ArrayLike,
    database_labels_NL: ArrayLike,
    bits: int,
    *,
    threads: int | None = None,
) -> Histograms:
    """Return counts of all and of relevant items per distance.

    Relevant is what shares a label with the query.

    threads: None takes what `cmh.codes.threads` finds.

    Raises:
        ValueError: if shapes disagree, codes are not of `bits` bits, or a side is empty.
    """
    blocks = [(database_NP, database_labels_NL)]
    return stream_histograms(query_QP, query_labels_QL, blocks, bits, threads=threads)


def stream_histograms(
    query_QP: Codes,
    query_labels_QL: ArrayLike,
    blocks: Iterable[Block],
    bits: int,
    *,
    threads: int | None = None,
) -> Histograms:
    """Count as `distance_histograms` does, for a database in blocks that may be larger than memory."""
    return Histograms.of_grades(
        grade_counts(query_QP, query_labels_QL, blocks, bits, grades=2, threads=threads)
    )


def grade_counts(
    query_QP: Codes,
    query_labels_QL: ArrayLike,
    blocks: Iterable[Block],
    bits: int,
    *,
    grades: int,
    threads: int | None = None,
) -> Counts:
    """Return items per grade and distance, (Q, G, D).

    With 2 grades an item has grade 1 if it shares any label; with more, the grade is the number of labels
    that it shares, which must be below `grades` (`cmh.evaluation.ndcg.grades`).

    Raises:
        ValueError: as `distance_histograms`, and for fewer grades than a query has labels.
    """
    check_side(query_QP, query_labels_QL, bits, "query")
    most = int((np.asarray(query_labels_QL) > 0).sum(axis=1).max())
    if grades < 2 or 2 < grades <= most:  # the kernel would count outside of its arrays
        raise ValueError(f"queries have up to {most} labels, which makes {most + 1} grades, got {grades}")
    labels = np.shape(query_labels_QL)[1]
    query_QW, labels_QX = hamming.words(query_QP), hamming.words(pack_labels(query_labels_QL))
    counts_QGD = np.zeros((len(query_QP), grades, bits + 1), np.int64)
    empty = True
    for database_NP, database_labels_NL in blocks:
        check_side(database_NP, database_labels_NL, bits, "database", labels=labels)
        database_WN = np.ascontiguousarray(hamming.words(database_NP).T)
        labels_XN = np.ascontiguousarray(hamming.words(pack_labels(database_labels_NL)).T)
        _add_counts(query_QW, database_WN, labels_QX, labels_XN, counts_QGD, threads)
        empty = False
    if empty:
        raise ValueError("the database has no blocks; there is nothing to rank")
    return counts_QGD


def _add_counts(
    query_QW: numba_kernels.Words,
    database_WN: numba_kernels.Words,
    labels_QX: numba_kernels.Words,
    labels_XN: numba_kernels.Words,
    counts_QGD: Counts,
    threads: int | None,
) -> None:
    """Run `numba_kernels.add_counts` over groups of queries, on several threads."""
    grades, distances = counts_QGD.shape[1:]
    key_type = np.min_scalar_type(grades * (1 << (distances - 1).bit_length()) - 1)

    def count(first: int) -> None:
        some = slice(first, first + _QUERIES_AT_ONCE)
        key_T = np.empty(numba_kernels.COUNT_TILE, key_type)
        numba_kernels.add_counts(
            query_QW[some], database_WN, labels_QX[some], labels_XN, grades > 2, key_T, counts_QGD[some]
        )

    run(count, range(0, len(query_QW), _QUERIES_AT_ONCE), threads)


def numpy_histograms(
    query_QP: Codes, database_NP: Codes, query_labels_QL: ArrayLike, database_labels_NL: ArrayLike, bits: int
) -> Histograms:
    """Return the same by NumPy alone, one query at a time: what the compiled kernel is held against."""
    query_labels_QB, labels_NB = pack_labels(query_labels_QL), pack_labels(database_labels_NL)
    parts = []
    for query_P, query_labels_B in zip(query_QP, query_labels_QB, strict=True):
        distance_N = hamming.distances(query_P[None], database_NP)[0]
        relevant_N = (labels_NB & query_labels_B).any(axis=1)
        counts = [np.bincount(d, minlength=bits + 1)[None] for d in (distance_N, distance_N[relevant_N])]
        parts.append(Histograms(*counts))
    return stack(parts)


def pack_labels(labels_NL: ArrayLike) -> Codes:
    """Pack multi-hot labels (N, L) of any number type into (N, B) bytes of bits."""
    return np.packbits(np.asarray(labels_NL) > 0, axis=1)


def check_labels(labels_NL: ArrayLike, side: str) -> None:
    """Refuse labels that are not multi-hot: their figures would look plausible and be wrong.

    Raises:
        ValueError: unless the labels are (items, labels), of bool or of the numbers 0 and 1 (or -1 and 1).
    """
    values_NL = np.asarray(labels_NL)
    if values_NL.ndim != 2 or values_NL.shape[1] == 0:
        raise ValueError(f"{side} labels are multi-hot (items, labels), got shape {values_NL.shape}")
    if values_NL.dtype == np.bool_:
        return
    if values_NL.shape[1] == 1:
        raise ValueError(
            f"{side} labels are one column of {values_NL.dtype}: if it holds class numbers, make multi-hot "
            "labels of them (labels == classes); if it says whether items have the one label, pass it as bool"
        )
    if values_NL.dtype.kind not in "iuf":
        raise ValueError(f"{side} labels are bool or numbers 0 and 1, got {values_NL.dtype}")
    if np.isnan(values_NL).any():
        raise ValueError(f"{side} labels contain NaN; say 0 where an item does not have a label")
    if not ((values_NL == 0) | (abs(values_NL) == 1)).all():
        odd = values_NL[(values_NL != 0) & (abs(values_NL) != 1)][0]
        raise ValueError(
            f"{side} labels are multi-hot, 0 or 1, got {odd} among them; of class numbers make them with "
            "labels[:, None] == classes, of probabilities with labels > threshold"
        )


def blocks(codes_NP: Any, labels_NL: Any, size: int = 1 << 20) -> Iterator[Block]:
    """Return blocks of `size` rows, read one at a time: of arrays in memory, memory maps or Zarr arrays."""
    for start in range(0, codes_NP.shape[0], size):
        yield np.asarray(codes_NP[start : start + size]), np.asarray(labels_NL[start : start + size])


def check_side(
    codes_NP: Codes, labels_NL: ArrayLike, bits: int, side: str, *, labels: int | None = None
) -> None:
    """Raise ValueError unless the codes are of `bits` bits and have one row of (so many) labels each."""
    hamming.check(codes_NP, bits, f"{side} codes")
    check_labels(labels_NL, side)
    shape = np.shape(labels_NL)
    if shape[0] != len(codes_NP):
        raise ValueError(f"{side}: {len(codes_NP)} codes but {shape[0]} rows of labels")
    if shape[0] == 0:
        raise ValueError(f"{side} is empty; there is nothing to rank")
    if labels not in (None, shape[1]):
        raise ValueError(f"queries have {labels} labels, the {side} {shape[1]}; use one label vocabulary")
