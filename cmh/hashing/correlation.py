"""Pairs of directions along which two modalities agree: the eigenproblem of CCA, CVH and SCM.

Shape suffixes: F, D = features of the two modalities, K = pairs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import svds

Matrix = NDArray[np.float64]


class Pairs(NamedTuple):
    """Directions of both modalities, best first."""

    wx_FK: Matrix
    wy_DK: Matrix
    strength_K: Matrix  # how well each pair agrees: the square of the singular value


class Whitening(NamedTuple):
    """Lower Cholesky factors of both covariances."""

    x_FF: Matrix
    y_DD: Matrix

    def cross(self, cxy_FD: Matrix) -> Matrix:
        """Return the cross-covariance as seen in whitened coordinates, Lx⁻¹ Cxy Ly⁻ᵀ."""
        half_FD = linalg.solve_triangular(self.x_FF, cxy_FD, lower=True)
        cross_FD: Matrix = linalg.solve_triangular(self.y_DD, half_FD.T, lower=True).T
        return cross_FD

    def outer(self, x_F1: Matrix, y_D1: Matrix) -> Matrix:
        """Return `cross` of x yᵀ, from the two vectors alone."""
        whitened_F1 = linalg.solve_triangular(self.x_FF, x_F1, lower=True)
        outer_FD: Matrix = whitened_F1 @ linalg.solve_triangular(self.y_DD, y_D1, lower=True).T
        return outer_FD

    def directions(self, u_FK: Matrix, v_DK: Matrix) -> tuple[Matrix, Matrix]:
        """Return directions in the original coordinates of those in whitened ones."""
        return (
            linalg.solve_triangular(self.x_FF, u_FK, lower=True, trans="T"),
            linalg.solve_triangular(self.y_DD, v_DK, lower=True, trans="T"),
        )


def whiten(cxx_FF: Matrix, cyy_DD: Matrix, ridge: float) -> Whitening:
    """Return factors of the covariances plus `ridge` on their diagonals.

    Raises:
        ValueError: a covariance that is singular even so.
    """
    try:
        x_FF, y_DD = (linalg.cholesky(c + ridge * np.eye(len(c)), lower=True) for c in (cxx_FF, cyy_DD))
    except linalg.LinAlgError:
        raise ValueError(
            f"the covariance of a modality is singular with ridge {ridge}; "
            "raise the ridge, or remove features that repeat others"
        ) from None
    return Whitening(x_FF, y_DD)


def pairs(cxx_FF: Matrix, cyy_DD: Matrix, cxy_FD: Matrix, count: int, *, ridge: float) -> Pairs:
    """Return the `count` best solutions of Cxy Cyy⁻¹ Cyx wx = λ Cxx wx, with wy = Cyy⁻¹ Cyx wx / √λ.

    No more than min(F, D) pairs carry anything (the rank of Cxy).  As in the published code the others are
    there all the same, as rounding leaves them: noise that costs retrieval, which is why published figures
    of CCA and SCM-orth fall with the number of bits.

    Raises:
        ValueError: more pairs than the larger modality has features, or a singular covariance.
    """
    features, dimensions = cxy_FD.shape
    if features < dimensions:  # the larger side leads, so that there are directions enough
        wy_DK, wx_FK, strength_K = pairs(cyy_DD, cxx_FF, cxy_FD.T, count, ridge=ridge)
        return Pairs(wx_FK, wy_DK, strength_K)
    if count > features:
        raise ValueError(
            f"{count} bits were asked of features of {features} and {dimensions} dimensions; "
            f"this method gives at most {features}"
        )
    whitening = whiten(cxx_FF, cyy_DD, ridge)
    cross_FD = whitening.cross(cxy_FD)
    strength_K, u_FK = linalg.eigh(cross_FD @ cross_FD.T, subset_by_index=(features - count, features - 1))
    strength_K, u_FK = strength_K[::-1], _fix_signs(u_FK[:, ::-1])
    v_DK = cross_FD.T @ u_FK / np.sqrt(np.maximum(strength_K, np.finfo(float).tiny))
    return Pairs(*whitening.directions(u_FK, v_DK), strength_K)


def leading_pair(whitening: Whitening, cross_FD: Matrix) -> Pairs:
    """Return the best pair (K = 1) of a whitened cross-covariance."""
    if min(cross_FD.shape) < 64:
        u_FX, singular_X, vt_XD = linalg.svd(cross_FD, full_matrices=False)
    else:
        start = np.ones(min(cross_FD.shape))  # ARPACK otherwise begins at random
        u_FX, singular_X, vt_XD = svds(cross_FD, k=1, v0=start)
    u_F1 = u_FX[:, :1]
    flip = np.sign(u_F1[np.abs(u_F1).argmax()])
    wx_F1, wy_D1 = whitening.directions(u_F1 * flip, vt_XD[:1].T * flip)
    return Pairs(wx_F1, wy_D1, singular_X[:1] ** 2)


def _fix_signs(u_FK: Matrix) -> Matrix:
    """Return Eigenvectors with their largest component positive, so that all LAPACKs agree."""
    largest_K = np.abs(u_FK).argmax(axis=0)
    sign_K: Matrix = np.sign(u_FK[largest_K, np.arange(u_FK.shape[1])])
    return u_FK * sign_K
