r"""UCCH: Unsupervised Contrastive Cross-modal Hashing, without labels: each item and its pair against others.

Source: Hu, Zhu, Lin, Peng and Peng, TPAMI 45(3), 2023, 3877-3889, and the authors' code (commit 0c20e62).

Codes u, v have unit length.  A memory V has a row per pair; its binary codes are keys k = sign(V) / sqrt(K),
and with r_1, r_2, ... drawn uniformly from all training items, the same for both modalities,

$$ L_c = - mean_i log softmax_0 [⟨u_i, k_i⟩, ⟨u_i, k_{r1}⟩, ⟨u_i, k_{r2}⟩, …] / τ - \text{the same for } v $$

With S = u vᵀ and C as in `cmh.hashing.contrast.shifted`:

$$ L_r = mean_i (margin - S_{ii} + log Σ_j exp C_{ij}) + \text{the same for the columns of } S $$

$$ L = α L_c + (1 - α) L_r,   V_i ← n(m V_i + (1 - m) n((u_i + v_i) / 2)) $$

In the first `warmup` epochs (of the code, the paper is silent) the keys are sign(u_j + v_j) / sqrt(K) of the
batch itself, and m is 0.

Differences from the paper and the code: keys are those of the beginning of the epoch, as the code memory's
consensus; an item's own key is the same, since each item comes once an epoch, those of others may be older.
Gradients are not clipped, Adam hardly minds.  V starts without the bias of the code's initial values, which
the warm-up overwrites anyway.  The image tower reads the backbone's last stage.  `shift` differs by dataset
in the code; the epoch is chosen by recall of validation pairs, where the code takes training items and
their labels.

Shape suffixes: B = batch, N = training set, R = drawn items and, first, the own one, K = bits, D = text
dimensions.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from cmh import distributed
from cmh.data.batches import Batch
from cmh.data.items import Items
from cmh.hashing import config_checks
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.contrast import UnitTowers, shifted
from cmh.hashing.deep import together
from cmh.hashing.method import Optimizer, Phase


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of UCCH; the defaults are the authors' code's for MIRFlickr."""

    bits: int = 128  # the paper reports 16 to 128
    hidden: int = 8192  # authors' code
    alpha: float = 0.7  # weight of L_c; COCO: 0.6
    tau: float = 0.9
    negatives: int = 4096  # drawn for each item
    momentum: float = 0.4  # m, of the memory
    margin: float = 0.2
    shift: float = 0.1  # also NUS-WIDE; COCO: 7
    warmup: int = 1  # epochs; 5 for a backbone that learns
    lr: float = 1e-4  # of Adam
    weight_decay: float = 1e-6
    decay: float = 1.0  # of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "tau", "negatives", "lr", "decay")
        config_checks.not_negative(self, "margin", "shift", "warmup", "weight_decay")
        for name in ("alpha", "momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")


class UCCH(UnitTowers):
    """Image: last stage, average, two hidden layers, tanh.  Text: one hidden layer, tanh.  Unit length."""

    reads_labels = "never"
    config: Config
    SHORT = MappingProxyType({"hidden": 1024, "lr": 3e-4, "decay": 0.1})
    VARIANTS = MappingProxyType({"contrast_only": {"alpha": 1.0}, "ranking_only": {"alpha": 0.0}})
    warm = True  # whether the epoch is one of the warm-up

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, both towers moving."""
        c = self.config
        return together(Optimizer(kind="adam", lr=c.lr, weight_decay=c.weight_decay, decay=c.decay))

    def begin_epoch(self, epoch: int, train: Items, memory: CodeMemory) -> None:
        """End the warm-up in time."""
        self.warm = epoch < self.config.warmup

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return the codes (2, B, K) of both modalities, and write V to both sides of the memory."""
        codes_2BK = torch.stack([self.code_of("image", batch), self.code_of("text", batch)])
        old_BK = (memory.image_NK[batch.index_B] + memory.text_NK[batch.index_B]) / 2
        new_BK = renewed(old_BK, codes_2BK.detach(), 0.0 if self.warm else self.config.momentum)
        memory.write("image", batch.index_B, new_BK)
        memory.write("text", batch.index_B, new_BK)
        return codes_2BK

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `contrast` and `ranking`."""
        c = self.config
        local = functional.normalize(codes, dim=2)  # again, for the first bits of nested codes
        u_BK, v_BK = distributed.gather(local.transpose(0, 1)).unbind(1)
        bits = u_BK.shape[1]
        if self.warm:
            keys_BK = torch.where((u_BK + v_BK).detach() >= 0, 1.0, -1.0).to(u_BK.dtype) / math.sqrt(bits)
            own_B = torch.arange(len(u_BK), device=u_BK.device)
            logits = torch.stack([u_BK, v_BK]) @ keys_BK.T / c.tau
            parts = [functional.cross_entropy(logits_BB, own_B) for logits_BB in logits]
        else:
            keys_NK = memory.consensus_NK.to(u_BK.dtype) / math.sqrt(bits)
            rows_BR = self._rows(batch.index_B, len(keys_NK))
            parts = [contrastive(x_BK, keys_NK, rows_BR, c.tau) for x_BK in local]
        ranking = ranked(u_BK @ v_BK.T, c.margin, c.shift)
        return {"contrast": c.alpha * torch.stack(parts).sum(), "ranking": (1 - c.alpha) * ranking}

    def _rows(self, index_B: Tensor, items: int) -> Tensor:
        """Return the rows (B, R) of this worker's items and of those drawn for each."""
        rank, workers = distributed.rank(), distributed.world_size()
        drawn = torch.randint(items, (len(index_B) * workers, self.config.negatives))[rank::workers]
        return torch.cat([index_B[:, None], drawn.to(index_B.device)], 1)


def renewed(old_BK: Tensor, codes_2BK: Tensor, momentum: float) -> Tensor:
    """Return V_i = n(m V_i + (1 - m) n((u_i + v_i) / 2))."""
    mean_BK = functional.normalize(codes_2BK.mean(0))
    return functional.normalize(momentum * old_BK + (1 - momentum) * mean_BK)


def contrastive(u_BK: Tensor, keys_NK: Tensor, rows_BR: Tensor, tau: float) -> Tensor:
    """Return -mean_i log softmax_0 of ⟨u_i, k_r⟩ / τ over the rows r of item i, the first being its own."""
    logits_BR = (u_BK @ keys_NK.T / tau).gather(1, rows_BR)
    return -logits_BR.log_softmax(1)[:, 0].mean()


def ranked(s_BB: Tensor, margin: float, shift: float) -> Tensor:
    """Return L_r of the similarities of all images and texts of a batch."""
    c_2BB = torch.stack([shifted(s_BB, margin, shift), shifted(s_BB.T, margin, shift)])
    return (margin - s_BB.diagonal() + c_2BB.logsumexp(2)).mean(1).sum()
