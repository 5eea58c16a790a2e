"""Hash functions over RBF kernel features, which are similarities to a few bases.

$$ k(x, z) = exp(-|x - z|² / 2σ²) $$

with σ² the mean squared distance between training items and bases.

Shape suffixes: N = training set, B = batch, F = features, M = bases, K = bits.
"""

from typing import Literal

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from cmh.hashing.projections import Matrix

Choice = Literal["random", "kmeans"]


class KernelProjection(nn.Module):
    """A hash function that is linear in kernel features: k(x, bases) W, float64.

    With fewer training items than bases, the unused bases have weight 0.
    """

    bases_MF: Tensor
    variance: Tensor
    weight_MK: Tensor

    def __init__(self, features: int, bases: int, bits: int) -> None:
        super().__init__()
        self.register_buffer("bases_MF", torch.zeros(bases, features, dtype=torch.float64))
        self.register_buffer("variance", torch.ones((), dtype=torch.float64))
        self.register_buffer("weight_MK", torch.zeros(bases, bits, dtype=torch.float64))

    def choose(self, x_NF: Matrix, how: Choice, seed: int) -> Matrix:
        """Choose the bases, and set σ² to the mean squared distance of the training items from them.

        Args:
            x_NF: features of the training items, float64.
            how: as of `choose_bases`.
            seed: as of `choose_bases`.

        Returns:
            The bases in use, (M, F).
        """
        bases_MF = choose_bases(x_NF, len(self.bases_MF), how, seed)
        self.bases_MF[: len(bases_MF)] = torch.from_numpy(bases_MF)
        self.variance.fill_(mean_squared_distance(x_NF, bases_MF))
        return bases_MF

    def keep(self, weight_MK: Matrix) -> None:
        """Store the learnt weights, one row per basis in use."""
        self.weight_MK[: len(weight_MK)] = torch.from_numpy(weight_MK)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return real-valued codes (B, K) float64 of features (B, F)."""
        squared_BM = torch.cdist(x_BF.double(), self.bases_MF).square()
        return (-squared_BM / (2 * self.variance)).exp() @ self.weight_MK


def choose_bases(x_NF: Matrix, count: int, how: Choice, seed: int) -> Matrix:
    """Return `count` bases (M, F); all training items where there are no more than `count`.

    Args:
        x_NF: features of the training items, float64.
        count: number of bases.
        how: "random" for a sample of the items without replacement, "kmeans" for the centres of k-means.
        seed: seed of the sample, or of k-means.
    """
    if count >= len(x_NF):
        return x_NF
    if how == "kmeans":
        centres_MF: Matrix = (
            KMeans(count, n_init=1, max_iter=100, random_state=seed).fit(x_NF).cluster_centers_
        )
        return centres_MF
    return x_NF[np.sort(np.random.default_rng(seed).choice(len(x_NF), count, replace=False))]


def rbf(x_NF: Matrix, bases_MF: Matrix, variance: float) -> Matrix:
    """Return the kernel k(x, z) of every item with every basis, (N, M); `variance` is σ²."""
    kernel_NM: Matrix = np.exp(squared_distances(x_NF, bases_MF) / (-2 * variance))
    return kernel_NM


def squared_distances(x_NF: Matrix, z_MF: Matrix) -> Matrix:
    """Return |x - z|² of all pairs, (N, M)."""
    squared_NM: Matrix = (x_NF**2).sum(axis=1)[:, None] - 2 * x_NF @ z_MF.T + (z_MF**2).sum(axis=1)
    np.maximum(squared_NM, 0, out=squared_NM)  # rounding can make it negative
    return squared_NM


def mean_squared_distance(x_NF: Matrix, z_MF: Matrix) -> float:
    """Return the mean of |x - z|² over all pairs, computed from means without forming the pairs.

    It is 1 where all points coincide up to rounding, so that it can serve as a divisor.
    """
    means = (x_NF**2).sum(axis=1).mean() + (z_MF**2).sum(axis=1).mean()
    distance = float(means - 2 * x_NF.mean(axis=0) @ z_MF.mean(axis=0))
    return distance if distance > 1e-12 * means else 1.0
