"""Features of a frozen backbone: the stage maps of images, averaged to one vector or to a small grid.

Shape suffixes: B = images, C = channels of a stage, G = grid, H, W = image.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmh.data import images
from cmh.data.ahead import ahead
from cmh.networks import runtime
from cmh.networks.backbones import Backbone
from cmh.networks.pooling import GridPool

REVISION = 2  # raise it when features change: by networks, their engine, normalisation, resizing or pooling

BATCH = 16  # images of a forward pass: as fast as more, with less memory

Arrays = dict[str, NDArray[Any]]


class Pooled(nn.Module):
    """A backbone and the pooling of its maps: images (B, H, W, 3) uint8 to what `names` lists."""

    def __init__(self, backbone: Backbone, grid: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pools = nn.ModuleList(GridPool(side) for side in dict.fromkeys((1, grid)))

    def forward(self, image_BHWC: Tensor) -> tuple[Tensor, ...]:
        """Return the averages (B, C_s) of each stage; with a grid, then the maps (B, C_s, G, G)."""
        stages = self.backbone(image_BHWC.permute(0, 3, 1, 2))
        average, *rest = self.pools
        pooled = tuple(average(stage).flatten(1) for stage in stages)
        return (*pooled, *(pool(stage) for pool in rest for stage in stages))

    def names(self) -> list[str]:
        """Return the name of each output's array."""
        kinds = ("pooled", "maps")[: len(self.pools)]
        return [f"{kind}/stage{n}" for kind in kinds for n, _ in enumerate(self.backbone.channels, 1)]


class Extractor:
    """A frozen backbone on ONNX Runtime.

    Attributes:
        image_size: side in pixels of the images that it reads.
    """

    def __init__(
        self, backbone: Backbone, *, image_size: int, grid: int = 1, batch: int = BATCH, threads: int = 1
    ) -> None:
        """Prepare the backbone.

        Args:
            backbone: a backbone on the CPU.
            image_size: side in pixels of the images.
            grid: side of the stage maps to keep; 1 keeps averages only.
            batch: images per forward pass.
            threads: number of CPU threads.
        """
        self.image_size, self._batch = image_size, batch
        network = Pooled(backbone, grid)
        self._names = network.names()
        example = torch.zeros(batch, image_size, image_size, 3, dtype=torch.uint8)
        self._session = runtime.session(network, {"image": example}, threads=threads)

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> Arrays:
        """Return the features of images by array name.

        A thread resizes the next images meanwhile.  The last batch is padded with zeros: kernels for other
        batch sizes differ in the last bits, and an image's features must not depend on the number of images.

        Args:
            image_BHWC: uint8 (B, H, W, 3) RGB of any size.

        Returns:
            `pooled/stageS` (B, C_S) float32, S counted from 1; with a grid also `maps/stageS` (B, C_S, G, G)
            float16.
        """
        blocks = (image_BHWC[a : a + self._batch] for a in range(0, len(image_BHWC), self._batch))
        parts = [self._session(image=padded_bHWC) for padded_bHWC in ahead(self._padded, blocks)]
        features = {
            name: np.concatenate([part[position] for part in parts])[: len(image_BHWC)]
            for position, name in enumerate(self._names)
        }
        return {n: a.astype(np.float16) if n.startswith("maps/") else a for n, a in features.items()}

    def _padded(self, image_bHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        padded = np.zeros((self._batch, self.image_size, self.image_size, 3), np.uint8)
        padded[: len(image_bHWC)] = [images.resize(image, self.image_size) for image in image_bHWC]
        return padded
