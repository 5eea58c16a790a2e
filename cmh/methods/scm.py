"""SCM: semantic correlation maximisation, projections whose signs reproduce the similarity of labels.

Source: Zhang and Li, Large-Scale Supervised Multimodal Hashing with Semantic Correlation Maximization,
AAAI 2014.  With L̃ the label rows at unit length and S = 2 L̃L̃ᵀ - 11ᵀ the wanted similarity,

$$ min Σ_{ij} (1/K sgn(W_xᵀ x_i)ᵀ sgn(W_yᵀ y_j) - S_{ij})² $$

"seq" (algorithm 1) finds one bit after another, each the best pair for what the bits before it left over;
"orth" (section 3.2) drops the signs and takes all K pairs of one eigenproblem.  S is never formed:
XᵀSY = 2 (XᵀL̃)(YᵀL̃)ᵀ - (Xᵀ1)(Yᵀ1)ᵀ.  Deterministic.  Time O(N (F + D)² + K N (F + D)), memory O(N (F + D)).

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits, B = batch.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmh.hashing import config_checks, correlation
from cmh.hashing.projections import Matrix, signs, unit_rows
from cmh.hashing.shallow import LinearHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    solver: Literal["seq", "orth"] = "seq"  # the paper's better one
    exhausted: Literal["continue", "cca"] = "continue"  # the paper: see `sequential`
    ridge: float = 1e-6  # the authors' trainSCM_seq, on sums of squares
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits")
        config_checks.not_negative(self, "ridge")


class SCM(LinearHashing):
    """Linear hash functions, one bit at a time or all at once."""

    config: Config

    def solve(self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int) -> None:
        mean_F, mean_D = image_NF.mean(axis=0), text_ND.mean(axis=0)
        x_NF, y_ND = image_NF - mean_F, text_ND - mean_D
        wanted_FD = semantic_correlation(x_NF, y_ND, labels_NL)
        if self.config.solver == "orth":
            covariances = x_NF.T @ x_NF, y_ND.T @ y_ND
            wx_FK, wy_DK, _ = correlation.pairs(*covariances, wanted_FD, self.bits, ridge=self.config.ridge)
        else:
            wx_FK, wy_DK = sequential(x_NF, y_ND, wanted_FD, self.config)
        self.image.keep(mean_F, wx_FK)
        self.text.keep(mean_D, wy_DK)


def semantic_correlation(x_NF: Matrix, y_ND: Matrix, labels_NL: NDArray[np.bool_]) -> Matrix:
    """Return XᵀSY (F, D) with S = 2 L̃L̃ᵀ - 11ᵀ; an item without labels has L̃ = 0."""
    unit_NL = unit_rows(labels_NL.astype(np.float64))
    return 2 * (x_NF.T @ unit_NL) @ (y_ND.T @ unit_NL).T - np.outer(x_NF.sum(axis=0), y_ND.sum(axis=0))


def sequential(x_NF: Matrix, y_ND: Matrix, wanted_FD: Matrix, config: Config) -> tuple[Matrix, Matrix]:
    """Return projections (F, K), (D, K) of algorithm 1.

    A bit that agrees better than the one before it says that the greedy search overshot.  The paper goes on
    regardless ("continue"), and its figures are those of going on.  The authors' published code stops there
    and takes the bits that remain from CCA, its first columns in reverse ("cca"): on Wiki .2341 in place of
    .2210 at 16 bits, image to text.
    """
    bits, covariances = config.bits, (x_NF.T @ x_NF, y_ND.T @ y_ND)
    whitening = correlation.whiten(*covariances, config.ridge)
    left_FD = whitening.cross(bits * wanted_FD)
    directions: list[tuple[Matrix, Matrix]] = []
    last = np.inf
    for _ in range(bits):
        wx_F1, wy_D1, (strength,) = correlation.leading_pair(whitening, left_FD)
        if strength > last and config.exhausted == "cca":
            wx_FR, wy_DR, _ = correlation.pairs(
                *covariances, x_NF.T @ y_ND, bits - len(directions), ridge=config.ridge
            )
            directions.append((wx_FR[:, ::-1], wy_DR[:, ::-1]))
            break
        last = strength
        directions.append((wx_F1, wy_D1))
        left_FD -= whitening.outer(x_NF.T @ signs(x_NF @ wx_F1), y_ND.T @ signs(y_ND @ wy_D1))
    wx_FK, wy_DK = (np.hstack(side) for side in zip(*directions, strict=True))
    return wx_FK, wy_DK
