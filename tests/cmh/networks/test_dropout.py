"""Dropout: shares, scale and evaluation; `tests.cmh.methods.test_workers` has it on two workers."""

import pytest
import torch

from cmh.networks.dropout import Dropout


def test_a_share_is_left_out_and_the_mean_stays() -> None:
    """Values are 0 or divided by 1 - share; a seed repeats them."""
    x, drop = torch.ones(200, 50), Dropout(0.2)
    torch.manual_seed(0)
    first = drop(x)
    torch.manual_seed(0)
    assert torch.equal(drop(x), first)
    assert set(first.unique().tolist()) == {0.0, 1.25}
    assert first.mean().item() == pytest.approx(1, abs=0.02)


def test_evaluation_changes_nothing() -> None:
    """As a share of 0; 1 is refused."""
    x = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1, got 1"):
        Dropout(1.0)
