"""Validate a method after each epoch: check its codes, and measure retrieval by validation queries.

Shape suffixes: n = items, K = bits, or numbers of an embedding, L = labels.
"""

import numpy as np
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.data.batches import Side
from cmh.evaluation import metrics, stable_metrics
from cmh.hashing.method import Method
from cmh.training.failures import CollapsedCodes, NonFiniteLoss

Relaxed = NDArray[np.float32]
Labels = NDArray[np.uint8]


def mean_average_precision(
    method: Method, query_nK: Relaxed, found_nK: Relaxed, query_labels_nL: Labels, labels_nL: Labels
) -> float:
    """Return the MAP of queries over the whole ranking of a database.

    The ranking is by Hamming distance, with the expectation over ties; for nested codes the result is the
    mean over their lengths.  For a real-valued method the ranking is by cosine.

    Args:
        method: the method that made the codes.
        query_nK: relaxed codes of the queries, float32.
        found_nK: relaxed codes of the database, float32.
        query_labels_nL: multi-hot labels of the queries, uint8.
        labels_nL: multi-hot labels of the database, uint8.
    """
    labels = query_labels_nL, labels_nL
    if method.real_valued:
        measures = {"map": stable_metrics.average_precision}
        return float(stable_metrics.evaluate_cosine(query_nK, found_nK, *labels, measures)["map"].mean())

    def map_of(bits: int) -> float:
        query, database = (hamming.pack(u_nK[:, :bits] >= 0) for u_nK in (query_nK, found_nK))
        return metrics.evaluate(query, database, *labels, bits).map

    return float(np.mean([map_of(bits) for bits in [*method.prefixes, method.bits]]))


def refuse_unsound(method: Method, u_nK: Relaxed, side: Side, epoch: int) -> None:
    """Refuse codes of the validation items that are not finite, or all the same.

    Args:
        method: the method that made the codes.
        u_nK: relaxed codes, float32.
        side: their modality.
        epoch: number of the epoch, from 1.

    Raises:
        NonFiniteLoss: a code contains NaN or infinity.
        CollapsedCodes: all codes are the same.
    """
    if not np.isfinite(u_nK).all():
        raise NonFiniteLoss("validation", 0, epoch, {f"{side} codes": float("nan")})
    code_nK = u_nK if method.real_valued else u_nK >= 0
    if len(code_nK) > 1 and (code_nK == code_nK[0]).all():
        raise CollapsedCodes(
            f"all {len(u_nK)} validation items have the same {side} code after epoch {epoch}; lower the "
            "learning rate, take a larger batch, or weight relevant pairs higher if they are rare"
        )
