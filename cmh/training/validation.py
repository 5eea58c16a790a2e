"""What training looks at after each epoch: whether codes are sound, and how well validation queries find.

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
    """Return MAP over the whole ranking of `found` by `query`, both relaxed codes; their labels follow.

    By Hamming distance, ties by expectation; of nested codes, the mean over their lengths.  By cosine where
    the method is real-valued.
    """
    labels = query_labels_nL, labels_nL
    if method.real_valued:
        measures = {"map": stable_metrics.average_precision}
        return float(stable_metrics.evaluate_cosine(query_nK, found_nK, *labels, measures)["map"].mean())

    def at(bits: int) -> float:
        query, found = (hamming.pack(u_nK[:, :bits]) for u_nK in (query_nK, found_nK))
        return metrics.evaluate(query, found, *labels, bits).map

    return float(np.mean([at(bits) for bits in [*method.prefixes, method.bits]]))


def refuse_unsound(method: Method, u_nK: Relaxed, side: Side, epoch: int) -> None:
    """Refuse codes of the validation items that are not finite, or all the same.

    Raises:
        NonFiniteLoss, CollapsedCodes: naming the epoch.
    """
    if not np.isfinite(u_nK).all():
        raise NonFiniteLoss("validation", 0, epoch, {f"{side} codes": float("nan")})
    kept_nK = u_nK if method.real_valued else u_nK >= 0
    if len(kept_nK) > 1 and (kept_nK == kept_nK[0]).all():
        raise CollapsedCodes(
            f"all {len(u_nK)} validation items have the same {side} code after epoch {epoch}; lower the "
            "learning rate, take a larger batch, or weight relevant pairs higher if they are rare"
        )
