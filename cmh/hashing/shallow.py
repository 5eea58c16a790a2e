"""Base classes of methods without phases, whose `solve` learns one hash function of images and one of texts.

`LinearHashing` methods learn linear functions, `KernelHashing` methods functions of similarities to a few
bases.

Shape suffixes: B = batch, K = bits, D = text dimensions.
"""

from typing import Any

from torch import Tensor, nn

from cmh.data.batches import Stages
from cmh.hashing.method import Inputs, Method
from cmh.hashing.projections import Projection, pooled, pooled_size
from cmh.hashing.rbf import KernelProjection


class ShallowMethod(Method):
    """A method of two hash functions, which a subclass builds.

    `Config` has a field `stages`: the stages of the backbone whose features the hash function of images
    reads.

    Attributes:
        image: from image features (B, F) to codes (B, K).
        text: from texts (B, D) to codes (B, K).
    """

    image: nn.Module
    text: nn.Module

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.bits, self.stages, self.config, self.backbone = config.bits, config.stages, config, backbone

    def encode_image(self, image: Stages) -> Tensor:
        """Return real-valued codes u_BK of images; their signs are the codes."""
        u_BK: Tensor = self.image(pooled(self.backbone(*image), self.stages))
        return u_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return real-valued codes u_BK of texts; their signs are the codes."""
        u_BK: Tensor = self.text(text_BD)
        return u_BK


class LinearHashing(ShallowMethod):
    """A method of linear hash functions, see `cmh.hashing.projections.Projection`."""

    image: Projection
    text: Projection

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image = Projection(pooled_size(inputs, config.stages), config.bits)
        self.text = Projection(inputs.text_dim, config.bits)


class KernelHashing(ShallowMethod):
    """A method of linear functions of similarities to `config.bases` bases, see `cmh.hashing.rbf`."""

    image: KernelProjection
    text: KernelProjection

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        features = pooled_size(inputs, config.stages)
        self.image = KernelProjection(features, config.bases, config.bits)
        self.text = KernelProjection(inputs.text_dim, config.bases, config.bits)
