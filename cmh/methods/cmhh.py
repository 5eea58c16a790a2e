"""CMHH: Cross-Modal Hamming Hashing, a focal loss on distances so that relevant codes meet in a small ball.

Source: Cao, Liu, Long and Wang, ECCV 2018, 202-218.

Both towers learn at once, from the pairs within a batch.  Two codes are as relevant as they are near: p =
exp(-beta d), with d = K / 4 ||u/||u|| - v/||v|| ||^2 = K / 2 (1 - cos(u, v)), the Hamming distance where
both are signs.  The pairs weigh by how wrong they are, as in focal loss:

$$ L = mean_{ij} -[ a s (1 - p)^γ log p + (1 - a) (1 - s) p^γ log(1 - p) ],   Q = mean_i d(|u_i|, 1) $$

Choices where the paper's text was not at hand: gamma, the balance a and no weight for Q are those of the
toolbox torchcmh (which takes the Euclidean distance for d); beta is ours, so that pairs of unknown
relevance, a tenth of them relevant, are best placed some K / 4 apart.  Q draws codes to the corners before
the pairs have moved them: on the emoji, 32 bits, MAP after ten epochs is .27 / .21 with weight 0 and .14 /
.10 with .01.  The towers are DCMH's, with tanh; one Adam for both towers.  Sums over pairs and items are
means.

Shape suffixes: B = batch, K = bits, D = text dimensions, L = labels.
`u` is a relaxed code in [-1, 1]; `s` is relevance in {0, 1}.
"""

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from cmh.data.batches import Batch
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import LinearTowers, together, whole_batch
from cmh.hashing.method import Optimizer, Phase


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of CMHH; see above for where the paper is not their source."""

    bits: int = 64  # the paper reports 16, 32, 64
    hidden: int = 8192  # of the text tower, as DCMH
    beta: float = 0.2  # ours, how fast relevance falls with distance
    gamma: float = 2.0  # how little well-placed pairs weigh; 0 is the plain likelihood: torchcmh
    balance: float = 0.5  # share of the relevant pairs' weight: torchcmh
    lambda_: float = 0.0  # weight of the quantisation: torchcmh; see above
    lr: float = 3e-4  # ours, of Adam
    decay: float = 0.1  # ours, of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "beta", "lr", "decay")
        config_checks.not_negative(self, "gamma", "lambda_")
        if not 0 < self.balance < 1:
            raise ValueError(f"balance must be between 0 and 1, got {self.balance}")


class CMHH(LinearTowers):
    """Image: last stage, average, linear, tanh.  Text: linear, ReLU, linear, tanh."""

    config: Config
    SHORT = MappingProxyType({"hidden": 1024, "lr": 1e-3, "decay": 0.03})
    squashed = True

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, both towers moving."""
        return together(Optimizer(kind="adam", lr=self.config.lr, decay=self.config.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `inter`, over all image-text pairs of the global batch, and `quantisation`."""
        config = self.config
        (image_BK, text_BK), s_BB = whole_batch(codes, batch)
        d_BB = hamming(image_BK, text_BK)
        corners = torch.ones_like(codes[0])
        quantisation = [hamming(u_BK.abs(), corners[:1]).mean() for u_BK in codes]
        return {
            "inter": focal(d_BB, s_BB, config.beta, config.gamma, config.balance),
            "quantisation": config.lambda_ * torch.stack(quantisation).sum(),
        }


def hamming(u_BK: Tensor, v_NK: Tensor) -> Tensor:
    """Return d_BN = K / 2 (1 - cos(u_i, v_j)), from 0 to K."""
    return u_BK.shape[1] / 2 * (1 - losses.cosine(u_BK, v_NK))


def focal(d_BN: Tensor, s_BN: Tensor, beta: float, gamma: float, balance: float) -> Tensor:
    """Return L of the formula above.  Numerics: from 1e-4 / beta on, as log(1 - p) ends at d = 0."""
    x_BN = (beta * d_BN).clamp(min=1e-4)
    relevant_BN = (-torch.expm1(-x_BN)) ** gamma * x_BN
    other_BN = -torch.exp(-gamma * x_BN) * torch.log(-torch.expm1(-x_BN))
    return (balance * s_BN * relevant_BN + (1 - balance) * (1 - s_BN) * other_BN).mean()
