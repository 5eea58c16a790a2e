"""Exact search that reads few codes, for millions of codes of at most 64 bits: multi-index hashing.

    index = MultiIndex.of(Index(codes_NP, bits=64))
    hits = index.search(query_QP, k=10)  # what Index.search gives, to the last row

A code is cut into M disjoint substrings of 16 bits, and for each substring all codes are kept once more,
sorted by it.  Two codes that differ in fewer than M (s + 1) bits have a substring that differs in at most s.
So the codes whose substrings differ from the query's in 0, 1, 2, … bits are read, bucket by bucket, until
the k-th nearest of them is nearer than any code can be that was not read.  Learnt codes lie close together,
so that a few buckets often do.  A query that is expected to take longer than half a scan is given up early,
and scanned.

Source: Norouzi, Punjani and Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing, TPAMI 2014.
Unlike there, a bucket holds codes rather than numbers of items, so that it is read in one piece.

Shape suffixes: Q = queries, N = items, P = bytes of a code, W = words of 64 bits, M = substrings, B = values
of a substring and one more, F = sets of flipped bits, S = numbers of flipped bits, U = a part of a bucket,
k = neighbours.
"""

from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh.codes import hamming
from cmh.codes.hamming import Codes
from cmh.codes.numba_kernels import FARTHEST_ROW, PART, Words, compiled, popcount, replace_worst, smallest
from cmh.codes.search import Index, Rows, nearest_first
from cmh.codes.threads import run

LEAST = 10_000_000  # items for which a service sorts them; the scan of fewer takes less than encoding a query
_WIDTH = 16  # bits of a substring
_LONGEST, _MOST = 64, 1 << 32  # bits of a code; items, whose rows are kept as uint32
_CAP, _LIMIT = 0.1, 0.5  # of the codes that a scan reads: what may be lost, and what may be expected in all
_TOGETHER, _FASTER = 8, 4.5  # so many queries are scanned together, each so much faster than alone
_TAIL = 8  # appended items are sorted too when they are more than one in so many


class Sorted(NamedTuple):
    """Codes sorted by each of M substrings, equal ones by row."""

    start_MB: NDArray[np.uint32]
    """Where the codes with each value of the substring begin, and where the last ones end."""
    word_MN: Words
    row_MN: NDArray[np.uint32]


def sorted_if_many(index: Index) -> Index:
    """Return an index that reads few codes, if there are so many that sorting them is worth its memory."""
    return MultiIndex.of(index) if LEAST <= len(index) < _MOST and index.bits <= _LONGEST else index


class MultiIndex(Index):
    """An `Index` that keeps its codes sorted M times, 12 M bytes an item: 48 for codes of 64 bits.

    Searches by a prefix, among some items, or weighted, scan.  So do items that were appended, until there
    are enough of them to be sorted anew.
    """

    def __init__(self, codes_NP: Codes, bits: int, ids: ArrayLike | None = None) -> None:
        """Index codes as `Index` does, and sort them.

        Raises:
            ValueError: if the codes have more than 64 bits or are 2^32 or more, or as `Index` does.
        """
        if bits > _LONGEST:
            raise ValueError(f"codes of at most {_LONGEST} bits are sorted, these have {bits}; use Index")
        super().__init__(codes_NP, bits, ids)
        self._sort()

    @classmethod
    def of(cls, index: Index, sorted_codes: Sorted | None = None) -> "MultiIndex":
        """Return a sorted index over the codes and ids of another, without a copy of these.

        Args:
            index: codes of at most 64 bits.
            sorted_codes: those of an earlier index over its first items, such as memory maps; None: sort now.

        Raises:
            ValueError: if the codes are longer, or what is sorted cannot belong to them.
        """
        multi = cls(np.empty((0, hamming.width(index.bits)), np.uint8), index.bits)
        multi._words_WC, multi._items = index.words_WN, len(index)
        multi._ids = index.ids if index.has_ids else None
        if sorted_codes is None:
            multi._sort()
        else:
            multi._take(sorted_codes)
        return multi

    @property
    def sorted_codes(self) -> Sorted:
        """The codes sorted by each substring, to be saved."""
        return self._sorted

    def append(self, codes_NP: Codes, ids: ArrayLike | None = None) -> None:
        """Add items after the last row, as `Index.append` does; many are sorted, few are scanned."""
        super().append(codes_NP, ids)
        if (self._items - self._sorted_items) * _TAIL > self._items:
            self._sort()

    def _nearest(
        self, query_QP: Codes, k: int, length: int, allowed_N: NDArray[np.bool_], threads: int | None
    ) -> tuple[NDArray[Any], Rows]:
        """Return what `Index._nearest` does; by a prefix, or among some items, by a scan."""
        if length < self.bits or len(allowed_N):
            return super()._nearest(query_QP, k, length, allowed_N, threads)
        word_Q = hamming.words(query_QP)[:, 0]
        together = len(word_Q) >= _TOGETHER
        scan = self._sorted_items / (_FASTER if together else 1)

        def nearest(query: np.uint64) -> tuple[NDArray[np.int64], Rows] | None:
            heap = np.full(k, self.bits + 1), np.full(k, FARTHEST_ROW)
            arrays = (*self._sorted, self._flip_F, self._end_S, np.empty(PART, np.uint8))
            bounds = (_CAP * scan, _LIMIT * scan, 2 if together else 3)
            return heap if fill(query, self._shift_M, *arrays, *bounds, *heap) else None

        heaps = run(nearest, word_Q, threads)
        distance_Qk, row_Qk = np.empty((len(word_Q), k), np.int64), np.empty((len(word_Q), k), np.int64)
        found = [q for q, heap in enumerate(heaps) if heap is not None]
        if found:
            kept = [heap for heap in heaps if heap is not None]
            parts = [(np.stack([heap[0] for heap in kept]), np.stack([heap[1] for heap in kept]))]
            if self._sorted_items < self._items:
                tail = Index.over(self.words_WN[:, self._sorted_items :], self.bits, None)
                hits = tail.search(query_QP[found], k, threads=threads)
                parts.append((hits.distance, hits.row + self._sorted_items))
            distance_Qk[found], row_Qk[found] = nearest_first(parts, k)
            if (row_Qk[found] >= self._items).any():  # looked for here, and not in all of a mapped file
                raise ValueError("the sorted codes are damaged: they name rows that are not there")
        given_up = [q for q, heap in enumerate(heaps) if heap is None]
        if given_up:
            scanned = super()._nearest(query_QP[given_up], k, length, allowed_N, threads)
            distance_Qk[given_up], row_Qk[given_up] = scanned
        return distance_Qk, row_Qk

    def _sort(self) -> None:
        """Sort all codes by each substring, equal ones by row."""
        if self._items >= _MOST:
            raise ValueError(f"fewer than 2^32 codes are sorted, these are {self._items}; use Index")
        substrings, width = max(1, self.bits // _WIDTH), min(_WIDTH, 8 * hamming.width(self.bits))
        self._sorted_items, (self._flip_F, self._end_S) = self._items, _flips(width)
        self._shift_M = np.arange(substrings, dtype=np.uint64) * np.uint64(_WIDTH)
        start_MB = np.zeros((substrings, (1 << width) + 1), np.uint32)
        word_MN = np.empty((substrings, self._items), np.uint64)
        row_MN = np.empty((substrings, self._items), np.uint32)
        for m in range(substrings):
            sort(self.words_WN[0], self._shift_M[m], start_MB[m], word_MN[m], row_MN[m])
        self._sorted = Sorted(start_MB, word_MN, row_MN)

    def _take(self, given: Sorted) -> None:
        """Take sorted codes, after checks that keep a search within their bounds."""
        substrings, items = len(self._shift_M), given.word_MN.shape[-1]
        found = [(array.shape, array.dtype) for array in given]
        lines = (substrings, items)
        kinds = (np.dtype(np.uint32), np.dtype(np.uint64), np.dtype(np.uint32))
        expected = list(zip((self._sorted.start_MB.shape, lines, lines), kinds, strict=True))
        if found != expected or items > self._items:
            raise ValueError(f"the sorted codes are damaged, or of another index: they hold {items} items")
        start_MB = given.start_MB.astype(np.int64)
        if start_MB[:, 0].any() or (start_MB[:, -1] != items).any() or (np.diff(start_MB) < 0).any():
            raise ValueError("the sorted codes are damaged: their buckets do not follow each other")
        self._sorted, self._sorted_items = given, items


@cache
def _flips(width: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the sets of bits that may be flipped, the smallest first, and where those of each size end."""
    sizes = [
        [sum(1 << bit for bit in some) for some in combinations(range(width), size)]
        for size in range(width + 1)
    ]
    flips = [some for size in sizes for some in size]
    return np.array(flips, np.uint64), np.cumsum([len(size) for size in sizes])


# Kernels beside those of `numba_kernels`.  Their cache on disk does not notice changes of what they take from
# there: after one, change this file too.

_LOOKUP = 400  # codes that a scan reads in the time that going to a bucket takes


@compiled
def sort(
    word_N: Words,
    shift: np.uint64,
    start_B: NDArray[np.uint32],
    sorted_N: Words,
    row_N: NDArray[np.uint32],
) -> None:
    """Sort items by a substring, equal ones by row: count, add up, put in place."""
    mask = np.uint64(len(start_B) - 2)
    for n in range(len(word_N)):
        start_B[((word_N[n] >> shift) & mask) + np.uint64(1)] += np.uint32(1)
    for b in range(1, len(start_B)):
        start_B[b] += start_B[b - 1]
    place_B = start_B.copy()
    for n in range(len(word_N)):
        key = (word_N[n] >> shift) & mask
        sorted_N[place_B[key]], row_N[place_B[key]] = word_N[n], n
        place_B[key] += np.uint32(1)


@compiled
def fill(
    query: np.uint64,
    shift_M: Words,
    start_MB: NDArray[np.uint32],
    word_MN: Words,
    row_MN: NDArray[np.uint32],
    flip_F: NDArray[np.uint64],
    end_S: NDArray[np.int64],
    near_U: NDArray[np.uint8],
    cap: float,
    limit: float,
    patience: int,
    distance_k: NDArray[np.int64],
    row_k: Rows,
) -> bool:
    """Fill the heap of the k nearest; return False where a scan is expected to take less time.

    In units of codes that a scan reads: up to `patience` flips, a query is given up when it has cost more
    than `cap`; from there on, when what it has cost and what is left to read at most exceed `limit`.
    """
    mask, lookups, items = np.uint64(start_MB.shape[1] - 2), 0, np.int64(0)
    for s in range(len(end_S)):
        first = end_S[s - 1] if s else 0
        for m in range(len(shift_M)):
            start_B, word_N, row_N = start_MB[m], word_MN[m], row_MN[m]
            key = (query >> shift_M[m]) & mask
            if s >= patience:
                left = lookups_left(end_S, len(shift_M), s, m, distance_k[0])
                if (_LOOKUP + items / lookups) * (lookups + left) > limit:
                    return False
            for f in range(first, end_S[s]):
                bucket = key ^ flip_F[f]
                begin, end = np.int64(start_B[bucket]), np.int64(start_B[bucket + np.uint64(1)])
                lookups += 1
                items += end - begin
                if s < patience and _LOOKUP * lookups + items > cap:
                    return False
                for part in range(begin, end, len(near_U)):
                    some_U = near_U[: min(len(near_U), end - part)]
                    for u in range(len(some_U)):
                        some_U[u] = popcount(word_N[part + u] ^ query)
                    if smallest(some_U) > distance_k[0]:
                        continue
                    for u in range(len(some_U)):
                        row = np.int64(row_N[part + u])
                        if some_U[u] < distance_k[0] or (some_U[u] == distance_k[0] and row < row_k[0]):
                            differing = word_N[part + u] ^ query
                            if not was_read(differing, shift_M, mask, m, s):
                                replace_worst(distance_k, row_k, np.int64(some_U[u]), int(row))
            if distance_k[0] <= len(shift_M) * s + m:  # what was not read is farther
                return True
    return True  # all was read


@compiled
def lookups_left(end_S: NDArray[np.int64], substrings: int, s: int, m: int, farthest: int) -> int:
    """Return the buckets, from s flips of substring m on, until all codes up to a distance have been read."""
    left = 0
    while s < len(end_S):
        left += end_S[s] - (end_S[s - 1] if s else 0)
        if farthest <= substrings * s + m:
            break
        s, m = (s, m + 1) if m + 1 < substrings else (s + 1, 0)
    return left


@compiled
def was_read(differing: Any, shift_M: Words, mask: np.uint64, m: int, s: int) -> bool:
    """Return whether a code was read before s flips of substring m, so that no item counts twice."""
    for other in range(len(shift_M)):
        apart = popcount((differing >> shift_M[other]) & mask)
        if other != m and (apart < s or (apart == s and other < m)):
            return True
    return False
