"""Kernel logistic regression of all bits at once, over the same bases.

$$ min_W  Σ_n Σ_k log(1 + exp(-b_{nk} (k_n W)_k)) + C tr(Wᵀ K_{MM} W) $$

k_n is the kernel of item n with the bases, K_MM that of the bases with each other.  These are the hash
functions of SePH and GSPH, whose authors solve one bit after another.

All bits share one bound of the curvature, KᵀK / 4 + 2C K_MM (Böhning and Lindsay 1988).  After a change of
coordinates that makes this bound the identity, one run of L-BFGS solves all bits, at the cost of a few
hundred products (N, M) × (M, K).

Shape suffixes: N = training set, M = bases, R = directions that the bases span, K = bits.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize
from scipy.special import expit

from cmh.hashing.projections import Matrix
from cmh.hashing.rbf import KernelProjection, rbf

SPAN = 1e-10  # eigenvalues of K_MM below this share of the largest are rounding errors


def regress(
    hash_function: KernelProjection,
    x_NF: Matrix,
    bases_MF: Matrix,
    codes_NK: NDArray[np.int8],
    penalty: float,
) -> Matrix:
    """Fit a hash function, over the bases it has chosen, to given codes.

    Args:
        hash_function: changed in place; `KernelProjection.choose` must have been called.
        x_NF: features of the training items, float64.
        bases_MF: the bases in use, the result of `choose`.
        codes_NK: target codes in {-1, +1}, int8.
        penalty: C.

    Returns:
        The logits of the training items, float64 (N, K).
    """
    variance = float(hash_function.variance)
    kernel_NM, kernel_MM = rbf(x_NF, bases_MF, variance), rbf(bases_MF, bases_MF, variance)
    weight_MK = fit(kernel_NM, kernel_MM, codes_NK, penalty)
    hash_function.keep(weight_MK)
    return kernel_NM @ weight_MK


def fit(
    kernel_NM: Matrix, kernel_MM: Matrix, codes_NK: NDArray[np.int8], penalty: float, *, steps: int = 500
) -> Matrix:
    """Return the weights W (M, K) of the K regressions.

    Args:
        kernel_NM: kernel of the items with the bases, float64.
        kernel_MM: kernel of the bases with each other, float64.
        codes_NK: target codes in {-1, +1}, int8.
        penalty: C.
        steps: largest number of L-BFGS iterations; it stops earlier once the loss falls by less than 1e-9 of
            its value.
    """
    strength_R, direction_MR = linalg.eigh(kernel_MM)
    spanned_R = strength_R > SPAN * strength_R[-1]
    map_MR = direction_MR[:, spanned_R] / np.sqrt(strength_R[spanned_R])
    features_NR = kernel_NM @ map_MR
    curvature_RR = features_NR.T @ features_NR / 4 + 2 * penalty * np.eye(features_NR.shape[1])
    factor_RR = linalg.cholesky(curvature_RR, lower=True)
    inverse_RR = linalg.solve_triangular(factor_RR, np.eye(len(factor_RR)), lower=True).T
    features_NR, shape = features_NR @ inverse_RR, (features_NR.shape[1], codes_NK.shape[1])
    sign_NK = codes_NK.astype(np.float64)

    def objective(flat: Matrix) -> tuple[float, Matrix]:
        u_RK = flat.reshape(shape)
        margin_NK = sign_NK * (features_NR @ u_RK)
        w_RK = inverse_RR @ u_RK
        loss = np.logaddexp(0, -margin_NK).sum() + penalty * (w_RK**2).sum()
        slope_RK = -features_NR.T @ (sign_NK * expit(-margin_NK)) + 2 * penalty * inverse_RR.T @ w_RK
        return float(loss), slope_RK.ravel()

    solution = optimize.minimize(
        objective,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-9, "gtol": 1e-6},
    )
    weight_MK: Matrix = map_MR @ (inverse_RR @ solution.x.reshape(shape))
    return weight_MK
