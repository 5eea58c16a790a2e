"""Features of a frozen backbone: the stage maps of images, averaged to one vector or to a small grid.

Shape suffixes: B = images, C = channels of a stage, G = grid, H, W = image.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from cmh.data import images
from cmh.networks.backbones import Backbone

REVISION = 1  # raise it when features come out otherwise: networks, normalisation, resizing, pooling

Arrays = dict[str, NDArray[Any]]


def extract(
    backbone: Backbone, image_BHWC: NDArray[np.uint8], *, image_size: int, grid: int = 1, batch: int = 64
) -> Arrays:
    """Return `pooled/stageS` (B, C_S) float32 of uint8 images.

    With `grid` > 1 also `maps/stageS` (B, C_S, G, G) float16.

    The backbone must be in evaluation mode.  Batches are filled up to `batch` images, so that an image's
    features do not depend on how many others there are: kernels differ by batch size in the last bits.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    for start in range(0, len(image_BHWC), batch):
        chosen = image_BHWC[start : start + batch]
        filled = np.zeros((batch, image_size, image_size, 3), np.uint8)
        filled[: len(chosen)] = [images.resize(image, image_size) for image in chosen]
        with torch.inference_mode():
            # A permuted view is channels_last in memory, which is the faster layout on CPUs too.
            stages = backbone(torch.from_numpy(filled).permute(0, 3, 1, 2))
            for number, stage_BCHW in enumerate(stages, start=1):
                pooled_BC = adaptive_avg_pool2d(stage_BCHW, 1).flatten(1)[: len(chosen)]
                parts.setdefault(f"pooled/stage{number}", []).append(pooled_BC.numpy())
                if grid > 1:
                    map_BCGG = adaptive_avg_pool2d(stage_BCHW, grid)[: len(chosen)]
                    parts.setdefault(f"maps/stage{number}", []).append(map_BCGG.half().numpy())
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}
