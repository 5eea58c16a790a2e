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
    words.  The resize is torch's "nearest", so a pooled column is constant on each of its `segments`.  The
    initial weights are positive (`scale_weights`).

    Attributes:
        dim: D, the number of words.
        kernels: the scales, none larger than D.
    """

    def __init__(self, dim: int, scales: Sequence[int] = SCALES) -> None:
        super().__init__()
        self.dim = dim
        self.kernels = tuple(min(scale, dim) for scale in scales)
        self.weight = nn.Parameter(scale_weights(len(scales)))
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


def scale_weights(scales: int, std: float = 2**0.5) -> Tensor:
    """Return initial weights (scales, 1) of the 1x1 convolutions: absolute values of N(0, std).

    Averages of words are not negative, so a ReLU behind a negative weight and a bias of 0 gives 0 for every
    text, and passes no gradient that could ever change it: with N(0, std), half of the scales are dead.

    Args:
        scales: number of convolutions, each from 1 channel to 1 channel.
        std: by default Kaiming's for a fan of 1.
    """
    return torch.empty(scales, 1).normal_(0, std).abs()
