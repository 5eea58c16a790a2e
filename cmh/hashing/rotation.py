"""ITQ: rotate projected data so that its signs lose as little as possible.

Source: Gong and Lazebnik, Iterative Quantization: A Procrustean Approach to Learning Binary Codes, CVPR 2011;
with Gordo and Perronnin, TPAMI 35(12), 2013.

Shape suffixes: N = items, K = bits.
"""

import numpy as np
from scipy import linalg

from cmh.hashing.projections import Matrix


def rotation(z_NK: Matrix, steps: int, seed: int) -> Matrix:
    """Return an orthogonal R (K, K) that makes ‖B - Z R‖² small, B = sign(Z R).

    From a random rotation, by turns: B = sign(Z R), with sign(0) = +1; then, the SVD of Bᵀ Z being S Ω Ŝᵀ,
    R = Ŝ Sᵀ, the best rotation for this B (section 2.2 of the paper).

    Args:
        z_NK: centred projections, float64.
        steps: number of turns.
        seed: seed of the first rotation.
    """
    bits = z_NK.shape[1]
    r_KK: Matrix = np.linalg.qr(np.random.default_rng(seed).standard_normal((bits, bits)))[0]
    for _ in range(steps):
        b_NK = np.where(z_NK @ r_KK >= 0, 1.0, -1.0)
        s_KK, _, hat_KK = linalg.svd(b_NK.T @ z_NK)
        r_KK = (s_KK @ hat_KK).T
    return r_KK


def leading_directions(covariance_FF: Matrix, count: int) -> Matrix:
    """Return the eigenvectors (F, K) of the `count` largest eigenvalues, the largest first.

    The largest component of each is positive, because LAPACK libraries differ in the sign.

    Raises:
        ValueError: more directions than features.
    """
    features = len(covariance_FF)
    if count > features:
        raise ValueError(f"{count} bits were asked of {features} features; this method gives one a feature")
    _, w_FK = linalg.eigh(covariance_FF, subset_by_index=(features - count, features - 1))
    w_FK = w_FK[:, ::-1]
    largest_K = np.abs(w_FK).argmax(axis=0)
    directions_FK: Matrix = w_FK * np.sign(w_FK[largest_K, np.arange(count)])
    return directions_FK
