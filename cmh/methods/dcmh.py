"""DCMH: Deep Cross-Modal Hashing, the first end-to-end method and everybody's baseline.

Source: Jiang and Li, CVPR 2017, 3232-3240.

One fully connected layer to K bits on the image network, one hidden layer on the bag of words.  The towers
move in turn, each against the memory of the other's codes: the likelihood of relevance, the distance to the
consensus B = sign(F + G), and the balance of every bit over the training set.

Differences from the paper:
- Its sums over N x N pairs, N items and K bits are divided by N x N, or for a step by its B N pairs as in the
  authors' code, all alike, so that their proportions stay the paper's.  The balance is that of the batch; see
  `cmh.hashing.losses.balance`.
- Adam by default.  With plain SGD at 10^-1.5 from weights N(0, 0.01), features of a frozen network and texts
  of a few words stay near zero for thousands of steps (on the emoji the likelihood is still log 2 after 10
  epochs), and rates at which these move diverge on denser texts.  The published way is `optimizer="sgd"`,
  `lr=10**-1.5`, `decay=10**-4.5`.
- Paper silent: the initial codes are N(0, 1), as in the authors' second code; B is renewed at the start of an
  epoch.

The codes are not squashed: F and G are what the last layers give; the tanh of `encode_image` and
`encode_text` only brings them into [-1, 1].

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
    """Settings of DCMH; the defaults are the paper's unless said otherwise."""

    bits: int = 64  # the paper reports 16, 32, 64
    hidden: int = 8192  # of the text tower: table 2
    gamma: float = 1.0  # weight of the quantisation: section 4
    eta: float = 1.0  # weight of the balance: section 4
    # Weight of relevant pairs in the likelihood; 1 is the paper.  Ours: "balanced", see `CodeMemory`.
    relevant_weight: float | Literal["balanced"] = 1.0
    optimizer: Literal["adam", "sgd"] = "adam"  # ours, see above; paper: sgd without momentum
    lr: float = 3e-4  # ours, for adam; authors' code: 10^-1.5 for sgd
    decay: float = 0.1  # of lr over all epochs: ours, for adam; authors' code: 10^-4.5 for sgd

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "lr", "decay", "relevant_weight")
        config_checks.not_negative(self, "gamma", "eta")


class DCMH(LinearTowers):
    """Image: last stage, average, linear.  Text: linear, ReLU, linear."""

    config: Config
    # SHORT was chosen on emoji by validation MAP.  relevant_weight: with many labels few pairs are relevant;
    # unweighted, their terms are lost in the sum.  eta: in batches of 64 the balance term measures
    # mostly chance; at its full weight the codes hardly learn.
    SHORT = MappingProxyType(
        {"hidden": 1024, "lr": 3e-3, "decay": 0.03, "relevant_weight": "balanced", "eta": 0.1}
    )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """A pass over the images, then one over the texts."""
        config = self.config
        return in_turn(Optimizer(kind=config.optimizer, lr=config.lr, decay=config.decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `inter`, `quantisation` and `balance`, each with its weight.

        inter = nll(s, f, other memory); quantisation = gamma / (B N) sum_i ||b_i - f_i||^2;
        balance = eta ||mean_i f_i||^2, over the global batch.
        """
        f_BK, other_NK = codes, memory.text_NK if phase == "image" else memory.image_NK
        weight = memory.weight_of_relevant(self.config.relevant_weight)
        s_BN = losses.relevance(batch.labels_BL, memory.labels_NL)
        share = f_BK.shape[1] / len(other_NK)  # K squares an item beside its N pairs
        quantisation = losses.quantisation(f_BK, memory.consensus_NK[batch.index_B])
        return {
            "inter": losses.memory_nll(f_BK[None], other_NK, s_BN, ALPHA, weight),
            "quantisation": self.config.gamma * share * quantisation,
            "balance": self.config.eta * losses.balance(distributed.gather(f_BK)),
        }
