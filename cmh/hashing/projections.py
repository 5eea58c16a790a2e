"""Features, linear hash functions and signs, as the methods without gradients share them.

Shape suffixes: B = batch, N = training set, F = features, K = bits, C, H, W = a stage map.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmh.data.batches import Stages
from cmh.hashing.method import Inputs

Matrix = NDArray[np.float64]


def pooled(maps: Stages, stages: Sequence[int]) -> Tensor:
    """Return the averages over positions of the chosen stage maps, side by side.

    Args:
        maps: one map (B, C, H, W) per stage of the backbone.
        stages: numbers of the stages; negative ones count from the last stage.

    Returns:
        Features (B, F) float64.
    """
    return torch.cat([maps[stage].double().mean((2, 3)) for stage in stages], 1)


def pooled_size(inputs: Inputs, stages: Sequence[int]) -> int:
    """Return F, the number of features in the result of `pooled`.

    Raises:
        ValueError: no stage, or a stage that the backbone does not have.
    """
    count = len(inputs.image_channels)
    if not stages or not all(-count <= stage < count for stage in stages):
        raise ValueError(
            f"stages {tuple(stages)} asked of {count}; choose one or more of {-count} to {count - 1}"
        )
    return sum(inputs.image_channels[stage] for stage in stages)


class Projection(nn.Module):
    """A linear hash function: (x - mean) W + offset, float64."""

    mean_F: Tensor
    weight_FK: Tensor
    offset_K: Tensor

    def __init__(self, features: int, bits: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("weight_FK", torch.zeros(features, bits, dtype=torch.float64))
        self.register_buffer("offset_K", torch.zeros(bits, dtype=torch.float64))

    def keep(self, mean_F: Matrix, weight_FK: Matrix, offset_K: Matrix | float = 0.0) -> None:
        """Store the learnt parameters.

        Args:
            mean_F: mean of the features, float64.
            weight_FK: weights W, float64.
            offset_K: offsets, float64 (K,), or one number for all bits.
        """
        self.mean_F.copy_(torch.from_numpy(mean_F))
        self.weight_FK.copy_(torch.from_numpy(np.ascontiguousarray(weight_FK)))
        self.offset_K.copy_(torch.as_tensor(offset_K, dtype=torch.float64))

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return real-valued codes (B, K) float64 of features (B, F)."""
        return (x_BF.double() - self.mean_F) @ self.weight_FK + self.offset_K


def signs(u_NK: Matrix) -> NDArray[np.int8]:
    """Return the codes in {-1, +1} of real-valued ones; sign(0) = +1."""
    return np.where(u_NK >= 0, 1, -1).astype(np.int8)


def unit_rows(x_NF: Matrix) -> Matrix:
    """Return the rows divided by their Euclidean norm; rows of zeros stay zero."""
    length_N = np.linalg.norm(x_NF, axis=1, keepdims=True)
    return x_NF / np.where(length_N == 0, 1, length_N)
