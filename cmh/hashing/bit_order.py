"""Rank the bits of a code by significance, so that the first b bits of a code are its code of b bits.

Shape suffixes: K = bits, M = rows of weights (one per stage and tower).
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Criterion = Literal["most", "least", "absolute", "random"]


def order_bits(weights_MK: Tensor, how: Criterion, seed: int = 0) -> list[int]:
    """Return the numbers of the model's bits, those that a short code keeps first; ties by number.

    Source: SCAHN ranks bits by the sum of their fusion weights and keeps the most significant ("most").
    Versions of its published code differ in the end at which they cut the sorted bits, hence the choice.

    Args:
        weights_MK: weights of the K bits, float (M, K), one row per stage and tower; or a significance (K,).
        how: "most": largest sum first; "least": smallest sum first; "absolute": largest sum of magnitudes
            first; "random": a random permutation, as a control.
        seed: seed of that permutation.

    Returns:
        The K bits, each once.

    Raises:
        ValueError: another value of `how`.

    >>> weights = torch.tensor([[0.3, -0.9, 0.1], [0.1, 0.2, 0.0]])
    >>> [order_bits(weights, how) for how in ("most", "least", "absolute")]
    [[0, 2, 1], [1, 2, 0], [1, 0, 2]]
    """
    weights_MK = weights_MK.detach().cpu().double().reshape(-1, weights_MK.shape[-1])
    if how == "random":
        return torch.randperm(weights_MK.shape[1], generator=torch.Generator().manual_seed(seed)).tolist()
    scores = {"most": weights_MK.sum(0), "least": -weights_MK.sum(0), "absolute": weights_MK.abs().sum(0)}
    if how not in scores:
        raise ValueError(f"ranking {how!r} unknown; available: {', '.join(get_args(Criterion))}")
    return torch.sort(scores[how], descending=True, stable=True).indices.tolist()
