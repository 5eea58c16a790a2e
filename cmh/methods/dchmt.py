"""DCHMT: Deep Cross-modal Hashing via Multimodal Transformers, bits as choices between two outputs.

Source: Tu, Mao, Lin, Cai, Wei and Huang, Differentiable Cross-modal Hashing via Multimodal Transformers,
ACM MM 2022, and the authors' code, by its copy in a later collection (commit 6d64ae2).

Each bit has two outputs; z in (0, 1)^2K are their softmax by pairs, and the bit is +1 where the second is
larger.  With d Euclidean distances of z, m = sqrt(2 K ϑ) and R_ij = 1 where two items share a label,

$$ pair(a, b) = mean_{ij} R d² + mean_{ij} (1 - R) (m - min(d, m))² $$

$$ L = pair(z_I, z_T) + pair(z_I, z_I) + pair(z_T, z_T) + q/2 Σ_{modalities} (1 - mean (2 z - 1)²) $$

The relaxed code is u_k = z_2k+1 - z_2k in [-1, 1]: then d² = ‖u - u'‖² / 2 and (2 z - 1)² = u², so the loss
is one of u.

Towers on pooled features: linear (to their own size), batch norm for images and layer norm for texts,
linear to 2K outputs, ReLU.  The first is what the code's attention over a sequence of one item amounts to.

Differences from the code: a bit whose outputs are both below 0 is 0 after the ReLU, and counts as +1 here,
as -1 there; Adam in place of BertAdam, whose warm-up and weight decay of 0.2 are left out; features of any
backbone in place of CLIP's, and texts of many words are first brought to `width` numbers.  ϑ differs by
dataset.  The code chooses the best epoch on the test queries.

Shape suffixes: B = batch, K = bits, D = text dimensions, L = labels.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from cmh.data.batches import Batch
from cmh.hashing import config_checks
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers, together, whole_batch
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks import image_heads


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of DCHMT; the defaults are the authors' code's, or say whose they are."""

    bits: int = 64  # the paper reports 16, 32, 64
    width: int = 512  # of the layer before the norms: that of CLIP's embeddings
    threshold: float = 0.75  # ϑ, of the margin
    quantisation: float = 1e-3  # q
    lr: float = 1e-3  # of Adam
    decay: float = 1.0  # of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "width", "threshold", "lr", "decay")
        config_checks.not_negative(self, "quantisation")


class DCHMT(Towers):
    """Image: last stage, average, linear, batch norm, linear, ReLU, softmax.  Text: layer norm instead."""

    config: Config
    SHORT = MappingProxyType({"decay": 0.1})
    VARIANTS = MappingProxyType({"without_quantisation": {"quantisation": 0.0}})

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image_tower = nn.Sequential(
            image_heads.LastStage(),
            # no bias before a batch norm: its gradient is rounding noise, which Adam would blow up
            nn.Linear(inputs.image_channels[-1], config.width, bias=False),
            nn.BatchNorm1d(config.width),
            choices(config.width, config.bits),
        )
        self.text_tower = nn.Sequential(
            nn.Linear(inputs.text_dim, config.width),
            nn.LayerNorm(config.width),
            choices(config.width, config.bits),
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, both towers moving."""
        return together(Optimizer(kind="adam", lr=self.config.lr, decay=self.config.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `between` and `within` the modalities, and `quantisation`."""
        c = self.config
        (u_BK, v_BK), s_BB = whole_batch(codes, batch)
        margin = math.sqrt(2 * u_BK.shape[1] * c.threshold)
        return {
            "between": pair(u_BK, v_BK, s_BB, margin),
            "within": pair(u_BK, u_BK, s_BB, margin) + pair(v_BK, v_BK, s_BB, margin),
            "quantisation": c.quantisation * (1 - codes.square().mean()),
        }


class Choices(nn.Module):
    """The difference of the second and the first share of each pair of outputs."""

    def forward(self, x_BJ: Tensor) -> Tensor:
        """Return u = z_2k+1 - z_2k (B, K) of outputs (B, 2K), z their softmax by pairs after a ReLU."""
        z_BK2 = x_BJ.relu().reshape(-1, x_BJ.shape[1] // 2, 2).softmax(2)
        return z_BK2[:, :, 1] - z_BK2[:, :, 0]


def choices(width: int, bits: int) -> nn.Sequential:
    """Return the last layers of a tower, from (B, width) to u (B, K)."""
    linear = nn.Linear(width, 2 * bits)
    nn.init.kaiming_uniform_(linear.weight, mode="fan_out")
    return nn.Sequential(linear, Choices())


def pair(u_BK: Tensor, v_BK: Tensor, s_BB: Tensor, margin: float) -> Tensor:
    """Return the loss of pairs of two modalities, or of one with itself.

    Numerics: distances are at least 1e-6, so that the root has a gradient where two codes are the same.
    """
    squared_BB = (u_BK[:, None] - v_BK).square().sum(2) / 2
    distance_BB = squared_BB.clamp(min=1e-12).sqrt()
    far_BB = (1 - s_BB) * torch.clamp(margin - distance_BB, min=0).square()
    return (s_BB * squared_BB).mean() + far_BB.mean()
