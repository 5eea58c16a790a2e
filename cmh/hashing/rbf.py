"""Hash functions over similarities to a few bases: RBF kernel features, and linear functions of them.

    k(x, z) = exp(-|x - z|² / 2σ²),   σ² = the mean squared distance between training items and bases

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
    """k(x, bases) W, float64.  Bases that training did not use (fewer items than bases) weigh 0."""

    bases_MF: Tensor
    variance: Tensor
    weight_MK: Tensor

    def __init__(self, features: int, bases: int, bits: int) -> None:
        super().__init__()
        self.register_buffer("bases_MF", torch.zeros(bases, features, dtype=torch.float64))
        self.register_buffer("variance", torch.ones((), dtype=torch.float64))
        self.register_buffer("weight_MK", torch.zeros(bases, bits, dtype=torch.float64))

    def choose(self, x_NF: Matrix, how: Choice, seed: int) -> Matrix:
        """Take bases and σ from the training items.  Returns: the bases in use, (M, F)."""
        bases_MF = choose_bases(x_NF, len(self.bases_MF), how, seed)
        self.bases_MF[: len(bases_MF)] = torch.from_numpy(bases_MF)
        self.variance.fill_(mean_squared_distance(x_NF, bases_MF))
        return bases_MF

    def keep(self, weight_MK: Matrix) -> None:
        """Take over what was learnt, one row per basis in use."""
        self.weight_MK[: len(weight_MK)] = torch.from_numpy(weight_MK)

    def forward(self, x_BF: Tensor) -> Tensor:
        squared_BM = torch.cdist(x_BF.double(), self.bases_MF).square()
        return (-squared_BM / (2 * self.variance)).exp() @ self.weight_MK


def choose_bases(x_NF: Matrix, count: int, how: Choice, seed: int) -> Matrix:
    """Return items drawn without replacement, or the centres of k-means; all where there are not so many."""
    if count >= len(x_NF):
        return x_NF
    if how == "kmeans":
        centres_MF: Matrix = (
            KMeans(count, n_init=1, max_iter=100, random_state=seed).fit(x_NF).cluster_centers_
        )
        return centres_MF
    return x_NF[np.sort(np.random.default_rng(seed).choice(len(x_NF), count, replace=False))]


def rbf(x_NF: Matrix, bases_MF: Matrix, variance: float) -> Matrix:
    """Return k(x, z) of every item with every basis, (N, M)."""
    kernel_NM: Matrix = np.exp(squared_distances(x_NF, bases_MF) / (-2 * variance))
    return kernel_NM


def squared_distances(x_NF: Matrix, z_MF: Matrix) -> Matrix:
    """Return |x - z|² of all pairs, (N, M)."""
    squared_NM: Matrix = (x_NF**2).sum(axis=1)[:, None] - 2 * x_NF @ z_MF.T + (z_MF**2).sum(axis=1)
    np.maximum(squared_NM, 0, out=squared_NM)  # rounding can take it below
    return squared_NM


def mean_squared_distance(x_NF: Matrix, z_MF: Matrix) -> float:
    """Return mean of |x - z|² over all pairs, without forming them; 1 where all points (nearly) coincide."""
    means = (x_NF**2).sum(axis=1).mean() + (z_MF**2).sum(axis=1).mean()
    distance = float(means - 2 * x_NF.mean(axis=0) @ z_MF.mean(axis=0))
    return distance if distance > 1e-12 * means else 1.0
