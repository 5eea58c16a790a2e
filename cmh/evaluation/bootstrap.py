"""Intervals of means over queries by the bootstrap, which draws whole groups of queries.

Shape suffixes: Q = queries, G = groups.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """A mean over queries with its bootstrap interval."""

    mean: float
    low: float
    high: float


def interval(
    score_Q: NDArray[np.float64], group_Q: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return the mean of `score_Q` with its 95% percentile bootstrap interval.

    Queries about one thing, such as several drawings of a concept, do not vote independently: where groups
    are given, whole groups are drawn, and a mean is the sum of their scores over the sum of their sizes.

    Args:
        score_Q: a score per query.
        group_Q: the group of each query, of any kind; None: each query is its own.
        resamples: number of bootstrap samples.
        seed: of the draws.

    Raises:
        ValueError: if there is not one group per query.
    """
    if group_Q is None:
        number_Q, groups = np.arange(len(score_Q)), len(score_Q)
    else:
        if np.shape(group_Q) != score_Q.shape:
            raise ValueError(f"{len(score_Q)} queries need as many groups, got shape {np.shape(group_Q)}")
        names, number_Q = np.unique(np.asarray(group_Q), return_inverse=True)
        groups = len(names)
    sum_G = np.bincount(number_Q, score_Q, groups)
    size_G = np.bincount(number_Q, minlength=groups)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(groups, size=groups) for _ in range(resamples))
    means = [sum_G[draw].sum() / size_G[draw].sum() for draw in draws]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(score_Q.mean()), float(low), float(high))
