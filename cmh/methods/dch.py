r"""DCH: discrete cross-modal hashing, codes that classify linearly and hash functions regressed onto them.

Source: Xu, Shen, Yang, Shen and Li, Learning Discriminative Binary Codes for Large-scale Cross-modal
Retrieval, TIP 2017:

$$ min ‖Y - B W‖² + λ ‖W‖² + μ Σ_t ‖B - φ_t P_t‖²,   B ∈ \{-1, +1\} $$

by turns: W and P_t by ridge regression, B bit by bit, each the exact minimiser given the others.
φ are RBF kernel features; hash codes are sign(φ P), and B are the unified codes of the training items.

The paper does not say how P is regularised, and texts of few dimensions mind: on Wiki, 16 bits, text to image
is .41, .40, .37, .31 and .22 with a ridge of 1e-6, 1e-4, 1e-3, 1e-2 and 1 (image to text .23 to .25).

Time O(N M² + N K (M + K + L)) per step, memory O(N (M + K)).

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits, M = bases.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from cmh.hashing import config_checks, rbf
from cmh.hashing.projections import Matrix
from cmh.hashing.shallow import KernelHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    bases: int = 500  # ours: the kernel SDH and SePH use
    lambda_: float = 1.0  # the paper
    mu: float = 1e-2  # ours: recalled of the paper, not confirmed
    ridge: float = 1e-6  # ours: only so that P is defined; see above
    steps: int = 10  # ours: the objective falls by less than 1e-4 of itself after that, on Wiki
    sweeps: int = 10  # ours: passes over the bits within a step, at most; most end after 3
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "bases", "lambda_", "steps", "sweeps")
        config_checks.not_negative(self, "mu", "ridge")


class DCH(KernelHashing):
    """Kernel hash functions onto binary codes from which the labels can be read."""

    config: Config

    def solve(
        self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int8]:
        sides = ((self.image, image_NF), (self.text, text_ND))
        phi = [rbf.rbf(x, side.choose(x, "random", seed), float(side.variance)) for side, x in sides]
        b_NK, p = discrete_codes(phi, labels_NL.astype(np.float64), self.config, seed)
        for (side, _), p_MK in zip(sides, p, strict=True):
            side.keep(p_MK)
        return b_NK.astype(np.int8)


def discrete_codes(phi: list[Matrix], y_NL: Matrix, config: Config, seed: int) -> tuple[Matrix, list[Matrix]]:
    """Return B (N, K) in {-1, +1} and the projections P (M, K) of each modality."""
    b_NK = np.where(np.random.default_rng(seed).random((len(y_NL), config.bits)) < 0.5, -1.0, 1.0)
    grams = [linalg.cho_factor(f.T @ f + config.ridge * np.eye(f.shape[1])) for f in phi]
    for _ in range(config.steps):
        w_KL = linalg.solve(b_NK.T @ b_NK + config.lambda_ * np.eye(config.bits), b_NK.T @ y_NL)
        predicted = [f @ linalg.cho_solve(gram, f.T @ b_NK) for f, gram in zip(phi, grams, strict=True)]
        q_NK = y_NL @ w_KL.T + config.mu * np.sum(predicted, axis=0)
        descend(b_NK, q_NK, w_KL, config.sweeps)
    return b_NK, [linalg.cho_solve(gram, f.T @ b_NK) for f, gram in zip(phi, grams, strict=True)]


def descend(b_NK: Matrix, q_NK: Matrix, w_KL: Matrix, sweeps: int) -> None:
    """Minimise ‖B W‖² - 2 tr(Bᵀ Q) over the bits of B in turn: b = sgn(q - B' W' w), until none changes."""
    gram_KK = w_KL @ w_KL.T
    np.fill_diagonal(gram_KK, 0)
    for _ in range(sweeps):
        before_NK = b_NK.copy()
        for k in range(b_NK.shape[1]):
            b_NK[:, k] = np.where(q_NK[:, k] - b_NK @ gram_KK[:, k] >= 0, 1, -1)
        if (b_NK == before_NK).all():
            return
