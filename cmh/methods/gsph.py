"""GSPH: generalised semantic preserving hashing, codes whose inner products are similarities.

Source: Mandal, Chaudhury and Biswas, Generalized Semantic Preserving Hashing for n-Label Cross-Modal
Retrieval, CVPR 2017, for paired data.  With S the cosine of label rows (1 or 0 where items have one label),

$$ min ‖K S - A Bᵀ‖²,   A, B ∈ [-1, 1] $$

one column after another, A's then B's (A for images, B for texts), each the clipped least-squares solution;
then the signs, and one kernel logistic regression per bit and modality, as in SePH (`cmh.methods.seph`).
The unified code of an item adds the probabilities of both modalities, 0.5 each.

S has the rank of the labels, so K S b = K L̂ (L̂ᵀ b): time O(N K (K + L)) per iteration and memory
O(N (K + L + M)); the paper's N × N matrix is never formed.

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits, M = bases.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cmh.hashing import config_checks
from cmh.hashing.kernel_logistic import regress
from cmh.hashing.projections import Matrix, signs, unit_rows
from cmh.hashing.rbf import Choice
from cmh.hashing.shallow import KernelHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    bases_from: Choice = "random"  # the authors' code
    bases: int = 500  # as SePH; the authors' log has 50
    steps: int = 100  # the authors' generate_hash_codes6, at most
    tolerance: float = 1e-6  # the authors' generate_hash_codes6, relative fall of the objective
    penalty: float = 0.01  # as SePH
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "bases", "steps", "penalty")
        config_checks.not_negative(self, "tolerance")


class GSPH(KernelHashing):
    """Kernel hash functions that predict factors of the label similarity."""

    config: Config

    def solve(
        self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int8]:
        a_NK, b_NK = factors(unit_rows(labels_NL.astype(np.float64)), self.config, seed)
        probability_NK = np.zeros(a_NK.shape)
        for hash_function, x, h_NK in ((self.image, image_NF, a_NK), (self.text, text_ND, b_NK)):
            bases_MF = hash_function.choose(x, self.config.bases_from, seed)
            probability_NK += expit(regress(hash_function, x, bases_MF, signs(h_NK), self.config.penalty)) / 2
        return signs(probability_NK - 0.5)


def factors(unit_NL: Matrix, config: Config, seed: int) -> tuple[Matrix, Matrix]:
    """Return a and B, (N, K) each, of K L̂L̂ᵀ ≈ A Bᵀ."""
    rng = np.random.default_rng(seed)
    a_NK, b_NK = rng.uniform(-1, 1, size=(2, len(unit_NL), config.bits))
    last = np.inf
    for _ in range(config.steps):
        improve(a_NK, b_NK, unit_NL)
        improve(b_NK, a_NK, unit_NL)
        error = residual(a_NK, b_NK, unit_NL)
        if last - error < config.tolerance * error:
            break
        last = error
    return a_NK, b_NK


def improve(a_NK: Matrix, b_NK: Matrix, unit_NL: Matrix) -> None:
    """Replace the columns of A in turn: a = clip(R b / bᵀb), R = K S - Σ of the other columns' a bᵀ."""
    bits = a_NK.shape[1]
    wanted_NK = bits * (unit_NL @ (unit_NL.T @ b_NK))
    gram_KK = b_NK.T @ b_NK
    for k in range(bits):
        if gram_KK[k, k] > 0:  # a column of zeros explains nothing, whatever stands beside it
            left_N = wanted_NK[:, k] - a_NK @ gram_KK[:, k] + a_NK[:, k] * gram_KK[k, k]
            a_NK[:, k] = np.clip(left_N / gram_KK[k, k], -1, 1)


def residual(a_NK: Matrix, b_NK: Matrix, unit_NL: Matrix) -> float:
    """Return ‖K L̂L̂ᵀ - A Bᵀ‖², from small products only."""
    bits = a_NK.shape[1]
    similarity = bits**2 * ((unit_NL.T @ unit_NL) ** 2).sum()
    mixed = bits * ((unit_NL.T @ a_NK) * (unit_NL.T @ b_NK)).sum()
    return float(similarity - 2 * mixed + ((a_NK.T @ a_NK) * (b_NK.T @ b_NK)).sum())
