"""TDH: Triplet-based Deep Hashing, codes ordered by likelihood instead of being near or far by themselves.

Source: Deng, Chen, Liu, Gao and Tao, Triplet-Based Deep Hashing Network for Cross-Modal Retrieval, IEEE
Transactions on Image Processing 27, 2018, 3893-3903.

A triplet (i, j, k) has a relevant pair (i, j) and an irrelevant one (i, k).  Its likelihood is sigmoid(t_ij
- t_ik - m K), t = half the inner product; triplets lie across the modalities, both ways, and within each.  A
graph term draws the codes of relevant items together, tr(B^T Lap B) with the Laplacian of s, and the codes
of an item in both modalities are drawn to their consensus.

The margin m is 1/16 by default, the paper's 1/2.  With the latter few triplets of many-labelled data ever
reach it; all then weigh alike, and every bit learns the same split (emoji, 32 bits, ten epochs: MAP .15 /
.15, against .19 / .22).

Choices where the paper's text was not at hand: both towers learn at once, from all triplets within a batch,
where the paper samples triplets and takes the towers in turn; the graph term acts on the mean of an item's
two relaxed codes, where the paper solves for B; its weight and that of the quantisation; Adam.  Codes are
not squashed, as DCMH's: the tanh of `encode_image` and `encode_text` only brings them into [-1, 1].  Sums
are means over triplets, pairs, items and bits.

Shape suffixes: B = batch, P = relevant pairs in it, K = bits, D = text dimensions, L = labels.
`u`, `v` are codes that the towers give, any real numbers; `s` is relevance in {0, 1}.
"""

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from cmh.data.batches import Batch
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import LinearTowers, together, whole_batch
from cmh.hashing.method import Optimizer, Phase


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of TDH; see above for where the paper is not their source."""

    bits: int = 64  # the paper reports 16, 32, 64
    hidden: int = 8192  # of the text tower, as DCMH
    margin: float = 0.0625  # of a triplet's likelihood, times K: ours; the paper's is 0.5, see above
    gamma: float = 0.01  # ours, weight of the quantisation
    eta: float = 1.0  # ours, weight of the graph term
    lr: float = 3e-4  # ours, of Adam
    decay: float = 0.1  # ours, of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "lr", "decay")
        config_checks.not_negative(self, "margin", "gamma", "eta")


class TDH(LinearTowers):
    """Image: last stage, average, linear.  Text: linear, ReLU, linear."""

    config: Config
    SHORT = MappingProxyType({"hidden": 1024, "lr": 3e-3, "decay": 0.03})

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, both towers moving."""
        return together(Optimizer(kind="adam", lr=self.config.lr, decay=self.config.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return `inter`, `intra`, `quantisation` and `graph`.

        `inter` and `intra` are each both ways or in both modalities.
        """
        config = self.config
        (u_BK, v_BK), s_BB = whole_batch(codes, batch)
        margin = config.margin * u_BK.shape[1]
        b_BK = memory.consensus_NK[batch.index_B]
        return {
            "inter": triplet_nll(u_BK, v_BK, s_BB, margin) + triplet_nll(v_BK, u_BK, s_BB, margin),
            "intra": triplet_nll(u_BK, u_BK, s_BB, margin) + triplet_nll(v_BK, v_BK, s_BB, margin),
            "quantisation": config.gamma * 2 * losses.quantisation(codes, b_BK),  # of both
            "graph": config.eta * graph((u_BK + v_BK) / 2, s_BB),
        }


def triplet_nll(u_BK: Tensor, v_BK: Tensor, s_BB: Tensor, margin: float) -> Tensor:
    """Return L = -mean_ijk log sigmoid(t_ij - t_ik - margin), t = u v^T / 2, over all s_ij = 1, s_ik = 0.

    Zero where the batch has no triplet.
    """
    t_BB = u_BK @ v_BK.T / 2
    row_P, relevant_P = s_BB.nonzero(as_tuple=True)
    difference_PB = t_BB[row_P, relevant_P, None] - t_BB[row_P] - margin
    other_PB = 1 - s_BB[row_P]
    nll = (functional.softplus(-difference_PB) * other_PB).sum()
    return nll / other_PB.sum().clamp(min=1)


def graph(w_BK: Tensor, s_BB: Tensor) -> Tensor:
    """Return L = mean_ij s_ij ||w_i - w_j||^2 / (2 K), that is tr(W^T Lap W) / (B^2 K)."""
    laplacian_BB = torch.diag(s_BB.sum(1)) - s_BB
    return (w_BK * (laplacian_BB @ w_BK)).sum() / (len(w_BK) * w_BK.numel())
