"""CMSSH: similarity-sensitive hashing, each bit a pair of thresholded projections, boosted one by one.

Source: Bronstein, Bronstein, Michel and Paragios, Data Fusion through Cross-modality Metric Learning using
Similarity-Sensitive Hashing, CVPR 2010.  Of pairs (image i, text j) with s = +1 where labels are shared, else
-1, and weights w summing to 1, a bit is

    the top singular pair (p, q) of Σ w s (x - x̄)(y - ȳ)ᵀ,
    thresholds (a, b) that maximise r = Σ w s sgn(pᵀx - a) sgn(qᵀy - b),

then AdaBoost reweighs: w ← w exp(-β s sgn(...) sgn(...)), normalised, with β = ½ log((1 + r) / (1 - r)).

Ours, since no reference code is public: pairs are drawn, half related and half unrelated, in place of all
N²; thresholds are sought on a grid of quantiles of the projections.
Time O(K (pairs F + F D min(F, D))), the latter for a full SVD per bit; memory O(pairs (F + D)): neither
grows with N.

Shape suffixes: N = training set, P = pairs, F = image features, D = text dimensions, L = labels, K = bits,
Q = quantiles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from cmh.hashing import config_checks
from cmh.hashing.projections import Matrix, signs
from cmh.hashing.shallow import LinearHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    pairs: int = 20_000  # ours: twice as many move Wiki's MAP by less than the spread of the seeds
    quantiles: int = 32  # ours: candidate thresholds per modality
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "pairs", "quantiles")


class CMSSH(LinearHashing):
    """Boosted linear hash functions with thresholds."""

    config: Config

    def solve(self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int) -> None:
        i_P, j_P, s_P = draw_pairs(labels_NL, self.config.pairs, np.random.default_rng(seed))
        mean_F, mean_D = image_NF.mean(axis=0), text_ND.mean(axis=0)
        x_PF, y_PD = (image_NF - mean_F)[i_P], (text_ND - mean_D)[j_P]
        weight_P = np.full(len(s_P), 1 / len(s_P))
        bits = []
        for _ in range(self.bits):
            p_F, q_D = best_directions(x_PF, y_PD, weight_P * s_P)
            px_P, qy_P = x_PF @ p_F, y_PD @ q_D
            a, b = best_thresholds(px_P, qy_P, weight_P * s_P, self.config.quantiles)
            bits.append((p_F, a, q_D, b))
            weight_P = reweigh(weight_P, s_P * signs(px_P - a) * signs(qy_P - b))
        p_KF, a_K, q_KD, b_K = (np.array(part) for part in zip(*bits, strict=True))
        self.image.keep(mean_F, p_KF.T, -a_K)
        self.text.keep(mean_D, q_KD.T, -b_K)


def draw_pairs(
    labels_NL: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """Return images, texts and s of at most `count` pairs.

    Half of them are related, half not, as far as the draws give.

    Raises:
        ValueError: no pair is related, or every one is.
    """
    drawn = max(16 * count, 1000)  # so that a relation of one pair in 32 still gives enough
    i_P, j_P = rng.integers(len(labels_NL), size=(2, drawn))
    related_P = (labels_NL[i_P] & labels_NL[j_P]).any(axis=1)
    halves = [np.flatnonzero(related_P == value)[: count // 2] for value in (True, False)]
    if not all(len(rows) for rows in halves):
        raise ValueError(
            f"of {drawn} pairs of training items {related_P.sum()} share a label; "
            "this method learns from pairs that do and pairs that do not"
        )
    rows_P = np.concatenate(halves)
    return i_P[rows_P], j_P[rows_P], np.where(related_P[rows_P], 1, -1).astype(np.int8)


def best_directions(x_PF: Matrix, y_PD: Matrix, signed_P: Matrix) -> tuple[Matrix, Matrix]:
    """Return the top singular pair of Σ w s x yᵀ, its largest image component positive."""
    u_FX, _, vt_XD = linalg.svd((x_PF * signed_P[:, None]).T @ y_PD, full_matrices=False)
    flip = np.sign(u_FX[np.abs(u_FX[:, 0]).argmax(), 0])
    return u_FX[:, 0] * flip, vt_XD[0] * flip


def best_thresholds(px_P: Matrix, qy_P: Matrix, signed_P: Matrix, quantiles: int) -> tuple[float, float]:
    """Return (a, b) of the grid with the largest Σ w s sgn(px - a) sgn(qy - b).

    With M the sum of w s below both thresholds, X and Y below one, T of all: Σ = 4 M - 2 X - 2 Y + T.
    """
    grid = np.linspace(0, 1, quantiles + 2)[1:-1]
    a_Q, b_Q = np.quantile(px_P, grid), np.quantile(qy_P, grid)
    cell_P = np.searchsorted(a_Q, px_P, side="right") * (quantiles + 1) + np.searchsorted(
        b_Q, qy_P, side="right"
    )
    mass_QQ = np.bincount(cell_P, signed_P, (quantiles + 1) ** 2).reshape(quantiles + 1, quantiles + 1)
    below_QQ = mass_QQ.cumsum(axis=0).cumsum(axis=1)
    x_Q1, y_1Q, total = below_QQ[:-1, -1:], below_QQ[-1:, :-1], below_QQ[-1, -1]
    score_QQ = 4 * below_QQ[:-1, :-1] - 2 * x_Q1 - 2 * y_1Q + total
    a, b = np.unravel_index(score_QQ.argmax(), score_QQ.shape)
    return float(a_Q[a]), float(b_Q[b])


def reweigh(weight_P: Matrix, agree_P: NDArray[np.int8]) -> Matrix:
    """Return AdaBoost's next weights: pairs that the bit gets wrong (agree = -1) count more."""
    r = np.clip((weight_P * agree_P).sum(), -1 + 1e-12, 1 - 1e-12)
    beta = 0.5 * np.log((1 + r) / (1 - r))
    raised_P = weight_P * np.exp(-beta * agree_P)
    next_P: Matrix = raised_P / raised_P.sum()
    return next_P
