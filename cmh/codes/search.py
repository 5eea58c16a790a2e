"""Exact search among packed codes: the k nearest items, ties by row, so that results are reproducible.

    index = Index(codes_NP, bits=64, ids=names)
    hits = index.search(query_QP, k=10)                                 # Hamming distance
    hits = index.search(query_QP, k=10, prefix=16)                      # by the first 16 bits only
    hits = index.search(query_QP, k=10, prefix=16, rerank=200)          # the best 200 of those by all bits
    hits = index.search_weighted(hamming.pack(u_QK), abs(u_QK), k=10)   # real-valued query, binary codes
    hits = index.search(query_QP, k=10, allowed_N=labels_NL[:, 3] > 0)  # among some items only

Shape suffixes: Q = queries, N = database items, K = bits, P = bytes of a code, W = words of 64 bits,
k = neighbours, C = capacity (items that the array of words has room for).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh.codes import hamming, numba_kernels, query_weights
from cmh.codes.hamming import Codes
from cmh.codes.threads import chosen_threads, run

_QUERIES_AT_ONCE = 64  # queries that one tile of the database is compared with while it is in the cache
_HEAP_ENTRIES = 1 << 20  # of one group of queries; limits the memory where k is large

Rows = NDArray[np.int64]
Scan = Callable[[slice, int, int, NDArray[Any], Rows], None]
"""Function of (group, start, stop, distance_Qk, row_Qk) that compares a group of queries with the rows
start...stop and updates the queries' heaps of nearest items."""


class Hits(NamedTuple):
    """The nearest items of each query, (Q, k) each, ordered by distance, then by row."""

    distance: NDArray[Any]
    """Hamming distances, int64, or weighted distances, float64."""
    row: Rows
    id: NDArray[Any]


class Index:
    """Packed codes, in memory or mapped from a file, with an id for each; it can be searched."""

    def __init__(self, codes_NP: Codes, bits: int, ids: ArrayLike | None = None) -> None:
        """Index codes; they are copied into words.

        Args:
            codes_NP: packed codes, (N, P) uint8.
            bits: length of a code.
            ids: (N,) numbers, str or dates; None: an item's id is its row.

        Raises:
            ValueError: if the codes do not have `bits` bits, or the ids have another number or type.
        """
        hamming.check(codes_NP, bits)
        self.bits = bits
        self._items = len(codes_NP)
        self._ids = None if ids is None else _checked_ids(ids, len(codes_NP))
        self._words_WC = np.ascontiguousarray(hamming.words(codes_NP).T)

    @classmethod
    def over(cls, words_WN: NDArray[np.uint64], bits: int, ids: NDArray[Any] | None) -> "Index":
        """Return an index over words laid out as in `words_WN`, such as a memory map, without a copy."""
        index = cls(np.empty((0, hamming.width(bits)), np.uint8), bits)
        index._words_WC, index._items, index._ids = np.asarray(words_WN), words_WN.shape[1], ids
        return index

    def __len__(self) -> int:
        return self._items

    @property
    def ids(self) -> NDArray[Any]:
        """The id of each item, (N,); its row where no ids were given."""
        return np.arange(self._items) if self._ids is None else self._ids

    @property
    def has_ids(self) -> bool:
        """Whether the items have ids other than their rows."""
        return self._ids is not None

    @property
    def words_WN(self) -> NDArray[np.uint64]:
        """The codes as (W, N) words: the first word of every item, then the second, and so on."""
        return self._words_WC[:, : self._items]

    def codes(self, rows: slice = slice(None)) -> Codes:
        """Return a copy of the packed codes of some rows, (n, P) uint8."""
        bytes_NP = np.ascontiguousarray(self.words_WN[:, rows].T).view(np.uint8)
        return np.ascontiguousarray(bytes_NP[:, : hamming.width(self.bits)])

    def append(self, codes_NP: Codes, ids: ArrayLike | None = None) -> None:
        """Add items after the last row.

        When the array of words is full, its capacity is doubled; only then are the old codes copied.

        Raises:
            ValueError: if the codes have another length, or the ids another number or type than the index.
        """
        hamming.check(codes_NP, self.bits)
        if (ids is not None) != self.has_ids:
            raise ValueError(
                "give ids for all items of an index or for none; "
                + ("this one has ids" if self.has_ids else "the ids of this one are its rows")
            )
        new_ids = None if ids is None else _checked_ids(ids, len(codes_NP))
        if new_ids is not None and new_ids.dtype.kind != self.ids.dtype.kind:
            # concatenating them would silently convert all ids, such as numbers to str
            raise ValueError(f"the ids of this index are {self.ids.dtype}, got {new_ids.dtype}; convert them")
        total = self._items + len(codes_NP)
        if total > self._words_WC.shape[1] or not self._words_WC.flags.writeable:
            larger_WC = np.empty((len(self._words_WC), max(total, 2 * self._items)), np.uint64)
            larger_WC[:, : self._items] = self.words_WN
            self._words_WC = larger_WC
        if new_ids is not None:
            self._ids = np.concatenate([self.ids, new_ids])
        self._words_WC[:, self._items : total] = hamming.words(codes_NP).T
        self._items = total

    def search(
        self,
        query_QP: Codes,
        k: int = 10,
        *,
        prefix: int | None = None,
        rerank: int | None = None,
        allowed_N: ArrayLike | None = None,
        threads: int | None = None,
    ) -> Hits:
        """Return the k nearest items by Hamming distance; all allowed items, if there are fewer than k.

        Args:
            query_QP: (Q, P) uint8, or (P,) for one query.
            k: number of items per query.
            prefix: number of leading bits to compare; None: all bits.
            rerank: order the nearest `rerank` items of a prefix search by all bits and keep k of them.
            allowed_N: (N,) bool, the items that a search may return; None: all.
            threads: number of threads; None: the default of `cmh.codes.threads`.

        Raises:
            ValueError: if the queries have another code length, `k`, `prefix` or `rerank` is out of range,
                or `allowed_N` allows no item.
        """
        query_QP = self._checked_queries(query_QP)
        allowed_N = self._checked_allowed(allowed_N)
        candidates = self._checked_k(k, allowed_N)
        if rerank is not None and (prefix is None or rerank < k):
            raise ValueError(f"rerank needs a prefix to choose by and at least k = {k} items, got {rerank}")
        length = self.bits if prefix is None else prefix
        if not 1 <= length <= self.bits:
            raise ValueError(
                f"a prefix of {length} bits was asked of codes of {self.bits} bits; ask for 1 or more"
            )
        candidates = candidates if rerank is None else self._checked_k(rerank, allowed_N)
        distance_Qk, row_Qk = self._nearest(query_QP, candidates, length, allowed_N, threads)
        if rerank is not None:
            distance_Qk, row_Qk = self._rerank(query_QP, row_Qk, k)
        return Hits(distance_Qk, row_Qk, row_Qk if self._ids is None else self._ids[row_Qk])

    def _nearest(
        self, query_QP: Codes, k: int, length: int, allowed_N: NDArray[np.bool_], threads: int | None
    ) -> tuple[NDArray[Any], Rows]:
        """Return (distance, row), (Q, k) each, of the items nearest by the first bits; all was checked."""
        mask_W = hamming.words(hamming.pack(np.ones((1, length), bool)))[0]
        query_QW = hamming.words(query_QP)[:, : len(mask_W)].copy()
        tile_type = np.uint8 if length < 255 else np.uint16

        def scan(group: slice, start: int, stop: int, distance_Qk: Any, row_Qk: Rows) -> None:
            tile_T = np.empty(numba_kernels.SEARCH_TILE, tile_type)
            numba_kernels.nearest(
                query_QW[group], mask_W, self._words_WC, allowed_N, start, stop, tile_T, distance_Qk, row_Qk
            )

        return self._scan(scan, len(query_QW), k, length + 1, threads)

    def search_weighted(
        self,
        query_QP: Codes,
        weight_QK: ArrayLike,
        k: int = 10,
        *,
        allowed_N: ArrayLike | None = None,
        threads: int | None = None,
    ) -> Hits:
        """Return the k nearest items by the sum of the query's weights over the bits that differ.

        Distances are exact, float64.  For a real-valued query u against codes b, the weights |u| rank the
        items as the inner product u·b does.

        Args:
            query_QP: (Q, P) uint8, or (P,) for one query.
            weight_QK: (Q, K), or (K,) for the same weights in all queries; not negative.
            k: number of items per query; all allowed items, if there are fewer.
            allowed_N: (N,) bool, the items that a search may return; None: all.
            threads: number of threads; None: the default of `cmh.codes.threads`.

        Raises:
            ValueError: if the queries or weights have another shape, a weight is negative, `k` is below 1, or
                `allowed_N` allows no item.
        """
        query_QP = self._checked_queries(query_QP)
        shape = (len(query_QP), self.bits)
        if np.shape(weight_QK) not in (shape, shape[1:]):
            raise ValueError(f"weights are {shape} or {shape[1:]}, got shape {np.shape(weight_QK)}")
        weight_QK = np.broadcast_to(query_weights.checked(weight_QK), shape)
        query_QW, allowed_N = hamming.words(query_QP), self._checked_allowed(allowed_N)

        def scan(group: slice, start: int, stop: int, distance_Qk: Any, row_Qk: Rows) -> None:
            weights = query_weights.prepare(weight_QK[group])
            tile_T = np.empty(numba_kernels.SEARCH_TILE, np.uint16)
            numba_kernels.nearest_weighted(
                query_QW[group], *weights, self._words_WC, allowed_N, start, stop, tile_T, distance_Qk, row_Qk
            )

        count = self._checked_k(k, allowed_N)
        distance_Qk, row_Qk = self._scan(scan, len(query_QW), count, np.inf, threads)
        return Hits(distance_Qk, row_Qk, row_Qk if self._ids is None else self._ids[row_Qk])

    def _scan(
        self, scan: Scan, queries: int, k: int, farthest: int | float, threads: int | None
    ) -> tuple[NDArray[Any], Rows]:
        """Return (distance, row), (Q, k) each, of the nearest items; several threads scan groups of queries.

        If there are fewer groups than threads, the database is divided into parts that run in parallel too.
        `farthest` is a distance above all others, which the heaps start with.
        """
        threads = chosen_threads(threads)
        size = max(1, min(_QUERIES_AT_ONCE, _HEAP_ENTRIES // k, -(-queries // threads)))
        groups = [slice(first, min(first + size, queries)) for first in range(0, queries, size)]
        edges = np.linspace(0, self._items, max(1, -(-threads // len(groups))) + 1).astype(int).tolist()

        def nearest(job: tuple[slice, tuple[int, int]]) -> tuple[NDArray[Any], Rows]:
            group, (start, stop) = job
            shape = (group.stop - group.start, k)
            distance_Qk, row_Qk = np.full(shape, farthest), np.full(shape, numba_kernels.FARTHEST_ROW)
            scan(group, start, stop, distance_Qk, row_Qk)
            return distance_Qk, row_Qk

        parts = list(pairwise(edges))
        heaps = run(nearest, [(group, part) for group in groups for part in parts], threads)
        merged = [nearest_first(heaps[i : i + len(parts)], k) for i in range(0, len(heaps), len(parts))]
        return np.concatenate([d for d, _ in merged]), np.concatenate([r for _, r in merged])

    def _rerank(self, query_QP: Codes, row_Qk: Rows, k: int) -> tuple[NDArray[Any], Rows]:
        """Return the k nearest of each query's candidate rows, by the distance in all bits."""
        distance_Qk = hamming.distances_at(query_QP, self.words_WN, row_Qk)
        return nearest_first([(distance_Qk, row_Qk)], k)

    def _checked_queries(self, query_QP: Codes) -> Codes:
        """Return the queries as (Q, P)."""
        query_QP = np.atleast_2d(query_QP)
        hamming.check(query_QP, self.bits, "queries")
        if len(query_QP) == 0:
            raise ValueError("a search needs at least one query, got none")
        return query_QP

    def _checked_k(self, k: int, allowed_N: NDArray[np.bool_]) -> int:
        """Return k, but at most the number of allowed items."""
        eligible = int(allowed_N.sum()) if len(allowed_N) else self._items
        if k < 1 or eligible == 0:
            raise ValueError(
                f"a search needs k of at least 1 and an item to find, got k = {k} of {eligible} items"
            )
        return min(k, eligible)

    def _checked_allowed(self, allowed_N: ArrayLike | None) -> NDArray[np.bool_]:
        """Return the mask in the form that the kernels take: an empty one allows all items."""
        if allowed_N is None:
            return np.empty(0, np.bool_)
        allowed_N = np.asarray(allowed_N)
        if allowed_N.shape != (self._items,) or allowed_N.dtype != np.bool_:
            raise ValueError(
                f"allowed_N is one bool for each of {self._items} items, "
                f"got {allowed_N.shape} {allowed_N.dtype}"
            )
        return np.ascontiguousarray(allowed_N)


def _checked_ids(ids: ArrayLike, items: int) -> NDArray[Any]:
    """Return the ids as an array of numbers, str or dates; those of pandas come as objects."""
    ids = np.asarray(ids)
    if ids.dtype == object and any(
        all(isinstance(one, kind) for one in ids.flat) for kind in (str, int | np.integer)
    ):
        ids = np.array(ids.tolist())
    if ids.shape != (items,) or ids.dtype.kind not in "iufUM":
        raise ValueError(
            f"{items} codes need as many ids, all of them numbers, str or dates, "
            f"got shape {ids.shape} {ids.dtype}"
        )
    return ids


def nearest_first(parts: list[tuple[NDArray[Any], Rows]], k: int) -> tuple[NDArray[Any], Rows]:
    """Merge (distance, row) of several parts of the database into the k nearest, by distance, then row."""
    distance_Qc, row_Qc = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    order_Qk = np.lexsort((row_Qc, distance_Qc), axis=1)[:, :k]
    return np.take_along_axis(distance_Qc, order_Qk, axis=1), np.take_along_axis(row_Qc, order_Qk, axis=1)
