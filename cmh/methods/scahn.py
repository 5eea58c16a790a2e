"""SCAHN: Self-Constraining and Attention-based Hashing Network for bit-scalable cross-modal retrieval.

Source: Wang, Zou, Bakker and Wu, Neurocomputing 400, 2020, 255-271.

Each stage of both towers gives a code of its own, a learned weight per stage and bit fuses them, and the
likelihoods are means over all of these codes.  The weights of a bit tell how much it matters, so that shorter
codes are cut out of a long one.  The towers move in turn, each against the memory of the other's codes.

Differences from the authors' code, which draws its two halves of a step as two independent batches with batch
norm statistics of their own: here the halves are those of one batch, so that an epoch is one pass over the
data.  Its significance sums a softmax over the stages, which is the same for all bits; here, as in the paper,
the weights themselves are summed.

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L = labels, S = fused stages (in
`layers_SBK` these and the fused code), C, H, W = image (square where it is turned).
`h`, `u` are relaxed codes in [-1, 1] of a stage and of a tower; `s` is relevance in {0, 1}.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.data.sides import Side
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers, in_turn
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks.text_networks import ResidualText, ResidualWords


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of SCAHN; the defaults are the paper's unless said otherwise."""

    bits: int = 64  # the paper reports 16 to 128
    stages: int = 4  # last stages that are fused: authors' code, `fusion num`
    attention: bool = True  # False: ablation, stages count alike
    gamma: float = 0.01  # weight of the pairwise term: authors' code
    lambda_: float = 1.0  # weight of the intra-modal term: authors' code
    beta: float = 2.0  # weight of the quantisation: authors' code
    optimizer: Literal["sgd", "adam"] = "sgd"  # without momentum, both towers: authors' code
    lr: float = 10**-1.1  # authors' code
    decay: float = 10**-4.5  # of lr over all epochs, 10^-6 / 10^-1.5: authors' code
    # Weight of relevant pairs in the likelihood; 1 is the paper.  Ours: "balanced" gives all relevant pairs
    # together the weight that the others have.
    relevant_weight: float | Literal["balanced"] = 1.0
    # Text network: "multiscale" is the paper's convolutions over a pooled bag of words, "words" ours, fully
    # connected layers (`cmh.networks.text_networks.ResidualWords`).
    text: Literal["multiscale", "words"] = "multiscale"
    # Bits that a short code keeps: "most" significant is the paper and the code of 2020; the toolbox that its
    # authors published in 2021 keeps the "least", marked there as temporary.  By MAP of the validation items
    # neither end is the better one (`tests.bench.bits_to_keep`, docs/figures.md), so that it is the paper's.
    keep: Literal["most", "least"] = "most"
    augment: bool = True  # turn and flip images in training, not features: authors' configuration

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "lr", "decay", "relevant_weight")
        config_checks.not_negative(self, "gamma", "lambda_", "beta")
        if not 1 <= self.stages <= 4:
            raise ValueError(f"stages must be 1 to 4, the stages of the text tower, got {self.stages}")


class SCAHN(Towers):
    """Two towers of four stages; u = tanh(sum_s W_s * h_s) in each."""

    REVISION = 2  # 2: no dead scales of texts, of the published text network
    # Relevant pairs are rare where labels are many, and the published rate of learning falls for 500 epochs.
    SHORT = MappingProxyType(
        {
            "optimizer": "adam",
            "lr": 1e-3,
            "decay": 0.03,
            "beta": 0.5,
            "relevant_weight": "balanced",
            "text": "words",
        }
    )
    VARIANTS = MappingProxyType({"without_attention": {"attention": False}, "last_stage": {"stages": 1}})

    config: Config
    image_tower: "ImageTower"
    text_tower: "TextTower"

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        if len(inputs.image_channels) < config.stages:
            raise ValueError(
                f"{config.stages} stages are to be fused, the images have {len(inputs.image_channels)}; "
                f"set stages={len(inputs.image_channels)} or choose a backbone with more"
            )
        self.keep = config.keep
        self.image_tower = ImageTower(inputs.image_channels[-config.stages :], config)
        network = (ResidualText if config.text == "multiscale" else ResidualWords)(inputs.text_dim)
        self.text_tower = TextTower(network, config)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """A pass over the images, then one over the texts."""
        config = self.config
        return in_turn(Optimizer(kind=config.optimizer, lr=config.lr, decay=config.decay))

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return layers_SBK of the phase's tower."""
        side: Side = "image" if phase == "image" else "text"
        layers_SBK = self.code_of(side, batch)
        memory.write(side, batch.index_B, layers_SBK[-1])
        return layers_SBK

    def code_of(self, side: Side, batch: Batch) -> Tensor:
        """Return layers_SBK of the tower, images turned and flipped."""
        image = batch.image
        if image is not None and self.config.augment and self.training and image[0].dtype == torch.uint8:
            batch = batch._replace(image=(turn_and_flip(image[0]),))
        return super().code_of(side, batch)

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `inter`, `intra`, `pairwise` and `quantisation`, each with its weight.

        inter = nll(s, h, other tower's memory), intra = lambda nll(s, h, own memory), both means over the
        layers h_1 .. h_S, u; pairwise = gamma nll(s', h of one half of the batch, h of the other), likewise;
        quantisation = beta / K mean_i ||b_i - u_i||^2.  nll as in `cmh.hashing.losses` with alpha = K / 32.
        """
        config, layers_SBK, alpha = self.config, codes, codes.shape[-1] / 32
        own_NK, other_NK = memory.image_NK, memory.text_NK
        if phase == "text":
            own_NK, other_NK = other_NK, own_NK
        s_BN = losses.relevance(batch.labels_BL, memory.labels_NL)
        balance = memory.weight_of_relevant(config.relevant_weight)
        first_SHK, second_SHK, s_HH = _halves(layers_SBK, batch.labels_BL)
        return {
            "inter": losses.memory_nll(layers_SBK, other_NK, s_BN, alpha, balance),
            "intra": config.lambda_ * losses.memory_nll(layers_SBK, own_NK, s_BN, alpha, balance),
            "pairwise": config.gamma * losses.pairwise_nll(first_SHK, second_SHK, s_HH, alpha, balance),
            "quantisation": config.beta
            * losses.quantisation(layers_SBK[-1], memory.consensus_NK[batch.index_B]),
        }

    def encode_image(self, image: Stages) -> Tensor:
        return super().encode_image(image)[-1]

    def encode_text(self, text_BD: Tensor) -> Tensor:
        return super().encode_text(text_BD)[-1]

    def significance(self) -> Tensor:
        """Return (K,) sum of each bit's fusion weights over the stages of both towers."""
        return self.fusion_weights().sum(0)

    def fusion_weights(self) -> Tensor:
        """Return (2 S, K) fusion weights, the image tower's stages and then the text tower's."""
        return torch.cat([self.image_tower.fusion.weight_SK, self.text_tower.fusion.weight_SK]).detach()


class ImageTower(nn.Module):
    """Stage maps (B, C_s, H_s, W_s) to layers_SBK: average, batch norm, linear, tanh; their fusion."""

    def __init__(self, channels: tuple[int, ...], config: Config) -> None:
        super().__init__()
        bits = config.bits
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(c), nn.Linear(c, bits), nn.Tanh()) for c in channels
        )
        for module in self.heads.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)  # authors' code
                nn.init.zeros_(module.bias)
        self.fusion = Fusion(len(channels), config)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        pooled = [stage.mean((2, 3)) for stage in maps[-len(self.heads) :]]
        layers_SBK: Tensor = self.fusion([head(x) for head, x in zip(self.heads, pooled, strict=True)])
        return layers_SBK


class TextTower(nn.Module):
    """Bag of words (B, D) to layers_SBK: the stages of a network, a small network each; their fusion."""

    hidden = 256  # paper

    def __init__(self, network: ResidualText | ResidualWords, config: Config) -> None:
        super().__init__()
        stages, bits = config.stages, config.bits
        self.stages = network
        sizes = zip(network.channels[-stages:], network.widths[-stages:], strict=True)
        if isinstance(network, ResidualText):
            self.heads = nn.ModuleList(self._published(channels, width, bits) for channels, width in sizes)
        else:
            self.heads = nn.ModuleList(
                nn.Sequential(nn.Flatten(), nn.Linear(channels, bits), nn.Tanh()) for channels, _ in sizes
            )
        self.fusion = Fusion(stages, config)

    def forward(self, text_BD: Tensor) -> Tensor:
        maps = self.stages(text_BD)[-len(self.heads) :]
        layers_SBK: Tensor = self.fusion([head(x) for head, x in zip(self.heads, maps, strict=True)])
        return layers_SBK

    def _published(self, channels: int, width: int, bits: int) -> nn.Sequential:
        head = nn.Sequential(
            nn.Conv1d(channels, self.hidden, width),
            nn.ReLU(),
            nn.LocalResponseNorm(2, alpha=1e-4, beta=0.75, k=1.0),  # paper
            nn.Conv1d(self.hidden, bits, 1),
            nn.Flatten(),
            nn.Tanh(),
        )
        for module in head:
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        return head


class Fusion(nn.Module):
    """u = tanh(sum_s W_s * h_s), put behind the h_s: S codes (B, K) to (S + 1, B, K)."""

    def __init__(self, stages: int, config: Config) -> None:
        super().__init__()
        shape = (stages, config.bits)
        if config.attention:
            self.weight_SK = nn.Parameter(torch.empty(shape).normal_(0.25, 1 / config.bits))  # authors' code
        else:
            self.register_buffer("weight_SK", torch.full(shape, 1 / stages))

    def forward(self, codes: list[Tensor]) -> Tensor:
        h_SBK = torch.stack(codes)
        u_BK = torch.tanh((self.weight_SK[:, None] * h_SBK).sum(0))
        return torch.cat([h_SBK, u_BK[None]])


def _halves(layers_SBK: Tensor, labels_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes (S, H, K) of both halves of the global batch, itself in random order; relevance (H, H)."""
    everyone_SBK = distributed.gather(layers_SBK.transpose(0, 1)).transpose(0, 1)
    labels_BL = distributed.gather(labels_BL)
    half = len(labels_BL) // 2
    s_HH = losses.relevance(labels_BL[:half], labels_BL[half : 2 * half])
    return everyone_SBK[:, :half], everyone_SBK[:, half : 2 * half], s_HH


def turn_and_flip(image_BCHW: Tensor) -> Tensor:
    """Leave each image as it is with probability .2; else turn and mirror it at random.

    It is turned by 90, 180 or 270 degrees with probability .5, mirrored left to right with .5, and top to
    bottom with .5, each independently.

    Drawn by torch's generator for the global batch and cut, so that any number of workers sees the same.
    Source: configuration of SCAHN's authors.
    """
    everyone = len(image_BCHW) * distributed.world_size()
    drawn_B5 = torch.rand(everyone, 5)[distributed.rank() :: distributed.world_size()]
    changed_B = drawn_B5[:, 0] >= 0.2
    turns_B = torch.where(changed_B & (drawn_B5[:, 1] < 0.5), 1 + (3 * drawn_B5[:, 2]).long(), 0)
    result_BCHW = image_BCHW.clone()
    for turns in (1, 2, 3):
        rows = (turns_B == turns).nonzero()[:, 0].to(image_BCHW.device)
        result_BCHW[rows] = torch.rot90(image_BCHW[rows], turns, (2, 3))
    for column, axis in ((3, 3), (4, 2)):
        rows = (changed_B & (drawn_B5[:, column] < 0.5)).nonzero()[:, 0].to(image_BCHW.device)
        result_BCHW[rows] = result_BCHW[rows].flip(axis)
    return result_BCHW
