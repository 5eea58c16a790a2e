"""PRDH: Pairwise Relationship Guided Deep Hashing, DCMH with pairs within a modality and decorrelated bits.

Source: Yang, Deng, Liu, Liu, Tao and Gao, AAAI 2017, 1618-1625.

Towers, memories and regularisation (quantisation and balance) are those of DCMH.  Added are the likelihood of
relevance within each modality, and a penalty on the covariance C of the bits, 1/2 (||C||^2 - ||diag C||^2).

Scales, optimiser and what the paper leaves open are as in `cmh.methods.dcmh`.  The penalty is over bits, and
is divided by its K (K - 1) entries: by the pairs of the training set, as the other terms, it would vanish.
C is that of the codes of the global batch around their mean (the toolbox in circulation averages the centred
codes first, which is zero whatever the codes).

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L = labels.
`f` is the code that a tower gives, any real numbers; `s` is relevance in {0, 1}.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from cmh import distributed
from cmh.data.batches import Batch
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import LinearTowers, in_turn
from cmh.hashing.method import Optimizer, Phase

ALPHA = 2  # of the likelihood: the paper's theta is half the inner product


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of PRDH; the weights are those of the toolbox torchcmh, the paper's text not being at hand."""

    bits: int = 64  # the paper reports 16, 32, 64
    hidden: int = 8192  # of the text tower, as DCMH
    lambda_: float = 1.0  # weight of the decorrelation: torchcmh
    gamma: float = 1.0  # weight of quantisation and balance: torchcmh
    # Weight of relevant pairs in the likelihood; 1 is the paper.  Ours: "balanced", see `CodeMemory`.
    relevant_weight: float | Literal["balanced"] = 1.0
    optimizer: Literal["adam", "sgd"] = "adam"  # ours, see above; paper: sgd without momentum
    lr: float = 3e-4  # ours, for adam; authors' code: 10^-1.5 for sgd
    decay: float = 0.1  # of lr over all epochs: ours, for adam; authors' code: 10^-4.5 for sgd

    def __post_init__(self) -> None:
        config_checks.positive(self, "hidden", "lr", "decay", "relevant_weight")
        config_checks.not_negative(self, "lambda_", "gamma")
        if self.bits < 2:
            raise ValueError(
                f"bits must be at least 2, for one bit has nothing to correlate with, got {self.bits}"
            )


class PRDH(LinearTowers):
    """Image: last stage, average, linear.  Text: linear, ReLU, linear."""

    config: Config
    # SHORT was chosen on emoji by validation MAP.  relevant_weight: with many labels few pairs are relevant;
    # unweighted, their terms are lost in the sum.  gamma: in batches of 64 the balance term measures
    # mostly chance; at its full weight the codes hardly learn.
    SHORT = MappingProxyType(
        {"hidden": 1024, "lr": 1e-3, "decay": 0.03, "relevant_weight": "balanced", "gamma": 0.01}
    )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """A pass over the images, then one over the texts."""
        config = self.config
        return in_turn(Optimizer(kind=config.optimizer, lr=config.lr, decay=config.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `inter`, `intra`, `decorrelation`, `quantisation` and `balance`, each with its weight.

        inter = nll(s, f, other memory), intra = nll(s, f, own memory); quantisation and balance as DCMH's,
        times gamma; decorrelation = lambda / (K (K - 1)) 1/2 (||C||^2 - ||diag C||^2).
        """
        config, f_BK = self.config, codes
        own_NK, other_NK = memory.image_NK, memory.text_NK
        if phase == "text":
            own_NK, other_NK = other_NK, own_NK
        weight = memory.weight_of_relevant(self.config.relevant_weight)
        s_BN = losses.relevance(batch.labels_BL, memory.labels_NL)
        everyone_BK = distributed.gather(f_BK)
        share = f_BK.shape[1] / len(own_NK)  # K squares an item beside its N pairs
        quantisation = losses.quantisation(f_BK, memory.consensus_NK[batch.index_B])
        return {
            "inter": losses.memory_nll(f_BK[None], other_NK, s_BN, ALPHA, weight),
            "intra": losses.memory_nll(f_BK[None], own_NK, s_BN, ALPHA, weight),
            "decorrelation": config.lambda_ * decorrelation(everyone_BK),
            "quantisation": config.gamma * share * quantisation,
            "balance": config.gamma * losses.balance(everyone_BK),
        }


def decorrelation(f_BK: Tensor) -> Tensor:
    """Return L = 1/2 (||C||^2 - ||diag C||^2) / (K (K - 1)).

    C_kl = mean_i (f_ik - mean f_k) (f_il - mean f_l).
    """
    bits = f_BK.shape[1]
    centred_BK = f_BK - f_BK.mean(0)
    c_KK = centred_BK.T @ centred_BK / len(f_BK)
    return (c_KK.square().sum() - c_KK.diagonal().square().sum()) / (2 * bits * (bits - 1))
