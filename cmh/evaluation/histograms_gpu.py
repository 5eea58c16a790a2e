"""The counts of `cmh.evaluation.histograms` on a GPU, by matrix products of ±1 codes.

On a CPU the compiled kernel is far faster.  On a GPU matrix products are what the hardware does best; in half
precision they are exact: an inner product is a sum of at most 512 ±1.

Shape suffixes: Q = queries, N = database, P = bytes of a packed code, K = bits, L = labels, D = bits + 1.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cmh.codes import hamming
from cmh.codes.hamming import Codes
from cmh.evaluation.histograms import Block, Histograms, check_side

_PAIRS_AT_ONCE = 1 << 26  # of queries and items: about 1.5 GB of device memory
_ITEMS_AT_ONCE = 1 << 16


def stream_histograms(
    query_QP: Codes, query_labels_QL: ArrayLike, blocks: Iterable[Block], bits: int, device: str
) -> Histograms:
    """Count as `histograms.stream_histograms` does, on a device of torch such as "cuda"."""
    check_side(query_QP, query_labels_QL, bits, "query")
    query_labels_QL = np.asarray(query_labels_QL)
    queries_at_once = _PAIRS_AT_ONCE // _ITEMS_AT_ONCE
    counts_QGD = torch.zeros((len(query_QP), 2, bits + 1), dtype=torch.int64, device=device)
    for database_NP, database_labels_NL in blocks:
        check_side(database_NP, database_labels_NL, bits, "database", labels=query_labels_QL.shape[1])
        database_labels_NL = np.asarray(database_labels_NL)
        for start in range(0, len(database_NP), _ITEMS_AT_ONCE):
            items = slice(start, start + _ITEMS_AT_ONCE)
            database = _on_device(database_NP[items], database_labels_NL[items], bits, device)
            for first in range(0, len(query_QP), queries_at_once):
                some = slice(first, first + queries_at_once)
                queries = _on_device(query_QP[some], query_labels_QL[some], bits, device)
                counts_QGD[some] += _count(*queries, *database)
    return Histograms.of_grades(counts_QGD.cpu().numpy())


def _on_device(codes_NP: Codes, labels_NL: Any, bits: int, device: str) -> tuple[Tensor, Tensor]:
    """Return ±1 codes (N, K) and 0/1 labels (N, L)."""
    exact = torch.float32 if device == "cpu" else torch.float16
    codes_NK = torch.from_numpy(hamming.unpack(codes_NP, bits)).to(device, exact)
    return codes_NK, torch.from_numpy(labels_NL > 0).to(device, exact)


def _count(query_QK: Tensor, query_labels_QL: Tensor, database_NK: Tensor, labels_NL: Tensor) -> Tensor:
    """Return items per relevance (0, 1) and distance, (Q, 2, D) int64."""
    queries, bits = query_QK.shape
    distance_QN = (bits - query_QK @ database_NK.T).to(torch.int64) // 2
    relevant_QN = query_labels_QL @ labels_NL.T > 0
    key_QN = distance_QN + (bits + 1) * relevant_QN
    key_QN += torch.arange(queries, device=key_QN.device)[:, None] * (2 * (bits + 1))
    counts = torch.bincount(key_QN.flatten(), minlength=queries * 2 * (bits + 1))
    return counts.reshape(queries, 2, bits + 1)
