"""Instance Recall@K: how often the K nearest items hold the query's own other half.

A query's image is compared with the texts of all queries, its own among them, and the other way round: a
gallery of items that the model has not seen.  Only the query's own pair counts, however alike another item
may be (Hodosh, Young and Hockenmaier, Framing Image Description as a Ranking Task, JAIR 47, 2013, as R@K).
Where several texts describe one image, the image asks once and any of its texts is right, and texts search
the images, each of which is there once.

Items at the same distance are tied.  The expectation over all orders of the ties is in closed form: with C
items nearer than the nearest right one, and N at its distance of which R are right, the first K ranks take
m = min(max(K − C, 0), N) of these, and hold a right one with probability 1 − C(N − R, m) / C(N, m).

Shape suffixes: Q = pairs, A = queries, G = gallery, R = queries of a block, P = bytes of a packed code,
J = numbers of ranks.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from cmh.codes import hamming
from cmh.codes.hamming import Codes

KS = (1, 5, 10)
_BLOCK = 256  # queries compared at a time: 20,000 of them against each other take 50 MB


def instance_recall(
    query_QP: Codes,
    gallery_QP: Codes,
    ks: Sequence[int] = KS,
    *,
    image_Q: ArrayLike | None = None,
    query_is_image: bool = True,
) -> NDArray[np.float64]:
    """Return (A, J) float64 in [0, 1]: the expected hit of each query among its first k, for each k of `ks`.

    Args:
        query_QP: codes of one modality of the pairs, (Q, P) uint8.
        gallery_QP: codes of the other; row i belongs to query i.
        ks: numbers of ranks.
        image_Q: the image of each pair, of any kind; None: each pair has its own.
        query_is_image: whether the queries are the images; else they are the texts.

    Returns:
        A row per query: of images, one for each distinct image, in the order of their first rows.

    Raises:
        ValueError: a k below 1, or a gallery of another size.
    """
    if ks and min(ks) < 1:
        raise ValueError(f"k is the number of ranks that count, at least 1, got {min(ks)}")
    if query_QP.shape != gallery_QP.shape:
        raise ValueError(
            f"each query has its pair in the same row of the gallery, got codes {query_QP.shape} and "
            f"{gallery_QP.shape}"
        )
    everyone = np.arange(len(query_QP))
    image_Q = everyone if image_Q is None else np.unique(np.asarray(image_Q), return_inverse=True)[1]
    one_per_image = np.sort(np.unique(image_Q, return_index=True)[1])
    query, gallery = (one_per_image, everyone) if query_is_image else (everyone, one_per_image)
    nearer_A1, tied_A1, right_A1 = (
        count_A[:, None]
        for count_A in _counts(query_QP[query], gallery_QP[gallery], image_Q[query], image_Q[gallery])
    )
    taken_AJ = np.clip(np.array(ks, np.int64) - nearer_A1, 0, tied_A1)
    wrong_A1 = tied_A1 - right_A1
    # log C(wrong, taken) / C(tied, taken); where more are taken than are wrong, none can be missed
    log_miss_AJ = (
        gammaln(wrong_A1 + 1) - gammaln(np.maximum(wrong_A1 - taken_AJ, 0) + 1)
        + gammaln(tied_A1 - taken_AJ + 1) - gammaln(tied_A1 + 1)
    )  # fmt: skip
    # With one right item the ratio is exact: 1 - taken / tied.
    miss_AJ = np.where(right_A1 == 1, 1 - taken_AJ / tied_A1, np.exp(log_miss_AJ))
    hit_AJ: NDArray[np.float64] = np.where(taken_AJ > wrong_A1, 1.0, 1 - miss_AJ)
    return hit_AJ


def _counts(
    query_AP: Codes, gallery_GP: Codes, image_A: NDArray[np.int64], image_G: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the items nearer than the nearest right one, those at its distance, and the right ones there."""
    counts_3A = np.zeros((3, len(query_AP)), np.int64)
    for start in range(0, len(query_AP), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distance_RG = hamming.distances(query_AP[rows], gallery_GP)
        right_RG = image_A[rows, None] == image_G
        nearest_R1 = np.where(right_RG, distance_RG, np.iinfo(np.uint16).max).min(axis=1)[:, None]
        tied_RG = distance_RG == nearest_R1
        counts_3A[:, rows] = [
            (distance_RG < nearest_R1).sum(axis=1), tied_RG.sum(axis=1), (tied_RG & right_RG).sum(axis=1)
        ]  # fmt: skip
    return counts_3A[0], counts_3A[1], counts_3A[2]
