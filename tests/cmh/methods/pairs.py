"""A batch, a memory and slow loops that the tests of several methods share; float64 throughout."""

import math

import torch
from torch import Tensor, nn

from cmh import methods
from cmh.data.batches import Batch
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method
from cmh.networks.backbones import Frozen
from tests import synthetic

N, B, K, D, L = 14, 6, 8, 40, 3
CHANNELS = (5, 6, 17, 33)


def build(name: str, backbone: nn.Module | None = None, **settings: object) -> Method:
    """The method for `batch`, on features unless a backbone is given."""
    torch.manual_seed(0)
    inputs = Inputs(image_channels=CHANNELS, text_dim=D, labels=L)
    cls = methods.load(name)
    return cls(methods.config(name, bits=K, **settings), inputs, backbone or Frozen(CHANNELS)).double()


def labels(rows: int) -> Tensor:
    """Multi-hot, the first two alike and not empty, the third without any."""
    return synthetic.random_labels(rows, L)


def batch(filled: CodeMemory | None = None) -> Batch:
    """Both modalities, with the labels that the memory has in these rows."""
    return synthetic.random_batch(N, B, words=D, channels=CHANNELS, labels=L, memory=filled)


def memory() -> CodeMemory:
    """Random codes of N items."""
    return synthetic.random_memory(N, K, L)


def dot(a_K: Tensor, b_K: Tensor) -> float:
    return sum(x * y for x, y in zip(a_K.tolist(), b_K.tolist(), strict=True))


def squares(a_BK: Tensor, b_BK: Tensor) -> float:
    """sum_ik (a_ik - b_ik)^2, one number at a time."""
    return sum((a - b) ** 2 for a, b in zip(a_BK.flatten().tolist(), b_BK.flatten().tolist(), strict=True))


def relevant(a_L: Tensor, b_L: Tensor) -> bool:
    return any(x and y for x, y in zip(a_L.tolist(), b_L.tolist(), strict=True))


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def nll(
    a_BK: Tensor, o_NK: Tensor, labels_BL: Tensor, labels_NL: Tensor, alpha: float = 2, weight: float = 1
) -> float:
    """-sum_ij w_ij (s_ij t_ij - log(1 + exp t_ij)), t = a o / alpha, w = weight if relevant, else 1."""
    total = 0.0
    for a_K, a_L in zip(a_BK, labels_BL, strict=True):
        for o_K, o_L in zip(o_NK, labels_NL, strict=True):
            t = dot(a_K, o_K) / alpha
            total -= weight * log_sigmoid(t) if relevant(a_L, o_L) else log_sigmoid(-t)
    return total


def cosine(a_K: Tensor, b_K: Tensor) -> float:
    return dot(a_K, b_K) / math.sqrt(dot(a_K, a_K) * dot(b_K, b_K))
