"""DGCPN: Deep Graph-neighbor Coherence Preserving Network, without labels: items near whose neighbours are.

Source: Yu, Zhou, Zhan and Tao, AAAI 2021, 4626-4634, and the authors' code (commit 9f62c56).

Cosines of the features of images and the words of texts give P over all N training items; each item's k
nearest, itself left out, as shares of their sum, give the rows of Q, and common neighbours give G:

$$ P = a₁ n(y) n(y)ᵀ + (1 - a₁) n(x) n(x)ᵀ,   G = c Q Qᵀ,   S = 2 [(1 - a₂) P + a₂ G] - 1 $$

With u and v of unit length, E leaving the diagonal out, and mse a mean over all B² pairs:

$$ L = mse(diag u vᵀ, κ) + d Σ mse(E S, E u uᵀ | E u vᵀ | E v vᵀ) $$

$$ + w [mse(u vᵀ, u uᵀ) + mse(u vᵀ, v vᵀ) + mse(u uᵀ, v vᵀ) + mse(u vᵀ, v uᵀ)] $$

Half-real half-binary: after a step of both towers on (u, v), one of the image tower on (u, n(sign v)) and
one of the text tower on (n(sign u), v).

S is computed for the rows of a batch only, from the features of all training items: O(B N (F + D)) a step,
and no N × N matrix.  The method reads these features before its first batch, also when a run is resumed.

Differences from the paper and the code: the three steps take one batch each in turn, not the same batch, so
an epoch has a third as many, and each kind of step has a momentum of its own; the item itself is left out of
its neighbours by its row, where the code drops the nearest, which may be a duplicate; `neighbours` is k as a
share of N and `scale` is c as a multiple of k, both the code's for MIRFlickr (k = 2,000 of 5,000, c = 4,000);
the image tower reads the backbone's last stage.

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, F = image features.
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
from cmh.data.items import Items
from cmh.hashing import config_checks
from cmh.hashing.affinities import AffinityTowers, Features, mse, unit_batch
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks import image_heads
from cmh.networks.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of DGCPN; the defaults are the authors' code's for MIRFlickr."""

    bits: int = 64  # the paper reports 16 to 128
    hidden: int = 4096  # of both towers
    dropout: float = 0.5
    a_1: float = 0.01  # share of the texts in P
    a_2: float = 0.3  # share of common neighbours in S
    neighbours: float = 0.4  # of the training items, the item included
    scale: float = 2.0  # times the number of neighbours: c
    kappa: float = 1.5  # cosine that a pair is to have
    d: float = 1.0  # weight of S
    w: float = 1.0  # weight of what the modalities have in common
    half_binary: bool = True  # whether towers learn against signs, too
    optimizer: Literal["adam", "sgd"] = "sgd"  # sgd has a momentum of 0.9
    lr: float = 5e-3
    weight_decay: float = 5e-4
    decay: float = 1.0  # of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "scale", "lr", "decay")
        config_checks.not_negative(self, "kappa", "d", "w", "weight_decay")
        config_checks.share(self, "neighbours")
        for name in ("a_1", "a_2"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class DGCPN(AffinityTowers):
    """Image: last stage, average, linear, ReLU, dropout, linear, tanh.  Text: the same on words."""

    config: Config
    SHORT = MappingProxyType(
        {"hidden": 1024, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "decay": 0.1, "a_1": 0.3}
    )
    VARIANTS = MappingProxyType(
        {"without_graph": {"a_2": 0.0}, "without_coherence": {"w": 0.0}, "real": {"half_binary": False}}
    )
    train_features: Features | None = None  # of unit length, of all training items

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        image, text = (
            (nn.Linear(size, config.hidden), nn.ReLU(), Dropout(config.dropout))
            for size in (inputs.image_channels[-1], inputs.text_dim)
        )
        last = nn.Linear(config.hidden, config.bits)
        self.image_tower = nn.Sequential(image_heads.LastStage(), *image, last)
        last = nn.Linear(config.hidden, config.bits)
        nn.init.normal_(last.weight, std=0.3)
        self.text_tower = nn.Sequential(*text, last)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs: a batch for both towers, one for images, one for texts, and so on."""
        c = self.config
        optimizer = Optimizer(
            kind=c.optimizer, lr=c.lr, momentum=0.9, weight_decay=c.weight_decay, decay=c.decay
        )
        moving: dict[str, tuple[str, ...]] = {"pairs": ("backbone", "image_tower", "text_tower")}
        if c.half_binary:
            moving |= {"images": ("backbone", "image_tower"), "texts": ("text_tower",)}
        return tuple(
            Phase(name=name, modules=modules, reads="both", optimizer=optimizer, steps=1)
            for name, modules in moving.items()
        )

    def begin_epoch(self, epoch: int, train: Items, memory: CodeMemory) -> None:
        """Read the features of the training set, once."""
        if epoch == 0 or self.train_features is None:
            self.train_features = Features(*(functional.normalize(x) for x in self.features_of(train)))

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return the codes of both modalities, (2, B, K), whichever tower moves."""
        return super().codes("pairs", batch, memory)

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `paired`, `coherence` (S) and `between` (the modalities)."""
        c = self.config
        u_BK, v_BK = unit_batch(codes)
        if phase == "images":
            v_BK = unit_signs(v_BK)
        elif phase == "texts":
            u_BK = unit_signs(u_BK)
        s_BB = self.coherence(distributed.gather(batch.index_B))
        paired, coherence, between = terms(u_BK, v_BK, s_BB, c.kappa)
        return {"paired": paired, "coherence": c.d * coherence, "between": c.w * between}

    @torch.no_grad()
    def coherence(self, index_B: Tensor) -> Tensor:
        """Return S (B, B) of rows of the training set."""
        c, features = self.config, self.train_features
        assert features is not None, "begin_epoch reads the features"
        with torch.autocast(index_B.device.type, enabled=False):
            image_BN, text_BN = (x_NF[index_B] @ x_NF.T for x_NF in features)
            p_BN = c.a_1 * text_BN + (1 - c.a_1) * image_BN
            others = max(1, round(c.neighbours * p_BN.shape[1]) - 1)
            q_BN = neighbour_shares(p_BN, index_B, others)
            g_BB = c.scale * (others + 1) * q_BN @ q_BN.T
            s_BB: Tensor = 2 * ((1 - c.a_2) * p_BN[:, index_B] + c.a_2 * g_BB) - 1
            return s_BB


def neighbour_shares(p_BN: Tensor, index_B: Tensor, others: int) -> Tensor:
    """Return Q: the largest `others` of each row, the item itself left out, divided by their sum.

    Rows of zeros stay as they are.
    """
    rest_BN = p_BN.scatter(1, index_B[:, None], -torch.inf)
    value_BX, at_BX = rest_BN.topk(min(others, p_BN.shape[1] - 1), dim=1)
    q_BN = torch.zeros_like(p_BN).scatter(1, at_BX, value_BX)
    sum_B1 = q_BN.sum(1, keepdim=True)
    return q_BN / torch.where(sum_B1 == 0, 1, sum_B1)


def terms(u_BK: Tensor, v_BK: Tensor, s_BB: Tensor, kappa: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three terms of L without weights, for codes of unit length."""
    uv_BB, uu_BB, vv_BB = u_BK @ v_BK.T, u_BK @ u_BK.T, v_BK @ v_BK.T
    rest_BB = 1 - torch.eye(len(s_BB), dtype=s_BB.dtype, device=s_BB.device)
    coherence = torch.stack([mse(rest_BB * c_BB, rest_BB * s_BB) for c_BB in (vv_BB, uv_BB, uu_BB)]).sum()
    between = mse(uv_BB, uu_BB) + mse(uv_BB, vv_BB) + mse(uu_BB, vv_BB) + mse(uv_BB, uv_BB.T)
    return mse(uv_BB.diagonal(), kappa), coherence, between


def unit_signs(u_BK: Tensor) -> Tensor:
    """Return n(sign(u)), constant; sign(0) = +1."""
    return torch.where(u_BK.detach() >= 0, 1.0, -1.0).to(u_BK.dtype) / math.sqrt(u_BK.shape[1])
