"""A method and a data set that are small enough to train in a second: for tests of what surrounds a method.

The method has what makes training hard to keep the same on any number of workers: batch norm, memory,
pairs within the batch, momentum, random draws.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.data.items import Items
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from tests import synthetic

LABELS, TEXT, CHANNELS = 4, 12, 6


@dataclass(frozen=True, kw_only=True)
class Config:
    bits: int = 16
    lr: float = 1.0


class Tiny(Method):
    """Linear towers; the pairwise likelihood against the memory and within the batch, and quantisation."""

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.bits, self.config = config.bits, config
        self.backbone = backbone
        channels = sum(inputs.image_channels)
        self.image_tower = nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, config.bits))
        # no bias before a batch norm: its gradient is rounding noise, which Adam would blow up
        text = nn.Linear(inputs.text_dim, config.bits, bias=False)
        self.text_tower = nn.Sequential(text, nn.BatchNorm1d(config.bits))

    @property
    def phases(self) -> tuple[Phase, ...]:
        sgd = Optimizer(lr=self.config.lr, momentum=0.5, decay=0.1)
        adam = Optimizer(kind="adam", lr=self.config.lr / 20)
        return (
            Phase(name="image", modules=("backbone", "image_tower"), reads="image", optimizer=sgd),
            Phase(name="text", modules=("text_tower",), reads="text", optimizer=adam),
        )

    def encode_image(self, image: Stages) -> Tensor:
        maps = self.backbone(*image)
        return self.image_tower(torch.cat([m.mean((2, 3)) for m in maps], 1)).tanh()

    def encode_text(self, text_BD: Tensor) -> Tensor:
        return self.text_tower(text_BD).tanh()

    def forward(self, phase: str, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        u = self.encode_image(batch.image) if phase == "image" else self.encode_text(batch.text_BD)
        other = memory.text_NK if phase == "image" else memory.image_NK
        memory.write(phase, batch.index_B, u)
        everyone, labels = distributed.gather(u), distributed.gather(batch.labels_BL)
        drawn = torch.rand(len(everyone)) < 0.5  # for the global batch, so that workers draw alike
        return {
            "inter": _nll(u, other, batch.labels_BL, memory.labels_NL),
            "pair": 0.1 * _nll(everyone[drawn], everyone[~drawn], labels[drawn], labels[~drawn]),
            "quantization": 0.1 * (memory.consensus_NK[batch.index_B] - u).square().mean(),
        }

    def significance(self) -> Tensor:
        return self.text_tower[0].weight.norm(dim=1)


def _nll(u: Tensor, v: Tensor, labels: Tensor, other_labels: Tensor) -> Tensor:
    theta, relevant = u @ v.T / 2, (labels @ other_labels.T > 0).to(u.dtype)
    return (softplus(theta) - relevant * theta).mean()


class Pixels(nn.Module):
    """The plainest backbone: the image itself, scaled."""

    channels = (3,)

    def forward(self, *stages: Tensor) -> Stages:
        return tuple(stage.float() / 255 for stage in stages)


def items(count: int, seed: int = 0) -> Items:
    """Features of two stages and texts that know their labels, in noise."""
    return synthetic.clusters(count, seed, labels=LABELS, text=TEXT, channels=(2, CHANNELS - 2))


def method(seed: int = 0, **config: float) -> Tiny:
    """A new `Tiny` for `items`."""
    torch.manual_seed(seed)
    inputs = Inputs(image_channels=(2, CHANNELS - 2), text_dim=TEXT, labels=LABELS)
    return Tiny(Config(**config), inputs, Identity())


class Identity(nn.Module):
    """Stage maps as they are."""

    def forward(self, *stages: Tensor) -> Stages:
        return stages
