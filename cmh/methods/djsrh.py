r"""DJSRH: Deep Joint-Semantics Reconstructing Hashing, without labels: codes rebuild cosines of features.

Source: Su, Zhong and Zhang, ICCV 2019, 3027-3035, and the authors' code (commit 6041c2d).

Features x of images and y of texts give S_I = 2 cos(x_i, x_j) - 1, S_T likewise, and over a batch of B pairs

$$ \tilde S = β S_I + (1 - β) S_T,   S = μ [(1 - η) \tilde S + η \tilde S \tilde Sᵀ / B] $$

With codes u = tanh(a f) and v alike, of unit length, a = sqrt(epoch + 1), and mse a mean over all B² pairs:

$$ L = λ₁ mse(u uᵀ, S) + mse(u vᵀ, S) + λ₂ mse(v vᵀ, S) $$

μ = 1.5 lets S exceed 1, which no cosine reaches: pairs are to be as near as they can.  `a` stays as the best
epoch had it.

Differences from the paper and the code: features are those of the backbone's last stage in place of AlexNet's
fc7, and the image tower one linear layer on them; one learning rate for both towers (the code has 10⁻³ for a
whole AlexNet and 10⁻² for texts on MIRFlickr, 10⁻² for both on Wiki); `calibrate` is ours, see
`cmh.hashing.affinities.SlopedTowers`.  The code divides S~ S~ᵀ by its constant batch of 32, we by B.  Its
choice of training items by label and its best epoch on the test queries are not followed.

Shape suffixes: B = batch, K = bits, D = text dimensions, F = image features.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from cmh.data.batches import Batch
from cmh.hashing import config_checks
from cmh.hashing.affinities import SlopedTowers, mse, unit_batch
from cmh.hashing.code_memory import CodeMemory


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of DJSRH; the defaults are the authors' code's for MIRFlickr."""

    bits: int = 64  # the paper reports 16 to 128
    hidden: int = 4096  # of the text tower
    beta: float = 0.9  # share of the images; NUS-WIDE: 0.6, Wiki: 0.3
    eta: float = 0.4  # share of the second-order similarity
    mu: float = 1.5
    lambda_1: float = 0.1  # weight within images; Wiki: 0.3
    lambda_2: float = 0.1  # weight within texts; Wiki: 0.3
    calibrate: bool = False  # ours, see above
    optimizer: Literal["adam", "sgd"] = "sgd"  # sgd has a momentum of 0.9
    lr: float = 1e-2
    weight_decay: float = 5e-4
    decay: float = 1.0  # of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "mu", "lr", "decay")
        config_checks.not_negative(self, "lambda_1", "lambda_2", "weight_decay")
        for name in ("beta", "eta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")


class DJSRH(SlopedTowers):
    """Image: last stage, average, linear.  Text: linear, ReLU, linear.  Both tanh with a growing slope."""

    config: Config
    SHORT = MappingProxyType(
        {"hidden": 1024, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "decay": 0.1, "beta": 0.5}
    )
    VARIANTS = MappingProxyType(
        {"first_order": {"eta": 0.0}, "between_only": {"lambda_1": 0.0, "lambda_2": 0.0},
         "images_only": {"beta": 1.0}, "texts_only": {"beta": 0.0}, "calibrated": {"calibrate": True}}
    )  # fmt: skip

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `between` the modalities, and within `images` and `texts`."""
        c = self.config
        u_BK, v_BK = unit_batch(codes)
        s_BB = joint(*self.affinities(self.features(batch)), c.beta, c.eta, c.mu)
        return {
            "between": mse(u_BK @ v_BK.T, s_BB),
            "images": c.lambda_1 * mse(u_BK @ u_BK.T, s_BB),
            "texts": c.lambda_2 * mse(v_BK @ v_BK.T, s_BB),
        }


def joint(image_BB: Tensor, text_BB: Tensor, beta: float, eta: float, mu: float) -> Tensor:
    """Return S = μ [(1 - η) S~ + η S~ S~ᵀ / B], S~ = β S_I + (1 - β) S_T."""
    s_BB = beta * image_BB + (1 - beta) * text_BB
    return mu * ((1 - eta) * s_BB + eta * s_BB @ s_BB.T / len(s_BB))
