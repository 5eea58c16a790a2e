"""SePH: semantics-preserving hashing, codes whose distances follow a distribution over pairs of items.

Source: Lin, Ding, Hu and Wang, Semantics-Preserving Hashing for Cross-View Retrieval, CVPR 2015.
P_ij is proportional to the cosine of the label rows of i and j, Q_ij to 1 / (1 + |h_i - h_j|² / 4), i ≠ j:

$$ min_H  KL(P ‖ Q) + α ‖ |H| - 1 ‖²,   α = 0.01 / (K N) $$

by gradient descent with momentum and gains, as t-SNE does; then one kernel logistic regression per bit and
modality predicts sign(H).  The unified code of an item multiplies the probabilities of both modalities and
divides by the prior of the bit (section 3.3).  bases "random" is SePH_rnd, "kmeans" is SePH_km.

Time O(N² K) per descent step, the only quadratic part: P is the cosine of labels and never stored, Q goes by
blocks, so memory is O(N (K + M)).  The authors draw 5,000 training items of larger sets.

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits, M = bases.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from cmh.hashing import config_checks, rbf
from cmh.hashing.kernel_logistic import regress
from cmh.hashing.projections import Matrix, signs, unit_rows
from cmh.hashing.rbf import Choice
from cmh.hashing.shallow import KernelHashing

ROWS = 1024  # of the N × N pairs that are in memory at a time
START = 1e-4  # spread of the first H, as in t-SNE


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    bases_from: Choice = "kmeans"  # the paper's better one, by a hair
    bases: int = 500  # the paper, section 4.2
    alpha: float = 0.01  # the authors' demo, divided by K N
    steps: int = 100  # the authors' minKLD
    learning_rate: float = 500.0  # the authors' minKLD
    momentum: float = 0.5  # the authors' minKLD
    penalty: float = 0.01  # the authors' demo: weight of the regressions' L2 term
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "bases", "steps", "learning_rate", "penalty")
        config_checks.not_negative(self, "alpha", "momentum")


class SePH(KernelHashing):
    """Kernel hash functions that predict codes found from the labels alone."""

    REVISION = 2  # 2: unified codes by the product of probabilities, as the authors have it
    config: Config

    def solve(
        self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int8]:
        codes_NK = signs(semantic_codes(unit_rows(labels_NL.astype(np.float64)), self.config, seed))
        # p(+|x, y) ~ p(+|x) p(+|y) / p(+), as the modalities are taken to be independent given the bit.
        margin_NK = np.tile(-prior_logit((codes_NK > 0).mean(axis=0)), (len(codes_NK), 1))
        for hash_function, x in ((self.image, image_NF), (self.text, text_ND)):
            bases_MF = hash_function.choose(x, self.config.bases_from, seed)
            logit_NK = regress(hash_function, x, bases_MF, codes_NK, self.config.penalty)
            margin_NK += logit_NK
        return signs(margin_NK)


def prior_logit(positive_K: Matrix) -> Matrix:
    """Return logit p(+) of each bit; 0 for a bit that has one value throughout, which says nothing."""
    logit_K: Matrix = logit(np.where((positive_K > 0) & (positive_K < 1), positive_K, 0.5))
    return logit_K


def semantic_codes(unit_NL: Matrix, config: Config, seed: int) -> Matrix:
    """Return real codes H (N, K): the best by the objective among those that the descent passed."""
    items = len(unit_NL)
    alpha = config.alpha / (config.bits * items)
    h_NK = np.random.default_rng(seed).normal(scale=START, size=(items, config.bits))
    step_NK, gain_NK = np.zeros(h_NK.shape), np.ones(h_NK.shape)
    best, best_NK = np.inf, h_NK
    for _ in range(config.steps):
        loss, slope_NK = divergence(h_NK, unit_NL)
        loss += alpha * ((np.abs(h_NK) - 1) ** 2).sum()
        slope_NK += 2 * alpha * (np.abs(h_NK) - 1) * np.sign(h_NK)
        if loss < best:
            best, best_NK = loss, h_NK
        agree_NK = np.sign(slope_NK) == np.sign(step_NK)
        gain_NK = np.maximum(np.where(agree_NK, gain_NK * 0.8, gain_NK + 0.2), 0.01)
        step_NK = config.momentum * step_NK - config.learning_rate * gain_NK * slope_NK
        h_NK = h_NK + step_NK
        h_NK = h_NK - h_NK.mean(axis=0)
    return best_NK


def divergence(h_NK: Matrix, unit_NL: Matrix) -> tuple[float, Matrix]:
    """Return KL(P || Q) less the entropy of P, which is constant, and its gradient by H (N, K).

    With t_ij = 1 / (1 + |h_i - h_j|² / 4) and Z = Σ t:  loss = log Z - Σ P log t,
    gradient_i = Σ_j (P_ij - t_ij / Z) t_ij (h_i - h_j).  A pair counts twice, as (i, j) and (j, i).
    """
    items = len(h_NK)
    total = float((unit_NL.sum(axis=0) ** 2).sum() - (unit_NL**2).sum()) or 1.0
    pull_NK, push_NK = np.zeros(h_NK.shape), np.zeros(h_NK.shape)
    z = cross_entropy = 0.0
    for start in range(0, items, ROWS):
        rows = slice(start, min(start + ROWS, items))
        near_RN = 1 / (1 + rbf.squared_distances(h_NK[rows], h_NK) / 4)
        p_RN = unit_NL[rows] @ unit_NL.T / total
        for of_pairs in (near_RN, p_RN):
            np.fill_diagonal(of_pairs[:, rows], 0)
        z += near_RN.sum()
        cross_entropy -= (p_RN * np.log(near_RN, where=near_RN > 0, out=np.zeros_like(near_RN))).sum()
        for weights_RN, sum_NK in ((p_RN * near_RN, pull_NK), (near_RN**2, push_NK)):
            sum_NK[rows] = weights_RN.sum(axis=1)[:, None] * h_NK[rows] - weights_RN @ h_NK
    return float(np.log(z) + cross_entropy), pull_NK - push_NK / z
