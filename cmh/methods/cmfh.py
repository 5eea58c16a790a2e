"""CMFH: collective matrix factorisation, one latent factor of both modalities and projections onto it.

Source: Ding, Guo and Zhou, Collective Matrix Factorization Hashing for Multimodal Data, CVPR 2014:

$$ min Σ_t α_t (‖X_t - V U_t‖² + μ ‖V - X_t W_t‖² + γ (‖U_t‖² + ‖W_t‖²)) + γ ‖V‖² $$

by turns, each in closed form; code = sign(V - its mean) of training items (unified), sign(X_t W_t) of others.
Unsupervised.  Deviation from the authors' released code: its expression for W_t, through the precedence of
MATLAB's operators, comes out divided by μ²; here it is the minimiser.  And V and W start as N(0, 1), there as
U(0, 1): columns of positive numbers are much alike, and where features are many the projections follow V so
closely that the turns hardly move it.  On emoji (1,280 and 2,000 features) all bits then stay nearly one, and
MAP near chance: .111 / .108 at 32 bits (image to text / text to image), .239 / .203 from N(0, 1).  On Wiki
(128 and 10) it makes no difference, .231 / .224 and .236 / .221.

Time O(N K (F + D) + (F + D)³) per step, memory O(N (F + D + K)).

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits.
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
    image_weight: float = 0.5  # the authors' demo: α of the image; the text has the rest of 1
    mu: float = 100.0  # the authors' demo
    gamma: float = 0.01  # the authors' demo
    steps: int = 25  # the authors' released code
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "mu", "steps")
        config_checks.not_negative(self, "gamma")
        config_checks.share(self, "image_weight")


class CMFH(LinearHashing):
    """Linear hash functions onto a factor that both modalities share."""

    reads_labels = "never"
    REVISION = 2

    config: Config

    def solve(
        self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int8]:
        mean_F, mean_D = image_NF.mean(axis=0), text_ND.mean(axis=0)
        v_NK, w_FK, w_DK = factorise(image_NF - mean_F, text_ND - mean_D, self.config, seed)
        self.image.keep(mean_F, w_FK)
        self.text.keep(mean_D, w_DK)
        return signs(v_NK - v_NK.mean(axis=0))


def factorise(x_NF: Matrix, y_ND: Matrix, config: Config, seed: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return the shared factor V (N, K) and the projections W onto it, (F, K) and (D, K)."""
    rng = np.random.default_rng(seed)
    views = ((x_NF, config.image_weight), (y_ND, 1 - config.image_weight))
    inverses = [linalg.cho_factor(config.mu * x.T @ x + config.gamma * np.eye(x.shape[1])) for x, _ in views]
    v_NK = rng.standard_normal((len(x_NF), config.bits))
    w = [rng.standard_normal((x.shape[1], config.bits)) for x, _ in views]
    for _ in range(config.steps):
        u = [linalg.solve(v_NK.T @ v_NK + config.gamma * np.eye(config.bits), v_NK.T @ x) for x, _ in views]
        v_NK = shared_factor(views, u, w, config)
        w = [
            config.mu * linalg.cho_solve(inverse, x.T @ v_NK)
            for (x, _), inverse in zip(views, inverses, strict=True)
        ]
    return v_NK, w[0], w[1]


def shared_factor(
    views: tuple[tuple[Matrix, float], ...], u: list[Matrix], w: list[Matrix], config: Config
) -> Matrix:
    """Return V = (Σ α X (Uᵀ + μ W)) (Σ α (U Uᵀ + (μ + γ) I))⁻¹."""
    right_KK = sum(
        alpha * (u_KF @ u_KF.T + (config.mu + config.gamma) * np.eye(config.bits))
        for (_, alpha), u_KF in zip(views, u, strict=True)
    )
    left_NK = sum(
        alpha * x @ (u_KF.T + config.mu * w_FK) for (x, alpha), u_KF, w_FK in zip(views, u, w, strict=True)
    )
    v_NK: Matrix = linalg.solve(right_KK, np.asarray(left_NK).T).T
    return v_NK
