"""What UCCH and NRCH share: towers whose codes have unit length, and scores that push plain negatives away.

Shape suffixes: B = global batch, K = bits.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh.data.batches import Batch, Stages
from cmh.data.sides import Side
from cmh.hashing.deep import Towers
from cmh.hashing.method import Inputs
from cmh.networks import image_heads


class UnitTowers(Towers):
    """Towers with codes u = n(tanh f) of unit length.

    Image: last stage, average, two hidden layers.  Text: one.  `Config` has the field `hidden`, their width.
    """

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        hidden = config.hidden
        self.image_tower = nn.Sequential(
            image_heads.LastStage(),
            *(nn.Linear(inputs.image_channels[-1], hidden), nn.ReLU()),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.bits)),
        )
        self.text_tower = nn.Sequential(
            nn.Linear(inputs.text_dim, hidden), nn.ReLU(), nn.Linear(hidden, config.bits)
        )

    def code_of(self, side: Side, batch: Batch) -> Tensor:
        """Return u = n(tanh f)."""
        return functional.normalize(super().code_of(side, batch).tanh())

    def encode_image(self, image: Stages) -> Tensor:
        """Return relaxed codes u = n(tanh f) of images, (B, K)."""
        return functional.normalize(super().encode_image(image).tanh())

    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return relaxed codes u = n(tanh f) of texts, (B, K)."""
        return functional.normalize(super().encode_text(text_BD).tanh())


def shifted(s_BB: Tensor, margin: float, shift: float) -> Tensor:
    """Return C_ij = s_ij where s_ij >= s_ii - margin, and s_ij - shift elsewhere.

    Pairs that are nearly as similar as an item's own count as they are, all others less.

    Source: Hu et al., UCCH, TPAMI 2023, eq. 8, of which `shift` is ξ.
    """
    return torch.where(s_BB >= s_BB.diagonal()[:, None] - margin, s_BB, s_BB - shift)
