"""CCA: canonical correlation analysis as a hash, the signs of the K most correlated pairs of directions.

Source: Hotelling, Relations between two sets of variates, Biometrika 1936; as the hashing baseline of Gong
and Lazebnik, CVPR 2011, and of the SCM authors' code, whose ridge is the default.  Unsupervised: labels are
not read.  Time O(N (F + D)²), memory O(N (F + D)); beyond min(F, D) bits are noise
(`cmh.hashing.correlation.pairs`).

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits, B = batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmh.hashing import config_checks, correlation
from cmh.hashing.projections import Matrix
from cmh.hashing.shallow import LinearHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    ridge: float = 1e-6  # the SCM authors' trainCCA, on sums of squares
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits")
        config_checks.not_negative(self, "ridge")


class CCA(LinearHashing):
    """Linear hash functions from one eigenproblem."""

    reads_labels = "never"
    config: Config

    def solve(self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int) -> None:
        mean_F, mean_D = image_NF.mean(axis=0), text_ND.mean(axis=0)
        x_NF, y_ND = image_NF - mean_F, text_ND - mean_D
        directions = correlation.pairs(
            x_NF.T @ x_NF, y_ND.T @ y_ND, x_NF.T @ y_ND, self.bits, ridge=self.config.ridge
        )
        self.image.keep(mean_F, directions.wx_FK)
        self.text.keep(mean_D, directions.wy_DK)
