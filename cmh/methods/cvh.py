"""CVH: cross-view hashing, the directions that bring the two views of an item together.

Source: Kumar and Udupa, Learning Hash Functions for Cross-View Similarity Search, IJCAI 2011.  For two views
and items that resemble only themselves, its generalised eigenproblem

$$ C_{xy} w_y = λ C_{xx} w_x,   C_{yx} w_x = λ C_{yy} w_y $$

is that of CCA; what differs is the ridge, which is a share of the mean variance here and so independent of
the number of items and the scale of the features.  The baseline's widely copied MATLAB code leaves out the
inverse of Cyy and does not centre; this is the paper's form.  Labels are not read.

Time O(N (F + D)²), memory O(N (F + D)); beyond min(F, D) bits are noise (`cmh.hashing.correlation.pairs`).

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits.
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
    ridge: float = 1e-4  # the MATLAB code's figure; a share of the mean variance is ours
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits")
        config_checks.not_negative(self, "ridge")


class CVH(LinearHashing):
    """Linear hash functions from one eigenproblem."""

    reads_labels = "never"
    config: Config

    def solve(self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int) -> None:
        mean_F, mean_D = image_NF.mean(axis=0), text_ND.mean(axis=0)
        x_NF, y_ND = (unit_variance(x) for x in (image_NF - mean_F, text_ND - mean_D))
        directions = correlation.pairs(
            x_NF.T @ x_NF, y_ND.T @ y_ND, x_NF.T @ y_ND, self.bits, ridge=self.config.ridge
        )
        self.image.keep(mean_F, directions.wx_FK)
        self.text.keep(mean_D, directions.wy_DK)


def unit_variance(x_NF: Matrix) -> Matrix:
    """Centre features and scale them as one so that the mean diagonal element of XᵀX is 1.

    A constant view stays as it is.
    """
    return x_NF / (np.sqrt((x_NF**2).sum() / x_NF.shape[1]) or 1.0)
