"""Approximate search through FAISS's inverted lists of binary codes, for databases of millions of items.

It looks only into the lists whose centres are nearest to the query, so it misses some neighbours: `recall`
measures how many on codes of your own, before you rely on it.  Below a million codes exact search is
hardly slower.  Items appended to the exact index later are not in the lists.  FAISS is optional: `pip install
cmh[faiss]`.

Shape suffixes: Q = queries, P = bytes of a code, k = neighbours.
"""

from typing import Any

import numpy as np

from cmh.codes import hamming
from cmh.codes.hamming import Codes
from cmh.codes.search import Hits, Index


class ApproximateIndex:
    """Inverted lists over the items of an exact index."""

    def __init__(self, index: Index, *, lists: int = 1024, probes: int = 16) -> None:
        """Build the lists.

        Args:
            index: the codes, for exact search too.
            lists: parts of the database; about the square root of its size.
            probes: lists that a query looks into; more find more and take longer.

        Raises:
            ImportError: without FAISS; ValueError for fewer items than lists or more probes than lists.
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
        """Return the nearest items in the nearest lists; row −1 and a masked id where those hold too few.

        Raises:
            ValueError: for k below 1, and codes of another length.
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
        """Return the share of the k nearest items (of all, if there are fewer) that the search finds.

        Any of the items at the k-th distance will do.
        """
        exact_Qk = self.exact.search(query_QP, k).distance
        found_Qk = self.search(query_QP, exact_Qk.shape[1], probes=probes)
        return float(((found_Qk.row >= 0) & (found_Qk.distance <= exact_Qk[:, -1:])).mean())


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "approximate search needs FAISS: pip install 'cmh[faiss]' (or search exactly)"
        ) from error
    return faiss
