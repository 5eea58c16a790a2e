"""Pooling of stages against means by hand, and the linear hash function."""

import numpy as np
import pytest
import torch

from cmh.hashing import projections
from cmh.hashing.method import Inputs


def test_pooled_takes_means_of_the_chosen_stages_in_order() -> None:
    """Stage -1 before stage 0, each channel's mean over positions, float64."""
    first, last = torch.arange(8.0).view(1, 2, 2, 2), torch.tensor([[[[7.0]]]])
    pooled = projections.pooled((first, last), (-1, 0))
    assert pooled.dtype == torch.float64
    assert pooled.tolist() == [[7.0, 1.5, 5.5]]
    inputs = Inputs(image_channels=(2, 1), text_dim=1, labels=1)
    assert projections.pooled_size(inputs, (-1, 0)) == 3


@pytest.mark.parametrize("stages", [(2,), (-3,), ()])
def test_a_stage_that_is_not_there_is_refused(stages: tuple[int, ...]) -> None:
    """The message gives the range."""
    inputs = Inputs(image_channels=(2, 1), text_dim=1, labels=1)
    with pytest.raises(ValueError, match="-2 to 1"):
        projections.pooled_size(inputs, stages)


def test_a_projection_is_affine() -> None:
    """(x - mean) W + offset, also of float32 input."""
    projection = projections.Projection(2, 1)
    projection.keep(np.array([1.0, 2.0]), np.array([[3.0], [4.0]]), np.array([5.0]))
    assert projection(torch.tensor([[2.0, 2.0]])).tolist() == [[8.0]]


def test_signs_and_unit_rows() -> None:
    """sign(0) = +1; a row of zeros stays."""
    assert projections.signs(np.array([[-0.1, 0.0, 2.0]])).tolist() == [[-1, 1, 1]]
    assert projections.unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]
