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

REVISION = 1  # raise it when features change: by networks, normalisation, resizing or pooling

Arrays = dict[str, NDArray[Any]]


def extract(
    backbone: Backbone, image_BHWC: NDArray[np.uint8], *, image_size: int, grid: int = 1, batch: int = 64
) -> Arrays:
    """Return the features of images by array name.

    The last batch is padded with zeros to `batch` images: kernels for other batch sizes differ in the last
    bits, and an image's features must not depend on the number of images.

    Args:
        backbone: a backbone in evaluation mode, on the CPU.
        image_BHWC: uint8 (B, H, W, 3) RGB.
        image_size: side in pixels to which images are resized.
        grid: side of the stage maps to keep; 1 keeps averages only.
        batch: images per forward pass.

    Returns:
        `pooled/stageS` (B, C_S) float32, S counted from 1; with `grid` > 1 also `maps/stageS` (B, C_S, G, G)
        float16.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    for start in range(0, len(image_BHWC), batch):
        images_bHWC = image_BHWC[start : start + batch]
        padded = np.zeros((batch, image_size, image_size, 3), np.uint8)
        padded[: len(images_bHWC)] = [images.resize(image, image_size) for image in images_bHWC]
        with torch.inference_mode():
            # The permuted view is channels_last in memory, the faster layout on CPUs as well as on GPUs.
            stages = backbone(torch.from_numpy(padded).permute(0, 3, 1, 2))
            for number, stage_BCHW in enumerate(stages, start=1):
                pooled_BC = adaptive_avg_pool2d(stage_BCHW, 1).flatten(1)[: len(images_bHWC)]
                parts.setdefault(f"pooled/stage{number}", []).append(pooled_BC.numpy())
                if grid > 1:
                    map_BCGG = adaptive_avg_pool2d(stage_BCHW, grid)[: len(images_bHWC)]
                    parts.setdefault(f"maps/stage{number}", []).append(map_BCGG.half().numpy())
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}
