"""The linear head against its definition, one number at a time."""

import pytest
import torch

from cmh.networks import image_heads


def test_the_head_is_linear_in_the_average_of_the_last_stage() -> None:
    """Earlier stages do not matter; w . mean(map) for each output, biases being zero at first."""
    torch.manual_seed(0)
    head = image_heads.linear_head((2, 3), 4).double()
    maps = (torch.randn(5, 2, 4, 4), torch.randn(5, 3, 2, 2, dtype=torch.float64))
    given = head(maps)
    for i in range(5):
        for k in range(4):
            means = [sum(maps[1][i, c].flatten().tolist()) / 4 for c in range(3)]
            expected = sum(w * m for w, m in zip(head[1].weight[k].tolist(), means, strict=True))
            assert given[i, k].item() == pytest.approx(expected, rel=1e-10)


def test_weights_have_the_asked_spread() -> None:
    """N(0, std)."""
    torch.manual_seed(0)
    assert image_heads.linear_head((2, 500), 20, std=0.3)[1].weight.std().item() == pytest.approx(
        0.3, rel=0.05
    )
