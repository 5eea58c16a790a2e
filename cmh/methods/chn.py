"""CHN: Correlation Hashing Network, a margin on the cosine of codes.

Source: Cao, Long, Wang and Yu, Correlation Hashing Network for Efficient Cross-Modal Retrieval, BMVC 2017
(arXiv 1602.06697).

Both towers learn at once, from the pairs within a batch: relevant pairs are to have a cosine of at least
`margin`, others of at most -`margin`, and the absolute values of a code are to point along (1, ..., 1).  The
hinges are squared after the maximum is taken (the toolbox in circulation squares first, which rewards pairs
beyond the margin for coming back).

Choices where the paper's text was not at hand: margin and weight of the quantisation are those of the
toolbox torchcmh; the towers are DCMH's, with tanh; one Adam for both towers in place of momentum SGD with a
rate each.  Sums over pairs and items are means.

Shape suffixes: B = batch, K = bits, D = text dimensions, L = labels.
`u` is a relaxed code in [-1, 1]; `s` is relevance in {0, 1}.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

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
    """Settings of CHN; see above for where the paper is not their source."""

    bits: int = 64  # the paper reports 8 to 64
    hidden: int = 8192  # of the text tower, as DCMH
    margin: float = 0.8  # of the cosine, in both terms: torchcmh
    lambda_: float = 0.01  # weight of the quantisation: torchcmh
    lr: float = 3e-4  # ours, of Adam
    decay: float = 0.1  # ours, of lr over all epochs
    relevant_weight: float | Literal["balanced"] = 1.0  # ours; 1 is the published loss

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "lr", "decay", "relevant_weight")
        config_checks.not_negative(self, "margin", "lambda_")


class CHN(LinearTowers):
    """Image: last stage, average, linear, tanh.  Text: linear, ReLU, linear, tanh."""

    config: Config
    # Relevant pairs are rare where labels are many: unweighted, their term drowns and codes hardly learn.
    SHORT = MappingProxyType({"hidden": 1024, "lr": 1e-3, "decay": 0.03, "relevant_weight": "balanced"})
    squashed = True

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, both towers moving."""
        return together(Optimizer(kind="adam", lr=self.config.lr, decay=self.config.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `inter`, over all image-text pairs of the global batch, and `quantisation`."""
        config = self.config
        (image_BK, text_BK), s_BB = whole_batch(codes, batch)
        weight = memory.weight_of_relevant(config.relevant_weight)
        quantisation = [cosine_quantisation(u_BK, config.margin) for u_BK in codes]
        return {
            "inter": cosine_margin(image_BK, text_BK, s_BB, config.margin, weight),
            "quantisation": config.lambda_ * torch.stack(quantisation).sum(),
        }


def cosine_margin(
    u_BK: Tensor, v_BK: Tensor, s_BB: Tensor, margin: float, relevant_weight: float = 1.0
) -> Tensor:
    """Return L = mean_ij w_ij max(0, margin - (2 s_ij - 1) cos(u_i, v_j))^2, w_ij as `losses`."""
    hinge_BB = functional.relu(margin - (2 * s_BB - 1) * losses.cosine(u_BK, v_BK))
    return (losses.pair_weights(s_BB, relevant_weight) * hinge_BB.square()).mean()


def cosine_quantisation(u_BK: Tensor, margin: float) -> Tensor:
    """Return L = mean_i max(0, margin - cos(|u_i|, 1))^2."""
    cosine_B = functional.cosine_similarity(u_BK.abs(), torch.ones_like(u_BK))
    return functional.relu(margin - cosine_B).square().mean()
