"""What methods with an image tower and a text tower share: phases in which they learn, codes, encoding.

`Towers` leaves the networks to the method; `LinearTowers` has those of the field's first deep methods.

Shape suffixes: B = batch, K = bits, D = text dimensions, L = labels, S = codes of each item.
`f` is a code that a tower gives, any real numbers; `u` is one in [-1, 1]; `s` is relevance in {0, 1}.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmh import distributed
from cmh.data.batches import Batch, Side, Stages
from cmh.hashing import losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from cmh.networks import image_heads, text_networks


def in_turn(optimizer: Optimizer) -> tuple[Phase, ...]:
    """Return a pass over the images in which their tower moves, then one over the texts."""
    return (
        Phase(name="image", modules=("backbone", "image_tower"), reads="image", optimizer=optimizer),
        Phase(name="text", modules=("text_tower",), reads="text", optimizer=optimizer),
    )


def together(optimizer: Optimizer) -> tuple[Phase, ...]:
    """Return one pass over the pairs, both towers moving."""
    modules = ("backbone", "image_tower", "text_tower")
    return (Phase(name="pairs", modules=modules, reads="both", optimizer=optimizer),)


def whole_batch(codes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return codes (S, B, K) of the global batch, and the relevance s_BB of its items to each other."""
    labels_BL = distributed.gather(batch.labels_BL)
    everyone = distributed.gather(codes.transpose(0, 1)).transpose(0, 1)
    return everyone, losses.relevance(labels_BL, labels_BL)


class Towers(Method):
    """`image_tower` reads what the backbone gives, `text_tower` the words; what they give are the codes."""

    image_tower: nn.Module
    text_tower: nn.Module

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.config = config
        self.bits = config.bits
        self.backbone = backbone

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return codes (B, K) of the phase's tower.

        In phase "pairs" they are (2, B, K), of the images and of the texts.
        """
        if phase == "pairs":
            both = torch.stack([self.code_of("image", batch), self.code_of("text", batch)])
            memory.write("image", batch.index_B, both[0])
            memory.write("text", batch.index_B, both[1])
            return both
        side: Side = "image" if phase == "image" else "text"
        code_BK = self.code_of(side, batch)
        memory.write(side, batch.index_B, code_BK)
        return code_BK

    def code_of(self, side: Side, batch: Batch) -> Tensor:
        """Return what the tower gives in training."""
        if side == "image":
            assert batch.image is not None
            code_BK: Tensor = self.image_tower(self.backbone(*batch.image))
        else:
            assert batch.text_BD is not None
            code_BK = self.text_tower(batch.text_BD)
        return code_BK

    def encode_image(self, image: Stages) -> Tensor:
        u_BK: Tensor = self.image_tower(self.backbone(*image))
        return u_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        u_BK: Tensor = self.text_tower(text_BD)
        return u_BK


class LinearTowers(Towers):
    """Image: last stage, average, linear.  Text: linear, ReLU, linear.  Encoded with, u = tanh(f).

    Its `Config` has `hidden`, the width of the text tower.
    """

    squashed: ClassVar[bool] = False  # in training, too, codes are u, not f

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image_tower = image_heads.linear_head(inputs.image_channels, config.bits)
        self.text_tower = text_networks.mlp(inputs.text_dim, config.hidden, config.bits)

    def code_of(self, side: Side, batch: Batch) -> Tensor:
        f_BK = super().code_of(side, batch)
        return f_BK.tanh() if self.squashed else f_BK

    def encode_image(self, image: Stages) -> Tensor:
        return super().encode_image(image).tanh()

    def encode_text(self, text_BD: Tensor) -> Tensor:
        return super().encode_text(text_BD).tanh()
