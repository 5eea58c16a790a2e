"""A bag of words averaged at several scales, the input of the text towers of several papers.

Source: Li et al., Self-Supervised Adversarial Hashing (SSAH), CVPR 2018; Wang et al., SCAHN, 2020; both use
`SCALES`.

Shape suffixes: B = batch, D = text dimensions (words), J = columns (the words and their scales).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALES = (50, 30, 15, 10, 5)  # number of neighbouring words that each average covers


class MultiScale(nn.Module):
    """A layer from words (B, D) to columns (B, J, D): the words, then their averages at each scale.

    The averages pass a 1x1 convolution and a ReLU and are resized to D.  A scale larger than D averages all
    words.  The resize is torch's "nearest", so a pooled column is constant on each of its `segments`.

    Attributes:
        dim: D, the number of words.
        kernels: the scales, none larger than D.
    """

    def __init__(self, dim: int, scales: Sequence[int] = SCALES) -> None:
        super().__init__()
        self.dim = dim
        self.kernels = tuple(min(scale, dim) for scale in scales)
        # One 1x1 convolution from 1 channel to 1 channel per scale, hence a fan of 1 in Kaiming's formula.
        self.weight = nn.Parameter(nn.init.kaiming_normal_(torch.empty(len(scales), 1), mode="fan_out"))
        self.bias = nn.Parameter(torch.zeros(len(scales), 1))

    def forward(self, text_BD: Tensor) -> Tensor:
        """Return the columns (B, J, D) of bags of words (B, D)."""
        text_B1D = text_BD[:, None]
        columns = [text_B1D]
        for kernel, weight, bias in zip(self.kernels, self.weight, self.bias, strict=True):
            pooled = functional.relu(functional.avg_pool1d(text_B1D, kernel) * weight + bias)
            columns.append(functional.interpolate(pooled, size=self.dim, mode="nearest"))
        return torch.cat(columns, dim=1)

    def segments(self, scale: int) -> Tensor:
        """Return the segments of a pooled column.

        Args:
            scale: position in `kernels`.

        Returns:
            (D,) int64, ascending: for each word, the number of the average that the column repeats there.
        """
        source = torch.arange(self.dim // self.kernels[scale], dtype=torch.float64)
        return functional.interpolate(source[None, None], size=self.dim, mode="nearest")[0, 0].long()
