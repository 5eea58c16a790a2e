"""MLSPH: codes whose cosines follow how many of two items' labels are shared.

Source: Zou, Wang, Bakker and Wu, Multi-Label Semantics Preserving based Deep Cross-Modal Hashing, Signal
Processing: Image Communication 93, 2021, and the authors' code (SWU-CS-MediaLab/MLSPH).

The towers move in turn, each against the memories of both: the cosine of two codes is to be S_ij, twice the
share of common labels among all labels of both, from 0 to 2.  What is above 1 cannot be reached and only
pulls harder.  The memories hold the latest code of every training item; the consensus B is renewed each
epoch.

Differences from the authors' code: the rate falls geometrically to 1e-6, not linearly; the weight of the
whole objective, 10, multiplies each term.  Images: one fully connected layer on the last stage.

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L = labels.
`u` is a relaxed code in [-1, 1]; `s` is similarity in [0, 2].
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import Tensor, nn

from cmh.data.batches import Batch
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers, in_turn
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks import image_heads, text_networks

SCALE = 10  # of the whole objective: authors' code


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of MLSPH; the defaults are those of the authors' code."""

    bits: int = 64  # 16, 32, 64 in the paper
    hidden: int = 4096  # of the text tower, first layer
    features: int = 512  # of the text tower, second layer
    alpha: float = 1.0  # weight of the pairs across modalities
    beta: float = 1.4  # weight of the pairs within a modality
    gamma: float = 0.1  # weight of the quantisation
    optimizer: Literal["sgd", "adam"] = "sgd"  # of both towers
    lr: float = 10**-1.5  # SGD without momentum
    decay: float = 10**-4.5  # of lr over all epochs, to 1e-6

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "features", "lr", "decay")
        config_checks.not_negative(self, "alpha", "beta", "gamma")


class MLSPH(Towers):
    """Image: last stage, average, linear, tanh.  Text: words at several scales, two hidden layers, tanh."""

    REVISION = 2  # 2: no dead scales of texts
    config: Config
    SHORT = MappingProxyType({"hidden": 1024, "optimizer": "adam", "lr": 1e-3, "decay": 0.03})

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image_tower = nn.Sequential(
            image_heads.linear_head(inputs.image_channels, config.bits), nn.Tanh()
        )
        self.text_tower = nn.Sequential(
            text_networks.MultiScaleLinear(inputs.text_dim, config.hidden),
            nn.ReLU(),
            nn.BatchNorm1d(config.hidden),
            nn.Linear(config.hidden, config.features),
            nn.ReLU(),
            nn.BatchNorm1d(config.features),
            nn.Linear(config.features, config.bits),
            nn.Tanh(),
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """A pass over the images, then one over the texts."""
        return in_turn(Optimizer(kind=self.config.optimizer, lr=self.config.lr, decay=self.config.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `inter`, `intra` and `quantisation`, each with its weight.

        inter = 10 alpha mean_ij (s_ij - cos(u_i, other memory's j))^2, intra = 10 beta likewise with the own
        memory, quantisation = 10 gamma mean (b - u)^2.
        """
        config = self.config
        own_NK, other_NK = memory.image_NK, memory.text_NK
        if phase == "text":
            own_NK, other_NK = other_NK, own_NK
        s_BN = 2 * shared_labels(batch.labels_BL, memory.labels_NL)
        quantisation = losses.quantisation(codes, memory.consensus_NK[batch.index_B])
        return {
            "inter": SCALE * config.alpha * (s_BN - losses.cosine(codes, other_NK)).square().mean(),
            "intra": SCALE * config.beta * (s_BN - losses.cosine(codes, own_NK)).square().mean(),
            "quantisation": SCALE * config.gamma * quantisation,
        }


def shared_labels(labels_BL: Tensor, labels_NL: Tensor) -> Tensor:
    """Return (B, N) |l_i and l_j| / |l_i or l_j|, 0 for two items without labels."""
    common_BN = labels_BL @ labels_NL.T
    either_BN = labels_BL.sum(1)[:, None] + labels_NL.sum(1) - common_BN
    return common_BN / either_BN.clamp(min=1)
