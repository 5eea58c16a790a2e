"""What methods without phases share: a hash function of images and one of texts, that `solve` learns.

`LinearHashing` methods learn linear ones, `KernelHashing` methods functions of similarities to a few bases.

Shape suffixes: B = batch, K = bits, D = text dimensions.
"""

from typing import Any

from torch import Tensor, nn

from cmh.data.batches import Stages
from cmh.hashing.method import Inputs, Method
from cmh.hashing.projections import Projection, pooled, pooled_size
from cmh.hashing.rbf import KernelProjection


class ShallowMethod(Method):
    """`image` reads the features of an image, `text` the words; a subclass makes both.

    Its `Config` has `stages`, those of the backbone whose features `image` reads.
    """

    image: nn.Module
    text: nn.Module

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.bits, self.stages, self.config, self.backbone = config.bits, config.stages, config, backbone

    def encode_image(self, image: Stages) -> Tensor:
        u_BK: Tensor = self.image(pooled(self.backbone(*image), self.stages))
        return u_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        u_BK: Tensor = self.text(text_BD)
        return u_BK


class LinearHashing(ShallowMethod):
    """Linear hash functions, see `cmh.hashing.projections.Projection`."""

    image: Projection
    text: Projection

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image = Projection(pooled_size(inputs, config.stages), config.bits)
        self.text = Projection(inputs.text_dim, config.bits)


class KernelHashing(ShallowMethod):
    """Linear functions of similarities to `config.bases` items, see `cmh.hashing.rbf`."""

    image: KernelProjection
    text: KernelProjection

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        features = pooled_size(inputs, config.stages)
        self.image = KernelProjection(features, config.bases, config.bits)
        self.text = KernelProjection(inputs.text_dim, config.bases, config.bits)
