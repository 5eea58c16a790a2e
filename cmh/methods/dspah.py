"""DSPAH: Deep Similarity Preserving and Attention-based Hashing for cross-modal retrieval.

Source: Chen, Wu and Chen, with equation numbers of the paper; CBAM: Woo et al., ECCV 2018.

Each of four levels of both towers goes through channel and spatial attention and gives a code of its own; a
learned matrix weighs them together.  Inner products of codes are regressed onto similarity, which is not 0 or
1: the paper calls it "dice", and its formula, eq. 2, is the cosine of the items' label vectors.  The towers
move in turn, against the memory of all codes.

Where the paper is silent or ambiguous:

- "Pooling sizes from 1 to 50" are read as those of the same group's SCAHN, 1, 5, 10, 15, 30 and 50, size 1
  being the words themselves; its stacked matrix is read by SCAHN's residual network of four blocks, whose
  first kernel spans all words.  A ResNet-34 of 3 x 3 kernels with average pooling behind would forget which
  words there were.
- The level codes are "weighted together" (text) and "concatenated" (figure): u = tanh(sum_s W_s * h_s), as in
  SCAHN, so that ⟨u, v⟩ lies in [-K, K] as eq. 5 wants.
- Attention comes first and pooling behind it, as CBAM needs maps.  So frozen features are maps of places, and
  datasets that bring averages only have the variant without attention.

Deviation: the sums of eq. 5 are means over pairs and those of eq. 6 means over items, so that neither depends
on the size of the training set.  Divided by K as well, eq. 5 would learn almost nothing at the paper's rate:
at 32 bits, MAP 0.1 after ten epochs on 491 emoji, and 0.7 without.

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L = labels, S = levels,
C, H, W = stage map.
`h`, `u` are relaxed codes in [-1, 1] of a level and of a tower; `s` is similarity in [0, 1].
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from cmh.data.batches import Batch
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers, in_turn
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks.multiscale import scale_weights
from cmh.networks.text_networks import ResidualText, ResidualWords


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of DSPAH; the defaults are the paper's unless said otherwise."""

    bits: int = 64  # the paper reports 16 to 64
    levels: int = 4  # last levels that are weighed together; 1: ablation without cross-level codes
    attention: bool = True  # False: ablation without CBAM
    similarity: Literal["fine", "hard"] = "fine"  # "hard": ablation, 1 where a label is shared
    reduction: int = 16  # of channels within channel attention: CBAM
    kernel: int = 7  # of spatial attention: CBAM
    text_std: float = 0.1  # of the text tower's first weights
    optimizer: Literal["sgd", "adam"] = "sgd"  # of both towers
    lr: float = 10**-1.5
    momentum: float = 0.0  # of SGD; the paper names none
    decay: float = 1.0  # of lr over all epochs: the paper names none
    # Weight of pairs that share a label in eq. 5; 1 is the paper.  Ours: "balanced" gives them all together
    # the weight that the others have.
    relevant_weight: float | Literal["balanced"] = 1.0
    # Text network: "multiscale" is the paper's, "words" ours, see `cmh.networks.text_networks.ResidualWords`.
    text: Literal["multiscale", "words"] = "multiscale"

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 4:
            raise ValueError(f"levels must be 1 to 4, the stages of the text tower, got {self.levels}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that maps keep their size, got {self.kernel}")
        config_checks.positive(self, "bits", "reduction", "text_std", "lr", "decay", "relevant_weight")
        config_checks.not_negative(self, "momentum")


class DSPAH(Towers):
    """Two towers of four levels with attention; codes are regressed onto fine-grained similarity."""

    SHORT = MappingProxyType(
        {"optimizer": "adam", "lr": 1e-3, "decay": 0.03, "relevant_weight": "balanced", "text": "words"}
    )
    VARIANTS = MappingProxyType(
        {
            "without_attention": {"attention": False},
            "last_level": {"levels": 1},
            "hard_similarity": {"similarity": "hard"},
        }
    )

    REVISION = 2  # 2: attention sees maps; no dead scales of texts
    config: Config

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        if len(inputs.image_channels) < config.levels:
            raise ValueError(
                f"{config.levels} levels are to be weighed, the images have {len(inputs.image_channels)}; "
                f"set levels={len(inputs.image_channels)} or choose a backbone with more"
            )
        self.image_tower = CrossLevel(inputs.image_channels[-config.levels :], config)
        self.text_tower = TextTower(inputs.text_dim, config)

    @classmethod
    def reads_maps(cls, config: Config) -> bool:
        return config.attention

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Algorithm 1: a pass over the images, then one over the texts."""
        c = self.config
        return in_turn(Optimizer(kind=c.optimizer, lr=c.lr, momentum=c.momentum, decay=c.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the terms of eq. 7 for one tower: `inter`, `intra` (eq. 5) and `quantisation` (eq. 6).

        Their weights are equal.
        """
        own_NK, other_NK = memory.image_NK, memory.text_NK
        if phase == "text":
            own_NK, other_NK = other_NK, own_NK
        similarity = losses.label_cosine if self.config.similarity == "fine" else losses.relevance
        s_BN = similarity(batch.labels_BL, memory.labels_NL)
        weight = memory.weight_of_relevant(self.config.relevant_weight)
        return {
            "inter": similarity_regression(codes, other_NK, s_BN, weight),
            "intra": similarity_regression(codes, own_NK, s_BN, weight),
            "quantisation": losses.quantisation(codes, memory.consensus_NK[batch.index_B]),
        }


def similarity_regression(u_BK: Tensor, v_NK: Tensor, s_BN: Tensor, relevant_weight: float = 1.0) -> Tensor:
    """Return L = mean_ij w_ij ((⟨u_i, v_j⟩ + K) / 2 - s_ij K)^2.

    The weight w_ij is relevant_weight where s_ij > 0, else 1.

    Source: eq. 5.  Deviations: the mean over pairs in place of the sum; weights, 1 in the paper.
    """
    bits = u_BK.shape[-1]
    weight_BN = losses.pair_weights((s_BN > 0).to(s_BN.dtype), relevant_weight)
    return (((u_BK @ v_NK.T + bits) / 2 - s_BN * bits).square() * weight_BN).mean()


class CrossLevel(nn.Module):
    """Maps (B, C_s, H_s, W_s) to u_BK: attention, average and 1 x 1 convolution of each level; their sum.

    u = tanh(sum_s W_s * h_s), with the adaptive attention matrix W_SK.
    """

    def __init__(self, channels: tuple[int, ...], config: Config) -> None:
        super().__init__()
        attention = [CBAM(c, config.reduction, config.kernel) for c in channels if config.attention]
        self.attention = nn.ModuleList(attention or [nn.Identity() for _ in channels])
        # batch norm: ours, as in SCAHN; without it, levels weigh by the scale of their features
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(c), nn.Linear(c, config.bits), nn.Tanh()) for c in channels
        )
        # around an even share for each level, as in SCAHN
        self.weight_SK = nn.Parameter(
            torch.empty(len(channels), config.bits).normal_(1 / len(channels), 1 / config.bits)
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        levels = maps[-len(self.heads) :]
        h_SBK = torch.stack(
            [
                head(attend(level).mean((2, 3)))
                for attend, head, level in zip(self.attention, self.heads, levels, strict=True)
            ]
        )
        return torch.tanh((self.weight_SK[:, None] * h_SBK).sum(0))


class TextTower(nn.Module):
    """Bag of words (B, D) to u_BK: the four stages of a network, weighed as those of an image."""

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.stages = ResidualText(dim) if config.text == "multiscale" else ResidualWords(dim)
        self.levels = CrossLevel(self.stages.channels[-config.levels :], config)
        if config.text == "words":
            return
        for parameter in [*self.stages.parameters(), *self.levels.attention.parameters()]:
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=config.text_std)
        if isinstance(self.stages, ResidualText):
            scale_D1 = self.stages.columns.weight
            scale_D1.data.copy_(scale_weights(len(scale_D1), config.text_std))
        for module in self.levels.heads.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=config.text_std)

    def forward(self, text_BD: Tensor) -> Tensor:
        maps = tuple(stage[:, :, None] for stage in self.stages(text_BD))
        u_BK: Tensor = self.levels(maps)
        return u_BK


class CBAM(nn.Module):
    """Convolutional block attention: a map (B, C, H, W) weighed by channel, then by place.

    x' = x * sigmoid(MLP(avg_HW x) + MLP(max_HW x)),
    x'' = x' * sigmoid(conv_7x7([avg_C x'; max_C x'])).

    Source: Woo et al., CBAM, ECCV 2018, eq. 2 and 3; hidden channels C / reduction.
    """

    def __init__(self, channels: int, reduction: int, kernel: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.place = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        gate_BC = torch.sigmoid(self.channel(x_BCHW.mean((2, 3))) + self.channel(x_BCHW.amax((2, 3))))
        x_BCHW = x_BCHW * gate_BC[:, :, None, None]
        seen = torch.cat([x_BCHW.mean(1, keepdim=True), x_BCHW.amax(1, keepdim=True)], dim=1)
        return x_BCHW * torch.sigmoid(self.place(seen))
