"""Approximate search with FAISS's inverted lists of binary codes, for databases of millions of items.

A search visits only the lists whose centres are nearest to the query, so it misses some neighbours.  Measure
with `recall` how many it misses on your own codes before you rely on it.  Below a million codes exact search
is hardly slower.  Items that are appended to the exact index afterwards are not in the lists.  FAISS is
optional: `pip install cmh[faiss]`.

Shape suffixes: Q = queries, P = bytes of a code, k = neighbours.
"""

from typing import Any

import numpy as np

from cmh.codes import hamming
from cmh.codes.hamming import Codes
from cmh.codes.search import Hits, Index


class ApproximateIndex:
    """Inverted lists over the items of an exact index, for approximate search."""

    def __init__(self, index: Index, *, lists: int = 1024, probes: int = 16) -> None:
        """Train the lists on the codes of the index and fill them.

        Args:
            index: exact index over the database; `recall` compares with its exact search.
            lists: number of lists, about the square root of the number of items.
            probes: number of lists that a search visits per query; more give a higher recall and take longer.

        Raises:
            ImportError: if FAISS is not installed.
            ValueError: unless 1 <= probes <= lists <= items.
        """
        if not 1 <= probes <= lists <= len(index):
            raise ValueError(
                f"needed: 1 <= probes <= lists <= items, got {probes}, {lists}, {len(index)}; "
                "for small databases use the exact index"
            )
        faiss = _faiss()
        self.exact, self.probes = index, probes
        width = 8 * hamming.width(index.bits)
        self._centres = faiss.IndexBinaryFlat(width)
        self._lists = faiss.IndexBinaryIVF(self._centres, width, lists)
        codes_NP = index.codes()
        self._lists.train(codes_NP)
        self._lists.add(codes_NP)

    def search(self, query_QP: Codes, k: int = 10, *, probes: int | None = None) -> Hits:
        """Return the k nearest items among those in the lists nearest to each query.

        Args:
            query_QP: (Q, P) uint8, or (P,) for one query.
            k: number of items per query.
            probes: number of lists to visit per query; None: as given to the constructor.

        Returns:
            Hits of shape (Q, k).  Where the visited lists hold fewer than k items, the row is −1 and the id
            is masked.

        Raises:
            ValueError: if k is below 1 or the queries have another code length.
        """
        if k < 1:
            raise ValueError(f"a search needs k of at least 1, got {k}")
        query_QP = np.atleast_2d(query_QP)
        hamming.check(query_QP, self.exact.bits, "queries")
        self._lists.nprobe = self.probes if probes is None else probes
        distance_Qk, row_Qk = self._lists.search(np.ascontiguousarray(query_QP), k)
        id_Qk = np.ma.array(self.exact.ids[row_Qk], mask=row_Qk < 0)
        return Hits(distance_Qk.astype(np.int64), row_Qk, id_Qk)

    def recall(self, query_QP: Codes, k: int = 10, *, probes: int | None = None) -> float:
        """Return the recall: the share of the k nearest items that the approximate search finds.

        Of several items at the distance of the k-th neighbour, each counts as one of the k nearest.

        Args:
            query_QP: (Q, P) uint8, or (P,) for one query.
            k: number of neighbours; all items, if the index has fewer.
            probes: number of lists to visit per query; None: as given to the constructor.

        Returns:
            Mean over the queries, in [0, 1].

        Raises:
            ValueError: if k is below 1 or the queries have another code length.
        """
        exact_Qk = self.exact.search(query_QP, k).distance
        hits = self.search(query_QP, exact_Qk.shape[1], probes=probes)
        return float(((hits.row >= 0) & (hits.distance <= exact_Qk[:, -1:])).mean())


def _faiss() -> Any:
    """Return the module `faiss`; raise an ImportError that shows how to install it."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "approximate search needs FAISS: pip install 'cmh[faiss]' (or search exactly)"
        ) from error
    return faiss
