"""The order in which a code gives up its bits: a code of b bits is the first b bits of a longer one.

Shape suffixes: K = bits, M = rows of weights (a stage of a tower each).
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Criterion = Literal["most", "least", "absolute", "random"]


def order_bits(weights_MK: Tensor, how: Criterion, seed: int = 0) -> list[int]:
    """Return bits of the model, the ones to keep first; ties by the bit's number.

    `weights_MK` are the weights of the K bits, one row per stage and tower, or a (K,) significance.
    "most": largest sum first; "least": smallest sum first; "absolute": largest sum of magnitudes first;
    "random": a permutation drawn from `seed`, the control.

    Source: SCAHN ranks bits by the sum of their fusion weights and keeps the most significant ("most").  Its
    published code sorts and cuts at either end in different versions, hence the choice.

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
