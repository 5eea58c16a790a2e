"""Compiled inner loops over packed codes; the tests compare each with a readable version in NumPy.

Codes are a structure of arrays, (W, N) words: the same word of neighbouring items is contiguous, so that the
loops over items become vector instructions (XOR, AND, popcount).  The kernels release the interpreter lock;
callers split the work over threads (`cmh.codes.threads`).  Kernels are compiled once per element type and
cached on disk.  All are in one file, because the cache notices only changes of a function's own file.

Shape suffixes: Q = queries, N = database items, W = words of 64 bits of a code, X = words of the labels,
P = bytes of a code, T = items of a tile that fits the first-level cache, U = a part of it, D = distances,
G = grades (numbers of shared labels), k = neighbours, V = bit planes of weights.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Allowed = NDArray[np.bool_]
"""Mask of the items that a search may return, (N,) bool; empty: all items."""

COUNT_TILE = 4096
SEARCH_TILE = 2048
PART = 128
FARTHEST_ROW = np.iinfo(np.int64).max
_LANES = 4  # sub-histograms, so that neighbours with the same key do not wait for each other's increment


def compiled(function: Function) -> Function:
    """Compile a function that releases the interpreter lock; the result is cached on disk."""
    jitted: Function = numba.njit(nogil=True, cache=True)(function)
    return jitted


def _popcount(context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), generate


popcount: Any = intrinsic(_popcount)
"""Number of set bits of an integer, by the processor's instruction, which numba itself does not offer."""


@compiled
def distances(
    query_W: Words, mask_W: Words, database_WN: Words, start: int, distance_T: NDArray[Any]
) -> None:
    """Fill `distance_T` with Hamming distances, in the bits of the mask, to the items from row `start` on."""
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
    """Set bit `mark` (a power of two) in the key of every item that shares a label with the query."""
    for x in range(len(label_X)):
        word, row_T = label_X[x], labels_XN[x, start : start + len(key_T)]
        for t in range(len(key_T)):
            key_T[t] |= mark if word & row_T[t] else 0


@compiled
def add_shared(label_X: Words, labels_XN: Words, start: int, mark: int, key_T: NDArray[Any]) -> None:
    """Add `mark` to the key of every item once for each label that it shares with the query."""
    for x in range(len(label_X)):
        word, row_T = label_X[x], labels_XN[x, start : start + len(key_T)]
        for t in range(len(key_T)):
            key_T[t] += mark * popcount(word & row_T[t])


@compiled
def count_keys(key_T: NDArray[Any], histogram_SK: NDArray[np.uint32]) -> None:
    """Count the keys in four interleaved histograms, whose sum is the histogram of all keys."""
    lane0, lane1, lane2, lane3 = histogram_SK[0], histogram_SK[1], histogram_SK[2], histogram_SK[3]
    end = len(key_T) // _LANES * _LANES
    for t in range(0, end, _LANES):
        lane0[key_T[t]] += np.uint32(1)
        lane1[key_T[t + 1]] += np.uint32(1)
        lane2[key_T[t + 2]] += np.uint32(1)
        lane3[key_T[t + 3]] += np.uint32(1)
    for t in range(end, len(key_T)):
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
    """Add to counts_QGD the number of items with g shared labels (not graded: g = 1 for any) at distance d.

    Each tile and query takes two stages, because a loop that both computes a distance and increments its
    counter is not vectorised: vector instructions first write the keys g·mark + d into `key_T`, whose type
    must hold G·mark; then the keys are counted.
    """
    queries, grades, distance_range = counts_QGD.shape
    items = database_WN.shape[1]
    mark = 1
    while mark < distance_range:
        mark *= 2
    histogram_QSK = np.zeros((queries, _LANES, grades * mark), np.uint32)
    all_bits_W = np.full(query_QW.shape[1], ~np.uint64(0), np.uint64)
    for start in range(0, items, len(key_T)):
        tile_T = key_T[: min(len(key_T), items - start)]
        for q in range(queries):
            distances(query_QW[q], all_bits_W, database_WN, start, tile_T)
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


@compiled
def nearest(
    query_QW: Words,
    mask_W: Words,
    database_WN: Words,
    allowed_N: Allowed,
    start: int,
    stop: int,
    tile_T: NDArray[Any],
    distance_Qk: NDArray[np.int64],
    row_Qk: Rows,
) -> None:
    """Update the heaps of the k nearest items with the rows start...stop, comparing the bits of the mask.

    The heap of a query holds its k nearest items so far; the root is the farthest of them by distance, then
    by row.  Each tile is compared with one query after another, so that it is read from memory only once per
    group of queries.  Vector instructions compute the smallest distance of a tile.  Only if it is below the
    root's distance are the parts of the tile examined in the same way, and then the items of those parts.
    `tile_T` is working memory; its type must hold more than the largest distance.
    """
    farthest = np.iinfo(tile_T.dtype).max
    for first in range(start, stop, len(tile_T)):
        near_T = tile_T[: min(len(tile_T), stop - first)]
        for q in range(len(query_QW)):
            distances(query_QW[q], mask_W, database_WN, first, near_T)
            if len(allowed_N):
                exclude(near_T, allowed_N[first : first + len(near_T)], farthest)
            if smallest(near_T) >= distance_Qk[q, 0]:
                continue
            for part in range(0, len(near_T), PART):
                near_U = near_T[part : part + PART]
                if smallest(near_U) >= distance_Qk[q, 0]:
                    continue
                for u in range(len(near_U)):
                    if near_U[u] < distance_Qk[q, 0]:
                        replace_worst(distance_Qk[q], row_Qk[q], near_U[u], first + part + u)


@compiled
def nearest_weighted(
    query_QW: Words,
    planes_QVW: NDArray[np.uint64],
    scale_Q: Floats,
    table_QPX: Floats,
    database_WN: Words,
    allowed_N: Allowed,
    start: int,
    stop: int,
    tile_T: NDArray[np.uint16],
    distance_Qk: Floats,
    row_Qk: Rows,
) -> None:
    """Update the heaps as `nearest` does, by the sum of the query's weights over the bits that differ.

    Weights rounded down to multiples of `scale`, as bit planes, give a lower bound of the distance with a few
    popcounts.  For items that the bound does not exclude, tables per byte value give the exact distance.
    """
    for first in range(start, stop, len(tile_T)):
        below_T = tile_T[: min(len(tile_T), stop - first)]
        for q in range(len(query_QW)):
            lower_bounds(query_QW[q], planes_QVW[q], database_WN, first, below_T)
            if len(allowed_N):
                exclude(below_T, allowed_N[first : first + len(below_T)], np.iinfo(np.uint16).max)
            limit = bound_in_steps(distance_Qk[q, 0], scale_Q[q])
            if smallest(below_T) > limit:
                continue
            for part in range(0, len(below_T), PART):
                below_U = below_T[part : part + PART]
                if smallest(below_U) > limit:
                    continue
                for u in range(len(below_U)):
                    row = first + part + u
                    if below_U[u] <= limit:
                        distance = weighted_distance(query_QW[q], table_QPX[q], database_WN, row)
                        if distance < distance_Qk[q, 0]:
                            replace_worst(distance_Qk[q], row_Qk[q], distance, row)
                            limit = bound_in_steps(distance_Qk[q, 0], scale_Q[q])


@compiled
def lower_bounds(
    query_W: Words, planes_VW: Words, database_WN: Words, start: int, below_T: NDArray[np.uint16]
) -> None:
    """Fill `below_T` with lower bounds of the distances, in units of scale: the sum of `steps` over words."""
    for w in range(len(query_W)):
        word, row_T = query_W[w], database_WN[w, start : start + len(below_T)]
        # Six variables instead of a loop over planes stay in registers, which is 1.7 times faster.
        v0, v1, v2 = planes_VW[0, w], planes_VW[1, w], planes_VW[2, w]
        v3, v4, v5 = planes_VW[3, w], planes_VW[4, w], planes_VW[5, w]
        if w == 0:
            for t in range(len(below_T)):
                below_T[t] = steps(word ^ row_T[t], v0, v1, v2, v3, v4, v5)
        else:
            for t in range(len(below_T)):
                below_T[t] += steps(word ^ row_T[t], v0, v1, v2, v3, v4, v5)


@compiled
def steps(differing: Any, v0: Any, v1: Any, v2: Any, v3: Any, v4: Any, v5: Any) -> Any:
    """Return, for one word, the sum over planes v of 2^v times the number of differing bits in plane v."""
    high = popcount(differing & v3) + 2 * (popcount(differing & v4) + 2 * popcount(differing & v5))
    return popcount(differing & v0) + 2 * (
        popcount(differing & v1) + 2 * (popcount(differing & v2) + 2 * high)
    )


@compiled
def bound_in_steps(distance: float, scale: float) -> int:
    """Return the largest lower bound, in units of `scale`, that an item nearer than `distance` can have."""
    # Rounding changes the sums by less than 1e-12 of their value; the margin keeps it from excluding an item.
    return int(min(distance * (1 + 1e-12) / scale, 65534.0))


@compiled
def weighted_distance(query_W: Words, table_PX: Floats, database_WN: Words, row: int) -> float:
    """Return the sum of the weights of the bits that differ between a query and the item of a row."""
    total = 0.0
    for p in range(len(table_PX)):
        # Words are little-endian: byte p of a code is byte p % 8 of word p // 8, the lowest byte first.
        differing = query_W[p // 8] ^ database_WN[p // 8, row]
        total += table_PX[p, (differing >> np.uint64(8 * (p % 8))) & np.uint64(0xFF)]
    return total


@compiled
def exclude(near_T: NDArray[Any], allowed_T: Allowed, farthest: int) -> None:
    """Set the distance of the items that are not allowed to `farthest`."""
    for t in range(len(near_T)):
        near_T[t] = near_T[t] if allowed_T[t] else farthest


@compiled
def smallest(near_T: NDArray[Any]) -> Any:
    """Return the smallest distance, in a loop that becomes vector instructions."""
    minimum = near_T[0]
    for t in range(len(near_T)):
        minimum = min(minimum, near_T[t])
    return minimum


@compiled
def replace_worst(distance_k: NDArray[Any], row_k: Rows, distance: Any, row: int) -> None:
    """Replace the root of a heap by an item and restore the heap."""
    parent, size = 0, len(distance_k)
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        other = child + 1
        if other < size and (
            distance_k[other] > distance_k[child]
            or (distance_k[other] == distance_k[child] and row_k[other] > row_k[child])
        ):
            child = other
        if distance_k[child] < distance or (distance_k[child] == distance and row_k[child] < row):
            break
        distance_k[parent], row_k[parent] = distance_k[child], row_k[child]
        parent = child
    distance_k[parent], row_k[parent] = distance, row
