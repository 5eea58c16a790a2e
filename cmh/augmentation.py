"""Changes of training images that leave their meaning alone.

Shape suffixes: B = this worker's images, C, H, W = image (square).
"""

import torch
from torch import Tensor

from cmh import distributed


def turn_and_flip(image_BCHW: Tensor) -> Tensor:
    """Each image as it is with probability .2; else turned by 90, 180 or 270 degrees (with probability .5),
    mirrored left to right (.5) and top to bottom (.5), each independently.

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
