"""Relaxed embeddings of items: numbers whose signs are the codes, kept to order what the codes find.

Codes tie by the hundred; the cosine of a query's own embedding, which is not binarised, with those of the
nearest few hundred items puts these into an order that a person agrees with.  A cosine does not depend on the
length of a vector, so an item's numbers are scaled to fill the eight bits, and the scale is not kept.

    kept = embeddings.shrink(u_NK, "int8")
    order, cosine = embeddings.Embeddings([kept]).nearest(u_K, rows)

Shape suffixes: N = items, K = bits, C = candidates.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["int8", "float16", "none"]
"""How the numbers are kept: `int8` (K bytes an item), `float16` (2 K), or not at all."""

KINDS: tuple[Kind, ...] = get_args(Kind)
_LARGEST = 127


def shrink(u_NK: NDArray[np.float32], kind: Kind) -> NDArray[Any] | None:
    """Return embeddings as they are kept, (N, K) of that type; None for "none"."""
    if kind == "none":
        return None
    largest_N1 = np.abs(u_NK).max(axis=1, keepdims=True)
    scaled_NK = u_NK / np.where(largest_N1 == 0, 1, largest_N1)
    return np.rint(scaled_NK * _LARGEST).astype(np.int8) if kind == "int8" else scaled_NK.astype(np.float16)


def load(path: Path, kind: Kind, items: int, bits: int) -> NDArray[Any]:
    """Map a file of embeddings into memory.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it does not hold that many embeddings of that type.
    """
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r")
    except Exception as error:  # of damaged headers, NumPy raises more than it documents
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{path} is damaged: {type(error).__name__} {str(error)[:200]}") from error
    if found.shape != (items, bits) or found.dtype != kind:
        raise ValueError(
            f"{path} is damaged: it holds {found.shape} {found.dtype}, expected {(items, bits)} {kind}; "
            "make the collection anew"
        )
    return found


class Embeddings:
    """The embeddings of all items, in the arrays of the parts that they were added in."""

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings of some rows, float32 (C, K)."""
        part_C = np.searchsorted(self._ends, rows, side="right")
        found_CK = np.empty((len(rows), self._parts[0].shape[1]), np.float32)
        for number in np.unique(part_C):
            here_C = part_C == number
            start = self._ends[number] - len(self._parts[number])
            found_CK[here_C] = self._parts[number][rows[here_C] - start]
        return found_CK

    def nearest(
        self, query_K: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows by falling cosine with a query, ties by row, and the cosines.

        Args:
            query_K: the query's embedding; a shorter one is compared with the first numbers of the items'.
            rows: the candidates, int64 (C,).
        """
        near_CK = self.take(rows)[:, : len(query_K)].astype(np.float64)
        length_C = np.linalg.norm(near_CK, axis=1) * np.linalg.norm(query_K)
        cosine_C = near_CK @ query_K.astype(np.float64) / np.where(length_C == 0, 1, length_C)
        order = np.lexsort((rows, -cosine_C))
        return rows[order], cosine_C[order]
