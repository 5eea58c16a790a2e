r"""DSPH: Deep Semantic-aware Proxy Hashing, one proxy per class that both modalities are drawn to.

Source: Huo, Qin, Dai, Zhang, Huang and Wang, TCSVT 34(1), 2024, and the authors' code (commit 078b1a1).

Proxies p_c, one per label, have K numbers; ζ is a cosine that K bits allow between so many codes.  Of each
modality, means over the items and labels of a batch,

$$ L_p = \text{mean over own labels } (1 - cos(u_i, p_c)) + \text{mean over others } (cos(u_i, p_c) - ζ)₊ $$

and over the pairs (i, j) of items with two labels or more that share none, of u with u, v with v and u with
v,

$$ L_n = α mean (cos - ζ)₊, \text{ 0 where there is no such pair} $$

ζ = 1 - 2 d / K, d being the largest distance that 2^⌈log₂ C⌉ known codes of K bits all keep: the authors'
table for 16, 32, 64 and 128 bits; for other lengths that of the nearest of these, the longer of two equally
near.

Towers: one linear layer on the pooled features and one on the text vector, dropout, tanh.  There is no
quantisation.  Towers and proxies move in passes of their own, as they have their own optimisers: Adam, and
SGD with momentum.

Differences from the paper and the code: both move in every step of the code; Adam in place of BertAdam,
whose warm-up and weight decay of 0.2 are left out; features of any backbone in place of CLIP's.  The code
chooses the best epoch on the test queries, for each direction separately.

Shape suffixes: B = batch, K = bits, D = text dimensions, L, C = labels.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh import distributed
from cmh.data.batches import Batch
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks import image_heads
from cmh.networks.dropout import Dropout

THRESHOLDS = {  # bits: ζ for at most 16, 32, 64, 128, 256 and 512 labels
    16: (0.0, 0.0, 0.25, 0.25, 0.375, 0.5),
    32: (0.0, 0.0, 0.0, 0.125, 0.1875, 0.25),
    64: (-0.03125, 0.0, 0.0, 0.0, 0.09375, 0.125),
    128: (-0.0625, 0.0, 0.0, 0.0, 0.0, 0.0625),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of DSPH; the defaults are the authors' code's."""

    bits: int = 64  # 16 to 128
    dropout: float = 0.2
    alpha: float = 0.8  # weight of items that share no label
    threshold: float | Literal["table"] = "table"  # ζ
    lr: float = 1e-3  # of the towers, Adam
    lr_proxies: float = 0.02  # SGD with a momentum of 0.9
    decay: float = 1.0  # of both rates over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "lr", "lr_proxies", "decay")
        config_checks.not_negative(self, "alpha")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class DSPH(Towers):
    """Image: last stage, average, linear, dropout, tanh.  Text: linear, dropout, tanh."""

    config: Config
    SHORT = MappingProxyType({"decay": 0.1})
    VARIANTS = MappingProxyType({"proxies_only": {"alpha": 0.0}})

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        layers = [nn.Linear(size, config.bits) for size in (inputs.image_channels[-1], inputs.text_dim)]
        for linear in layers:
            nn.init.kaiming_uniform_(linear.weight, mode="fan_out")
            nn.init.zeros_(linear.bias)
        self.image_tower = nn.Sequential(
            image_heads.LastStage(), layers[0], Dropout(config.dropout), nn.Tanh()
        )
        self.text_tower = nn.Sequential(layers[1], Dropout(config.dropout), nn.Tanh())
        self.proxies = nn.Linear(config.bits, inputs.labels, bias=False)
        nn.init.kaiming_normal_(self.proxies.weight, mode="fan_out")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """A pass that moves the towers, then one that moves the proxies."""
        c = self.config
        adam = Optimizer(kind="adam", lr=c.lr, decay=c.decay)
        sgd = Optimizer(lr=c.lr_proxies, momentum=0.9, weight_decay=5e-4, decay=c.decay)
        towers = ("backbone", "image_tower", "text_tower")
        return (
            Phase(name="pairs", modules=towers, reads="both", optimizer=adam),
            Phase(name="proxies", modules=("proxies",), reads="both", optimizer=sgd),
        )

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return the codes of both modalities, (2, B, K), in both phases."""
        return super().codes("pairs", batch, memory)

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `proxies`, and for the towers `strangers`: pairs that share no label."""
        c = self.config
        labels_BL = distributed.gather(batch.labels_BL)
        u_BK, v_BK = distributed.gather(codes.transpose(0, 1)).unbind(1)
        zeta = threshold(u_BK.shape[1], labels_BL.shape[1]) if c.threshold == "table" else c.threshold
        proxies_CK = self.proxies.weight[:, : u_BK.shape[1]]
        drawn = [to_proxies(losses.cosine(x_BK, proxies_CK), labels_BL, zeta) for x_BK in (u_BK, v_BK)]
        terms = {"proxies": torch.stack(drawn).sum()}
        if phase == "proxies":
            return terms
        apart_BB = strangers(labels_BL)
        pushed = [
            over(losses.cosine(a_BK, b_BK), apart_BB, zeta)
            for a_BK, b_BK in ((u_BK, u_BK), (v_BK, v_BK), (u_BK, v_BK))
        ]
        return terms | {"strangers": c.alpha * torch.stack(pushed).sum()}


def threshold(bits: int, labels: int) -> float:
    """Return ζ for so many bits and labels; more than 512 labels count as 512."""
    length = min(THRESHOLDS, key=lambda known: (abs(known - bits), -known))
    row = THRESHOLDS[length]
    return row[min(max(math.ceil(math.log2(max(labels, 1))) - 4, 0), len(row) - 1)]


def to_proxies(cosine_BC: Tensor, labels_BL: Tensor, zeta: float) -> Tensor:
    """Return L_p of one modality."""
    near = ((1 - cosine_BC) * labels_BL).sum() / labels_BL.sum().clamp(min=1)
    return near + over(cosine_BC, 1 - labels_BL, zeta)


def over(cosine_BX: Tensor, which_BX: Tensor, zeta: float) -> Tensor:
    """Return the mean of (cos - ζ)₊ where `which_BX` is 1; 0 where it is 1 nowhere."""
    return (functional.relu(cosine_BX - zeta) * which_BX).sum() / which_BX.sum().clamp(min=1)


def strangers(labels_BL: Tensor) -> Tensor:
    """Return 1 for two items that have two labels or more each and share none, else 0, (B, B)."""
    several_B = (labels_BL.sum(1) > 1).to(labels_BL.dtype)
    return (1 - losses.relevance(labels_BL, labels_BL)) * several_B[:, None] * several_B
