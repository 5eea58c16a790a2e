"""Compiled inner loops over packed codes.  Each has a readable NumPy counterpart that its tests compare with.

Codes come as structure of arrays, (W, N) words: one word of many codes lies side by side, so that the loops
over items become vector instructions (XOR, AND, popcount).  The kernels release the interpreter lock; callers
split the work over threads (`cmh.pool`).  Compiled once per element type and cached on disk.

Shape suffixes: Q = queries, N = database items, W = words of 64 bits of a code, X = words of the labels,
T = items of a tile that fits the first-level cache, D = distances, G = grades (numbers of shared labels).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Words = NDArray[np.uint64]

TILE = 4096
_LANES = 4  # sub-histograms: neighbours with the same key do not wait for each other's increment


def compiled(function: Function) -> Function:
    jitted: Function = numba.njit(nogil=True, cache=True)(function)
    return jitted


def _popcount(context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), generate


popcount: Any = intrinsic(_popcount)
"""Set bits of an integer, by the processor's instruction (numba has none of its own)."""


@compiled
def distances(
    query_W: Words, mask_W: Words, database_WN: Words, start: int, distance_T: NDArray[Any]
) -> None:
    """Hamming distances, in the bits of the mask, to as many items from `start` on as `distance_T` takes."""
    for w in range(len(query_W)):
        word, mask, row_T = query_W[w], mask_W[w], database_WN[w, start : start + len(distance_T)]
        if w == 0:
            for t in range(len(distance_T)):
                distance_T[t] = popcount((word ^ row_T[t]) & mask)
        else:
            for t in range(len(distance_T)):
                distance_T[t] += popcount((word ^ row_T[t]) & mask)


@compiled
def mark_relevant(label_X: Words, labels_XN: Words, start: int, mark: int, key_T: NDArray[Any]) -> None:
    """Set bit `mark` (a power of two) in the key of every item that shares a label."""
    for x in range(len(label_X)):
        word, row_T = label_X[x], labels_XN[x, start : start + len(key_T)]
        for t in range(len(key_T)):
            key_T[t] |= mark if word & row_T[t] else 0


@compiled
def add_shared(label_X: Words, labels_XN: Words, start: int, mark: int, key_T: NDArray[Any]) -> None:
    """Add `mark` to the key of every item once for each label it shares."""
    for x in range(len(label_X)):
        word, row_T = label_X[x], labels_XN[x, start : start + len(key_T)]
        for t in range(len(key_T)):
            key_T[t] += mark * popcount(word & row_T[t])


@compiled
def count_keys(key_T: NDArray[Any], histogram_SK: NDArray[np.uint32]) -> None:
    """Add the keys to four interleaved histograms."""
    lane0, lane1, lane2, lane3 = histogram_SK[0], histogram_SK[1], histogram_SK[2], histogram_SK[3]
    even = len(key_T) // _LANES * _LANES
    for t in range(0, even, _LANES):
        lane0[key_T[t]] += np.uint32(1)
        lane1[key_T[t + 1]] += np.uint32(1)
        lane2[key_T[t + 2]] += np.uint32(1)
        lane3[key_T[t + 3]] += np.uint32(1)
    for t in range(even, len(key_T)):
        lane0[key_T[t]] += np.uint32(1)


@compiled
def add_counts(
    query_QW: Words,
    database_WN: Words,
    query_labels_QX: Words,
    labels_XN: Words,
    graded: bool,
    key_T: NDArray[Any],
    counts_QGD: NDArray[np.int64],
) -> None:
    """Add to counts_QGD the items with g shared labels (not graded: g = 1 for any) at distance d.

    Two stages per tile and query, because a loop that computes a distance and increments its counter is not
    vectorised: first the keys g·mark + d, written by vector instructions into `key_T` (whose type must hold
    G·mark), then the increments.
    """
    queries, grades, distance_range = counts_QGD.shape
    items = database_WN.shape[1]
    mark = 1
    while mark < distance_range:
        mark *= 2
    histogram_QSK = np.zeros((queries, _LANES, grades * mark), np.uint32)
    every_W = np.full(query_QW.shape[1], ~np.uint64(0), np.uint64)
    for start in range(0, items, len(key_T)):
        tile_T = key_T[: min(len(key_T), items - start)]
        for q in range(queries):
            distances(query_QW[q], every_W, database_WN, start, tile_T)
            if graded:
                add_shared(query_labels_QX[q], labels_XN, start, mark, tile_T)
            else:
                mark_relevant(query_labels_QX[q], labels_XN, start, mark, tile_T)
            count_keys(tile_T, histogram_QSK[q])
    for q in range(queries):
        for g in range(grades):
            for d in range(distance_range):
                for lane in range(_LANES):
                    counts_QGD[q, g, d] += histogram_QSK[q, lane, g * mark + d]
