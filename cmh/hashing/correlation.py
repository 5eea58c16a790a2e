"""Find pairs of directions along which two modalities correlate: the eigenproblem of CCA, CVH and SCM.

Shape suffixes: F, D = features of the two modalities, K = pairs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import svds

Matrix = NDArray[np.float64]


class Pairs(NamedTuple):
    """The directions of both modalities, the most correlated pair first."""

    wx_FK: Matrix
    wy_DK: Matrix
    strength_K: Matrix  # strength of each pair's correlation: the square of the singular value


class Whitening(NamedTuple):
    """The lower Cholesky factors Lx and Ly of both covariances."""

    x_FF: Matrix
    y_DD: Matrix

    def cross(self, cxy_FD: Matrix) -> Matrix:
        """Return the cross-covariance in whitened coordinates, Lx⁻¹ Cxy Ly⁻ᵀ."""
        half_FD = linalg.solve_triangular(self.x_FF, cxy_FD, lower=True)
        cross_FD: Matrix = linalg.solve_triangular(self.y_DD, half_FD.T, lower=True).T
        return cross_FD

    def outer(self, x_F1: Matrix, y_D1: Matrix) -> Matrix:
        """Return `cross` of the matrix x yᵀ, computed from the two vectors without forming the matrix."""
        whitened_F1 = linalg.solve_triangular(self.x_FF, x_F1, lower=True)
        outer_FD: Matrix = whitened_F1 @ linalg.solve_triangular(self.y_DD, y_D1, lower=True).T
        return outer_FD

    def directions(self, u_FK: Matrix, v_DK: Matrix) -> tuple[Matrix, Matrix]:
        """Return directions in the original coordinates, given those in whitened coordinates.

        Args:
            u_FK: directions of the first modality.
            v_DK: directions of the second modality.

        Returns:
            Lx⁻ᵀ u (F, K) and Ly⁻ᵀ v (D, K).
        """
        return (
            linalg.solve_triangular(self.x_FF, u_FK, lower=True, trans="T"),
            linalg.solve_triangular(self.y_DD, v_DK, lower=True, trans="T"),
        )


def whiten(cxx_FF: Matrix, cyy_DD: Matrix, ridge: float) -> Whitening:
    """Return the Cholesky factors of the covariances with `ridge` added to their diagonals.

    Raises:
        ValueError: a covariance is singular despite the ridge.
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

    At most min(F, D) pairs carry information (the rank of Cxy).  As in the published code, the function
    returns the other pairs as well.  They consist of rounding errors, and as noise they make retrieval worse:
    this is why the published figures of CCA and SCM-orth fall with the number of bits.

    Args:
        cxx_FF: covariance of the first modality, float64.
        cyy_DD: covariance of the second modality, float64.
        cxy_FD: cross-covariance, float64.
        count: K, the number of pairs.
        ridge: number added to the diagonals of both covariances.

    Returns:
        K pairs, the largest λ first.

    Raises:
        ValueError: more pairs than the larger modality has features, or a singular covariance.
    """
    features, dimensions = cxy_FD.shape
    if features < dimensions:  # swap, so that the larger modality has enough directions
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
    """Return the best pair (K = 1), given the cross-covariance (F, D) in whitened coordinates."""
    if min(cross_FD.shape) < 64:
        u_FX, singular_X, vt_XD = linalg.svd(cross_FD, full_matrices=False)
    else:
        start = np.ones(min(cross_FD.shape))  # a fixed start; ARPACK's own is random
        u_FX, singular_X, vt_XD = svds(cross_FD, k=1, v0=start)
    u_F1 = u_FX[:, :1]
    flip = np.sign(u_F1[np.abs(u_F1).argmax()])
    wx_F1, wy_D1 = whitening.directions(u_F1 * flip, vt_XD[:1].T * flip)
    return Pairs(wx_F1, wy_D1, singular_X[:1] ** 2)


def _fix_signs(u_FK: Matrix) -> Matrix:
    """Return eigenvectors with the largest component positive: LAPACK libraries differ in the sign."""
    largest_K = np.abs(u_FK).argmax(axis=0)
    sign_K: Matrix = np.sign(u_FK[largest_K, np.arange(u_FK.shape[1])])
    return u_FK * sign_K
