r"""JDSH: Joint-modal Distribution-based Similarity Hashing, without labels: as DJSRH, with far pairs farther.

Source: Liu, Qian, Guan, Zhan and Yuan, SIGIR 2020, 1379-1388, and the authors' code (commit
caa8224).

S_I = 2 cos(x_i, x_j) - 1 of features of images, S_T of texts, and over a batch, rows of unit length,

$$ H = n(S_I) n(S_T)ᵀ,   S₀ = α S_I + β S_T + γ (H + Hᵀ) / 2 $$

Its distribution has its mode at m, with spreads σ_l and σ_r to both sides.  Pairs beyond them are pushed on:

$$ S = μ S₀ (1 + w₁ exp(-(S₀ - min)))   \text{ where } S₀ < m - a_l σ_l $$

$$ S = μ S₀ (1 + w₂ exp(S₀ - max))      \text{ where } S₀ > m + a_r σ_r $$

$$ S = μ S₀                             \text{ elsewhere} $$

and, with u = tanh(a f) and v of unit length, a = sqrt(epoch + 1):

$$ L = ρ mse(u uᵀ, S) + mse(u vᵀ, S) + mse(v uᵀ, S) - mean_i ⟨u_i, v_i⟩ + ρ mse(v vᵀ, S) $$

The code has m, σ, min and max as constants of its AlexNet features (`statistics` "mirflickr" and "nuswide").
By default they are those of the training set before the first epoch: S₀ of at most 2,048 evenly spaced items,
the middle of the fullest of 256 bins, the root mean square distances from it to both sides, min and max; the
same on any number of workers, and part of the model.

Further differences: features are the backbone's last stage; S₀ below the mode must be negative for the first
rule to push away, which `calibrate` (ours, see `cmh.hashing.affinities.SlopedTowers`) sees to for features
whose cosines are all high.  AlexNet's dropouts, active in the code while S_I is computed, and its choice of
the best epoch on the test queries are not followed.

Shape suffixes: B = batch, K = bits, D = text dimensions, F = image features, T = a sample of training items.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh.data.batches import Batch
from cmh.data.items import Items
from cmh.hashing import config_checks
from cmh.hashing.affinities import SlopedTowers, mse, off_diagonal, unit_batch
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs

BINS = 256  # of the histogram whose fullest bin is the mode


class Statistics(NamedTuple):
    """The distribution of S₀: mode, spread to the left and to the right of it, smallest, largest."""

    mode: float
    left: float
    right: float
    low: float
    high: float


PUBLISHED = {
    "mirflickr": Statistics(-0.49, 0.019, 0.088, -0.52, 0.68),
    "nuswide": Statistics(-0.62, 0.0128, 0.086, -0.64, 0.75),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of JDSH; the defaults are the authors' code's for MIRFlickr."""

    bits: int = 64  # the paper reports 16 to 128
    hidden: int = 4096  # of the text tower
    alpha: float = 0.5  # weight of the images in S₀; NUS-WIDE: 0.4
    beta: float = 0.1  # of the texts; NUS-WIDE: 0.3
    gamma: float = 0.4  # of both together; NUS-WIDE: 0.3
    statistics: Literal["training", "mirflickr", "nuswide"] = "training"  # ours; the code's are constants
    a_left: float = 2.0
    a_right: float = 4.0
    w_1: float = 0.1  # NUS-WIDE: 0.2
    w_2: float = 0.2
    mu: float = 1.4
    rho: float = 0.1  # weight of the pairs within a modality
    calibrate: bool = False  # ours, see above
    optimizer: Literal["adam", "sgd"] = "sgd"  # sgd has a momentum of 0.9
    lr: float = 1e-2
    weight_decay: float = 5e-4
    decay: float = 1.0  # of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "mu", "lr", "decay")
        config_checks.not_negative(
            self, "alpha", "beta", "gamma", "a_left", "a_right", "w_1", "w_2", "rho", "weight_decay"
        )


class JDSH(SlopedTowers):
    """Image: last stage, average, linear.  Text: linear, ReLU, linear.  Both tanh with a growing slope."""

    config: Config
    SHORT = MappingProxyType(
        {"hidden": 1024, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "decay": 0.1}
    )
    VARIANTS = MappingProxyType(
        {"unweighted": {"w_1": 0.0, "w_2": 0.0}, "without_product": {"gamma": 0.0},
         "between_only": {"rho": 0.0}, "calibrated": {"calibrate": True}}
    )  # fmt: skip
    statistics_5: Tensor

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        start = PUBLISHED.get(config.statistics, PUBLISHED["mirflickr"])
        self.register_buffer("statistics_5", torch.tensor(start, dtype=torch.float64))

    def begin_epoch(self, epoch: int, train: Items, memory: CodeMemory) -> None:
        """Let the slope grow, and before the first epoch take the statistics."""
        super().begin_epoch(epoch, train, memory)
        if self.config.statistics == "training" and epoch == 0:
            features = self.sample(train)
            s_TT = self.joint(*(s.cpu() for s in self.affinities(features)))
            self.statistics_5.copy_(torch.tensor(measure(off_diagonal(s_TT)), dtype=torch.float64))

    def joint(self, image_BB: Tensor, text_BB: Tensor) -> Tensor:
        """Return S₀ of a batch."""
        c = self.config
        h_BB = functional.normalize(image_BB) @ functional.normalize(text_BB).T
        return c.alpha * image_BB + c.beta * text_BB + c.gamma * (h_BB + h_BB.T) / 2

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `between` the modalities, `paired`, and within `images` and `texts`."""
        c = self.config
        u_BK, v_BK = unit_batch(codes)
        s_BB = self.joint(*self.affinities(self.features(batch)))
        statistics = Statistics(*self.statistics_5.tolist())
        s_BB = stretched(s_BB, statistics, c.a_left, c.a_right, c.w_1, c.w_2) * c.mu
        return {
            "between": mse(u_BK @ v_BK.T, s_BB) + mse(v_BK @ u_BK.T, s_BB),
            "paired": -(u_BK * v_BK).sum(1).mean(),
            "images": c.rho * mse(u_BK @ u_BK.T, s_BB),
            "texts": c.rho * mse(v_BK @ v_BK.T, s_BB),
        }


def measure(s_T: Tensor) -> Statistics:
    """Return the statistics of similarities, a row of them on the CPU."""
    low, high = s_T.min().item(), s_T.max().item()
    if low == high:
        return Statistics(low, 0.0, 0.0, low, high)
    fullest = int(torch.histc(s_T, BINS, low, high).argmax())
    mode = low + (fullest + 0.5) * (high - low) / BINS
    left, right = (s_T[side].sub(mode).square().mean().sqrt().item() for side in (s_T < mode, s_T >= mode))
    return Statistics(mode, left, right, low, high)


def stretched(s_BB: Tensor, at: Statistics, a_left: float, a_right: float, w_1: float, w_2: float) -> Tensor:
    """Return S₀ times 1 + w₁ exp(-(S₀ - min)), 1 + w₂ exp(S₀ - max), or 1; see above."""
    far_BB, near_BB = s_BB < at.mode - a_left * at.left, s_BB > at.mode + a_right * at.right
    away_BB = s_BB * (1 + w_1 * torch.exp(at.low - s_BB))
    closer_BB = s_BB * (1 + w_2 * torch.exp(s_BB - at.high))
    return torch.where(far_BB, away_BB, torch.where(near_BB, closer_BB, s_BB))
