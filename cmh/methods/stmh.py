"""STMH: semantic topic multimodal hashing, texts as sets of topics and images as mixtures of concepts.

Source: Wang, Gao, Wang and He, Semantic Topic Multimodal Hashing for Cross-Media Retrieval, IJCAI 2015, as in
the published MATLAB code.  Topics F2 (D, K) are centres of texts; a text belongs to exactly K / 2 of them
(G2, 0 or 1).  Images factor robustly into concepts F1 (F, K) and loadings G1, and R maps loadings to topics:

    min r1 Σ_n ‖x_n - F1 g1_n‖ + r2 Σ_n Σ_{k ∈ topics of n} ‖y_n - f2_k‖² + λ ‖G2 - G1 R‖² + γ (norms)

by turns; d_n = r1 / 2‖x_n - F1 g1_n‖ turns the first term into least squares.  A text's code marks its K / 2
nearest topics; an image's the K / 2 largest of x F1 (F1ᵀF1 + γ/r1 I)⁻¹ R.  Unsupervised.

Deviations from the code: F2 minimises the objective above (means of the texts of each topic), where the code
solves with G2ᵀG2; items' systems are solved together, through one eigendecomposition (same result); K / 2 is
rounded down.  The terms are not of one scale: with features of small norm λ outweighs the texts, and has to
fall with their squared norm (Wiki, 64 bits, image to text: .15 at the default, .19 at λ = 0.005).  λ is not
what keeps the method weak on emoji, 32 bits: .18 / .17 (image to text / text to image) at the default, and no
more than .19 / .19 from 0.0005 to 50.
Time O(N K (F + D + K)) per step, memory O(N (F + D + K)).

Shape suffixes: N = training set, B = batch, F = image features, D = text dimensions, L = labels, K = bits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor, nn

from cmh.data.batches import Stages
from cmh.hashing import config_checks, projections, rbf
from cmh.hashing.method import Inputs, Method
from cmh.hashing.projections import Matrix, Projection

TINY = np.finfo(float).eps  # under the root of a residual that may be 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    image_weight: float = 0.5  # the demo: r1; the text has the rest of 1
    lambda_: float = 0.5  # the demo
    gamma: float = 1e-4  # the demo
    steps: int = 10  # the demo
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "lambda_", "steps")
        config_checks.not_negative(self, "gamma")
        config_checks.share(self, "image_weight")


class STMH(Method):
    """A linear hash function of images, and nearest topics of texts."""

    reads_labels = "never"
    topic_KD: Tensor

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.bits, self.stages, self.config, self.backbone = config.bits, config.stages, config, backbone
        self.image = Projection(projections.pooled_size(inputs, config.stages), config.bits)
        self.register_buffer("topic_KD", torch.zeros(config.bits, inputs.text_dim, dtype=torch.float64))

    def solve(self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int) -> None:
        f1_FK, f2_DK, r_KK = topics(image_NF, text_ND, self.config, seed)
        ridge = self.config.gamma / self.config.image_weight
        loadings_FK = linalg.solve(f1_FK.T @ f1_FK + ridge * np.eye(self.bits), f1_FK.T).T
        self.image.keep(np.zeros(image_NF.shape[1]), loadings_FK @ r_KK)
        self.topic_KD.copy_(torch.from_numpy(f2_DK.T))

    def encode_image(self, image: Stages) -> Tensor:
        return above_half(self.image(projections.pooled(self.backbone(*image), self.stages)))

    def encode_text(self, text_BD: Tensor) -> Tensor:
        return above_half(-torch.cdist(text_BD.double(), self.topic_KD))


def above_half(score_BK: Tensor) -> Tensor:
    """Return scores less a threshold between the K / 2 largest of each row and the rest."""
    ascending_BK = score_BK.sort(dim=1).values
    below = score_BK.shape[1] - score_BK.shape[1] // 2
    if below == score_BK.shape[1]:  # one bit alone: no half to be above
        return score_BK
    return score_BK - (ascending_BK[:, [below - 1]] + ascending_BK[:, [below]]) / 2


def topics(x_NF: Matrix, y_ND: Matrix, config: Config, seed: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return concepts F1 (F, K), topics F2 (D, K) and the map R (K, K) between them."""
    rng = np.random.default_rng(seed)
    bits, r1, r2 = config.bits, config.image_weight, 1 - config.image_weight
    ridge_KK = config.gamma / r1 * np.eye(bits)
    g1_NK = rng.normal(size=(len(x_NF), bits))
    g2_NK = largest_half(rng.random((len(x_NF), bits)))
    d_N1 = np.ones((len(x_NF), 1))
    f1_FK, f2_DK, r_KK = np.zeros((x_NF.shape[1], bits)), np.zeros((y_ND.shape[1], bits)), np.eye(bits)
    for _ in range(config.steps):
        weighted_NK = d_N1 * g1_NK
        f1_FK = linalg.solve(g1_NK.T @ weighted_NK + ridge_KK, weighted_NK.T @ x_NF).T
        f2_DK = y_ND.T @ g2_NK / (g2_NK.sum(axis=0) + config.gamma / r2)
        r_KK = linalg.solve(g1_NK.T @ g1_NK + config.gamma / config.lambda_ * np.eye(bits), g1_NK.T @ g2_NK)
        g1_NK = loadings(x_NF, g2_NK, f1_FK, r_KK, d_N1, config)
        distance_NK = rbf.squared_distances(y_ND, f2_DK.T)
        g2_NK = largest_half(2 * config.lambda_ * (g1_NK @ r_KK) - r2 * distance_NK)
        d_N1 = r1 / 2 / np.sqrt(((x_NF - g1_NK @ f1_FK.T) ** 2).sum(axis=1, keepdims=True) + TINY)
    return f1_FK, f2_DK, r_KK


def loadings(
    x_NF: Matrix, g2_NK: Matrix, f1_FK: Matrix, r_KK: Matrix, d_N1: Matrix, config: Config
) -> Matrix:
    """Return G1 (N, K): each row g solves g (d r1 F1ᵀF1 + λ R Rᵀ + γ I) = d r1 x F1 + λ g2 Rᵀ.

    With F1ᵀF1 r1 = V^-ᵀ Λ V⁻¹ and the rest V^-ᵀ V⁻¹ (one generalised eigenproblem), the inverse is
    V (d Λ + I)⁻¹ Vᵀ: diagonal for each item.
    """
    left_NK = config.image_weight * d_N1 * (x_NF @ f1_FK) + config.lambda_ * g2_NK @ r_KK.T
    rest_KK = config.lambda_ * r_KK @ r_KK.T + config.gamma * np.eye(config.bits)
    scale_K, v_KK = linalg.eigh(config.image_weight * f1_FK.T @ f1_FK, rest_KK)
    g1_NK: Matrix = (left_NK @ v_KK) / (d_N1 * scale_K + 1) @ v_KK.T
    return g1_NK


def largest_half(score_NK: Matrix) -> Matrix:
    """Return 1 at the K / 2 largest scores of each row, else 0."""
    chosen_NK = np.zeros(score_NK.shape)
    half = score_NK.shape[1] // 2
    np.put_along_axis(chosen_NK, np.argsort(-score_NK, axis=1, kind="stable")[:, :half], 1, axis=1)
    return chosen_NK
