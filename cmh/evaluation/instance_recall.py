"""Instance Recall@K: how often the K nearest items hold the query's own other half.

A query's image is compared with the texts of all queries, its own among them, and the other way round: a
gallery of items that the model has not seen.  Only the query's own pair counts, however alike another item
may be (Hodosh, Young and Hockenmaier, Framing Image Description as a Ranking Task, JAIR 47, 2013, as R@K).
Where several texts describe one image, the image asks once and any of its texts is right, and texts search
the images, each of which is there once.

`group_recall` asks for more than the own pair: another item of its group, such as another drawing of the
same thing.

Items at the same distance are tied.  The expectation over all orders of the ties is in closed form: with C
items nearer than the nearest right one, and N at its distance of which R are right, the first K ranks take
m = min(max(K − C, 0), N) of these, and hold a right one with probability 1 − C(N − R, m) / C(N, m).

Shape suffixes: Q = pairs, A = queries, G = gallery, R = queries of a block, P = bytes of a packed code,
J = numbers of ranks.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from cmh.codes import hamming
from cmh.codes.hamming import Codes

KS = (1, 5, 10)
_BLOCK = 256  # queries compared at a time: 20,000 of them against each other take 50 MB


class Found(NamedTuple):
    """What became of each query, in expectation over the orders of ties."""

    hit_AJ: NDArray[np.float64]  # in [0, 1]: whether the first k hold a right item, for each k
    reciprocal_rank_A: NDArray[np.float64]  # of the first right item
    rank_A: NDArray[np.float64]  # of the first right item, from 1


def of_pairs(
    query_QP: Codes,
    gallery_QP: Codes,
    ks: Sequence[int] = KS,
    *,
    image_Q: ArrayLike | None = None,
    query_is_image: bool = True,
) -> Found:
    """Return how each query finds its own pair.

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
    image_Q = everyone if image_Q is None else _numbers(image_Q)
    one_per_image = np.sort(np.unique(image_Q, return_index=True)[1])
    query, gallery = (one_per_image, everyone) if query_is_image else (everyone, one_per_image)
    counted = _counts(
        query_QP[query], gallery_QP[gallery], lambda rows: image_Q[query][rows, None] == image_Q[gallery]
    )
    return Found(_hits(ks, *counted), *_ranks(*counted))


def group_recall(
    query_QP: Codes, gallery_QP: Codes, group_Q: ArrayLike, image_Q: ArrayLike, ks: Sequence[int] = KS
) -> NDArray[np.float64]:
    """Return (Q, J) float64 in [0, 1]: whether the first k hold an item of the query's group.

    That is an item with another image: the query's own is left out of its gallery.  Only where a group has a
    single image (`has_others` says where) is the own one right.

    Args:
        query_QP: codes of one modality of the items, (Q, P) uint8.
        gallery_QP: codes of the other; row i belongs to query i.
        group_Q: the group of each item, of any kind.
        image_Q: the image of each item, of any kind.
        ks: numbers of ranks.
    """
    group, image = _numbers(group_Q), _numbers(image_Q)
    several = has_others(group, image)

    def right(rows: slice) -> NDArray[np.bool_]:
        own = image[rows, None] == image
        found: NDArray[np.bool_] = np.where(several[rows, None], (group[rows, None] == group) & ~own, own)
        return found

    def left_out(rows: slice) -> NDArray[np.bool_]:
        out: NDArray[np.bool_] = (image[rows, None] == image) & several[rows, None]
        return out

    return _hits(ks, *_counts(query_QP, gallery_QP, right, left_out))


def has_others(group_Q: ArrayLike, image_Q: ArrayLike) -> NDArray[np.bool_]:
    """Return for each item whether its group has other images than its own, bool (Q,)."""
    group, image = _numbers(group_Q), _numbers(image_Q)
    of_group = np.unique(np.stack([group, image]), axis=1)[0]  # a row per image of a group
    several: NDArray[np.bool_] = np.bincount(of_group)[group] > 1
    return several


def _numbers(names_Q: ArrayLike) -> NDArray[np.int64]:
    return np.unique(np.asarray(names_Q), return_inverse=True)[1]


def _hits(
    ks: Sequence[int], nearer_A: NDArray[np.int64], tied_A: NDArray[np.int64], right_A: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probabilities (A, J) that the first k hold a right item, of the counts of `_counts`."""
    nearer_A1, tied_A1, right_A1 = nearer_A[:, None], tied_A[:, None], right_A[:, None]
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


def _ranks(
    nearer_A: NDArray[np.int64], tied_A: NDArray[np.int64], right_A: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the expected reciprocal rank and the expected rank of the first right item, both (A,).

    Of N tied items of which R are right, the first right one has place m with probability
    C(N - m, R - 1) / C(N, R), and place (N + 1) / (R + 1) in expectation.
    """
    reciprocal_A = np.empty(len(nearer_A))
    for row, (nearer, tied, right) in enumerate(zip(nearer_A, tied_A, right_A, strict=True)):
        place = np.arange(1, tied - right + 2)
        log_share = (
            gammaln(tied - place + 1) - gammaln(right) - gammaln(tied - place - right + 2)
            - gammaln(tied + 1) + gammaln(right + 1) + gammaln(tied - right + 1)
        )  # fmt: skip
        reciprocal_A[row] = (np.exp(log_share) / (nearer + place)).sum()
    return reciprocal_A, nearer_A + (tied_A + 1) / (right_A + 1)


def _counts(
    query_AP: Codes,
    gallery_GP: Codes,
    right: Callable[[slice], NDArray[np.bool_]],
    left_out: Callable[[slice], NDArray[np.bool_]] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the items nearer than the nearest right one, those at its distance, and the right ones there.

    `right` and `left_out` give, for a block of queries, which items of the gallery are right, and which are
    not part of it, bool (R, G).
    """
    counts_3A = np.zeros((3, len(query_AP)), np.int64)
    far = np.iinfo(np.uint16).max
    for start in range(0, len(query_AP), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distance_RG = hamming.distances(query_AP[rows], gallery_GP)
        if left_out is not None:
            distance_RG = np.where(left_out(rows), far, distance_RG)
        right_RG = right(rows)
        nearest_R1 = np.where(right_RG, distance_RG, far).min(axis=1)[:, None]
        tied_RG = distance_RG == nearest_R1
        counts_3A[:, rows] = [
            (distance_RG < nearest_R1).sum(axis=1), tied_RG.sum(axis=1), (tied_RG & right_RG).sum(axis=1)
        ]  # fmt: skip
    return counts_3A[0], counts_3A[1], counts_3A[2]
