"""Fixed inputs on which the losses of published code were computed once, float64: expected values to 1e-6.

i counts rows, from 0; j and k count columns.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cmh import methods
from cmh.data.batches import Batch
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method
from cmh.networks.backbones import Frozen

K = 8


def grid(rows: int, columns: int, row: float, column: float, start: float = 0) -> Tensor:
    """start + row i + column j, (rows, columns) float64."""
    i, j = torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64)
    return start + row * i[:, None] + column * j


U = grid(4, K, 3, 1, 1).sin().tanh()  # codes of images
V = grid(4, K, 2, 1, 2).cos().tanh()  # codes of texts
CODES = torch.stack([U, V])
LABELS = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
X = grid(4, 5, 5, 1, 1).sin().abs()  # features of images
Y = (grid(4, 6, 3, 1).cos().abs() > 0.5).double()  # words of texts


def unit(x: Tensor) -> Tensor:
    return functional.normalize(x)


def build(name: str, image: int = 5, text: int = 6, labels: int = 3, **settings: Any) -> Method:
    """The method on features of so many numbers."""
    torch.manual_seed(0)
    inputs = Inputs(image_channels=(image,), text_dim=text, labels=labels)
    config = methods.config(name, bits=K, **settings)
    return methods.load(name)(config, inputs, Frozen((image,))).double()


def batch(x: Tensor = X, y: Tensor = Y, labels: Tensor = LABELS) -> Batch:
    """The pairs of features and words."""
    return Batch(torch.arange(len(x)), (x[:, :, None, None],), y, labels)


def memory(labels: Tensor = LABELS) -> CodeMemory:
    """Random codes of the items of a batch."""
    return CodeMemory(labels, K, seed=0)


def total(terms: dict[str, Tensor]) -> float:
    return sum(term.item() for term in terms.values())
