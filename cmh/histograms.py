"""How many database items, and how many relevant ones, lie at each Hamming distance from each query.

These counts are all that MAP, precision, recall and their curves need (`cmh.metrics`): they do not depend on
the order of the database, so ties are treated exactly, and the counts of parts of a database add up.

Shape suffixes: Q = queries, N = database items, P = bytes of a packed code, L = labels, B = their bytes,
W = words of 64 bits, D = bits + 1 distances.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh import hamming
from cmh.hamming import Codes

Counts = NDArray[np.int64]
Block = tuple[Codes, ArrayLike]
"""A part of a database: packed codes (n, P) and multi-hot labels (n, L)."""


@dataclass(frozen=True)
class Histograms:
    """Counts per query and distance, (Q, D) int64.  Those of two parts of a database add up with `+`."""

    all_QD: Counts
    relevant_QD: Counts

    def __add__(self, other: "Histograms") -> "Histograms":
        return Histograms(self.all_QD + other.all_QD, self.relevant_QD + other.relevant_QD)

    @property
    def bits(self) -> int:
        return int(self.all_QD.shape[1]) - 1

    @property
    def relevant_Q(self) -> Counts:
        """Relevant items of each query in the whole database."""
        return np.asarray(self.relevant_QD.sum(axis=1))


def distance_histograms(
    query_QP: Codes, database_NP: Codes, query_labels_QL: ArrayLike, database_labels_NL: ArrayLike, bits: int
) -> Histograms:
    """Counts of all and of relevant items per distance; relevant is what shares a label with the query.

    Raises: ValueError if shapes disagree, codes are not of `bits` bits, or a side is empty.
    """
    return stream_histograms(query_QP, query_labels_QL, [(database_NP, database_labels_NL)], bits)


def stream_histograms(
    query_QP: Codes, query_labels_QL: ArrayLike, blocks: Iterable[Block], bits: int
) -> Histograms:
    """As `distance_histograms`, for a database that comes in blocks and may be larger than memory."""
    query_labels_QB = _checked(query_QP, query_labels_QL, bits, "query")
    total: Histograms | None = None
    for database_NP, database_labels_NL in blocks:
        database_labels_NB = _checked(database_NP, database_labels_NL, bits, "database")
        ours, theirs = np.shape(query_labels_QL)[1], np.shape(database_labels_NL)[1]
        if ours != theirs:
            raise ValueError(f"queries have {ours} labels, the database {theirs}; use one label vocabulary")
        part = numpy_histograms(query_QP, database_NP, query_labels_QB, database_labels_NB, bits)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("the database has no blocks; there is nothing to rank")
    return total


def numpy_histograms(
    query_QP: Codes, database_NP: Codes, query_labels_QB: Codes, database_labels_NB: Codes, bits: int
) -> Histograms:
    """The same by NumPy alone, one query at a time: what the fast kernel is held against."""
    query_labels_QW, database_labels_NW = hamming.words(query_labels_QB), hamming.words(database_labels_NB)
    counts = np.zeros((2, len(query_QP), bits + 1), np.int64)
    for q in range(len(query_QP)):
        distance_N = hamming.distances(query_QP[q : q + 1], database_NP)[0]
        relevant_N = (database_labels_NW & query_labels_QW[q]).any(axis=1)
        counts[0, q] = np.bincount(distance_N, minlength=bits + 1)
        counts[1, q] = np.bincount(distance_N[relevant_N], minlength=bits + 1)
    return Histograms(counts[0], counts[1])


def pack_labels(labels_NL: ArrayLike) -> Codes:
    """Multi-hot labels (N, L) of any number type → (N, ceil(L / 8)) bits."""
    return np.packbits(np.asarray(labels_NL) > 0, axis=1)


def _checked(codes_NP: Codes, labels_NL: ArrayLike, bits: int, side: str) -> Codes:
    """The labels, bit-packed, once codes and labels fit each other."""
    hamming.check(codes_NP, bits, f"{side} codes")
    labels_NL = np.asarray(labels_NL)
    if labels_NL.ndim != 2 or labels_NL.shape[1] == 0:
        raise ValueError(f"{side} labels are multi-hot (items, labels), got shape {labels_NL.shape}")
    if len(labels_NL) != len(codes_NP):
        raise ValueError(f"{side}: {len(codes_NP)} codes but {len(labels_NL)} rows of labels")
    if len(codes_NP) == 0:
        raise ValueError(f"{side} is empty; there is nothing to rank")
    return pack_labels(labels_NL)


def batches(codes_NP: Codes, labels_NL: NDArray[np.generic], size: int = 1 << 18) -> Iterator[Block]:
    """Blocks of `size` rows, read one at a time: from arrays in memory, memory maps, or Zarr arrays."""
    for start in range(0, len(codes_NP), size):
        yield np.asarray(codes_NP[start : start + size]), np.asarray(labels_NL[start : start + size])
