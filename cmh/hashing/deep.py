"""Base classes of methods with an image tower and a text tower: phases of training, codes and encoding.

A subclass of `Towers` builds its own networks; `LinearTowers` has those of the field's first deep methods.

Shape suffixes: B = batch, K = bits, D = text dimensions, L = labels, S = codes of each item.
`f` is a tower's output, any real numbers; `u` is a relaxed code in [-1, 1]; `s` is relevance in {0, 1}.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.data.sides import Side
from cmh.hashing import losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from cmh.networks import image_heads, text_networks


def in_turn(optimizer: Optimizer) -> tuple[Phase, ...]:
    """Return two phases: a pass that trains the image tower, then one that trains the text tower."""
    return (
        Phase(name="image", modules=("backbone", "image_tower"), reads="image", optimizer=optimizer),
        Phase(name="text", modules=("text_tower",), reads="text", optimizer=optimizer),
    )


def together(optimizer: Optimizer) -> tuple[Phase, ...]:
    """Return one phase: a pass over image-text pairs that trains both towers."""
    modules = ("backbone", "image_tower", "text_tower")
    return (Phase(name="pairs", modules=modules, reads="both", optimizer=optimizer),)


def whole_batch(codes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the codes and the relevance of all items of the global batch, B then being its size.

    Args:
        codes: this worker's codes, (S, B, K).
        batch: this worker's batch.

    Returns:
        The codes (S, B, K) of the global batch, differentiable, and the relevance s_BB of its items to each
        other.
    """
    labels_BL = distributed.gather(batch.labels_BL)
    all_codes = distributed.gather(codes.transpose(0, 1)).transpose(0, 1)
    return all_codes, losses.relevance(labels_BL, labels_BL)


class Towers(Method):
    """A method of two towers whose outputs are the codes.

    Attributes:
        image_tower: from the backbone's stage maps to codes (B, K).
        text_tower: from texts (B, D) to codes (B, K).
    """

    image_tower: nn.Module
    text_tower: nn.Module

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.config = config
        self.bits = config.bits
        self.backbone = backbone

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return the codes (B, K) of the phase's tower, and write them to the memory.

        In phase "pairs" they are (2, B, K), of the images and of the texts.
        """
        if phase == "pairs":
            codes_2BK = torch.stack([self.code_of("image", batch), self.code_of("text", batch)])
            memory.write("image", batch.index_B, codes_2BK[0])
            memory.write("text", batch.index_B, codes_2BK[1])
            return codes_2BK
        side: Side = "image" if phase == "image" else "text"
        code_BK = self.code_of(side, batch)
        memory.write(side, batch.index_B, code_BK)
        return code_BK

    def code_of(self, side: Side, batch: Batch) -> Tensor:
        """Return the codes (B, K) on which the losses of training are computed."""
        if side == "image":
            assert batch.image is not None
            code_BK: Tensor = self.image_tower(self.backbone(*batch.image))
        else:
            assert batch.text_BD is not None
            code_BK = self.text_tower(batch.text_BD)
        return code_BK

    def encode_image(self, image: Stages) -> Tensor:
        """Return relaxed codes u_BK of images."""
        u_BK: Tensor = self.image_tower(self.backbone(*image))
        return u_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return relaxed codes u_BK of texts."""
        u_BK: Tensor = self.text_tower(text_BD)
        return u_BK


class LinearTowers(Towers):
    """A method with the simplest towers; encoding returns u = tanh(f).

    Image tower: average of the last stage, linear.  Text tower: linear, ReLU, linear.  `Config` has a field
    `hidden`, the width of the text tower.
    """

    squashed: ClassVar[bool] = False  # whether training uses u as codes, like encoding; else f

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image_tower = image_heads.linear_head(inputs.image_channels, config.bits)
        self.text_tower = text_networks.mlp(inputs.text_dim, config.hidden, config.bits)

    def code_of(self, side: Side, batch: Batch) -> Tensor:
        """Return f, or tanh(f) where the class is `squashed`."""
        f_BK = super().code_of(side, batch)
        return f_BK.tanh() if self.squashed else f_BK

    def encode_image(self, image: Stages) -> Tensor:
        """Return u = tanh(f) of images, (B, K)."""
        return super().encode_image(image).tanh()

    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return u = tanh(f) of texts, (B, K)."""
        return super().encode_text(text_BD).tanh()
