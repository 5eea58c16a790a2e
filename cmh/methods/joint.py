"""JOINT: one code for pairs, groups and labels, as far as each is there; this project's own, not a paper's.

A searcher asks for a meaning in words that no label names; the papers' methods learn from labels alone, and
two items with the same labels get the same code.  This method learns from three kinds of evidence at once:

    L = p L_pairs + l L_labels + q L_quantisation

L_pairs: a contrastive loss over the global batch B (InfoNCE; Radford et al., CLIP, ICML 2021), both ways,

    -1/B Σ_i Σ_j t_ij log softmax_j(cos(u_i, v_j) / τ), t_ij = 1[same group] / items of the group in B,

so that an image's own text, and the texts of its group, are nearer than all others.  Without groups each item
is its own, and t is the identity.

L_labels, where items have labels: the likelihood of relevance of SCAHN (Wang et al., Neurocomputing 400,
2020) of both codes of an item against the stored codes of both modalities of all training items, with
relevant pairs weighing half of all pairs; the sum over both codes and both memories.

L_quantisation: mean (|u| - 1)², so that signs lose little.

Each prefix of `prefixes` has the same loss.  Towers: linear, ReLU, dropout, linear, tanh, over inputs that
are standardised by the training set; images are the averages of all stages of the backbone.

Shape suffixes: B = batch, K = bits, D = text dimensions, F = image features, N = training set, L = labels.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers, together
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks.dropout import Dropout

ALPHA = 32  # the inner product of two codes, at most K, is brought to -32 to 32 in L_labels


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; all are ours."""

    bits: int = 64
    hidden: int = 2048  # units between input and code
    dropout: float = 0.5  # of the hidden units
    pairs: float = 0.3  # weight of L_pairs
    labels: float = 1.0  # weight of L_labels
    quantisation: float = 0.03  # weight of L_quantisation
    temperature: float = 0.15
    groups: bool = True  # False: ablation, of a group only the own pair counts in L_pairs
    relevant_weight: float | Literal["balanced"] = "balanced"  # in L_labels; 1: ablation, pairs weigh alike
    word_variance: float = 0.1  # added to the variance of each number of a text: rare words stay small
    lr: float = 1e-3
    decay: float = 0.01
    weight_decay: float = 1e-5

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "temperature", "word_variance", "lr", "decay")
        config_checks.positive(self, "relevant_weight")
        config_checks.not_negative(self, "dropout", "pairs", "labels", "quantisation", "weight_decay")


class Joint(Towers):
    """Two towers of two layers that learn from pairs, groups and labels together."""

    config: Config
    reads_labels = "where given"
    texts = MappingProxyType({"name": "minilm_l6_v2", "words": True})
    VARIANTS = MappingProxyType(
        {
            "without_pairs": {"pairs": 0.0},
            "without_groups": {"groups": False},
            "without_labels": {"labels": 0.0},
            "unbalanced": {"relevant_weight": 1.0},
            "without_quantisation": {"quantisation": 0.0},
            "cold": {"temperature": 0.05},
            "warm": {"temperature": 0.5},
        }
    )

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image_tower = nn.Sequential(_Averages(), _tower(sum(inputs.image_channels), config))
        self.text_tower = _tower(inputs.text_dim, config, config.word_variance)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over image-text pairs."""
        c = self.config
        return together(Optimizer(kind="adam", lr=c.lr, decay=c.decay, weight_decay=c.weight_decay))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the terms of `codes` (2, B, K), of images and of texts."""
        c = self.config
        terms = {"quantisation": c.quantisation * (codes.abs() - 1).square().mean()}
        if c.pairs:
            terms["pairs"] = c.pairs * self._pairs(codes, batch, memory)
        if c.labels and 0 < memory.relevant_share < 1:  # else no label tells items apart: pairs alone
            relevant_BN = losses.relevance(batch.labels_BL, memory.labels_NL)
            weight = memory.weight_of_relevant(c.relevant_weight)
            alpha = codes.shape[-1] / ALPHA
            nll = [
                losses.memory_nll(codes, stored_NK, relevant_BN, alpha, weight)
                for stored_NK in (memory.image_NK, memory.text_NK)
            ]
            share = memory.relevant_share
            mean_weight = share * weight + 1 - share
            terms["labels"] = c.labels * torch.stack(nll).sum() * 2 / mean_weight
        return terms

    def _pairs(self, codes: Tensor, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return L_pairs of the global batch."""
        image_BK, text_BK = distributed.gather(codes.transpose(0, 1)).unbind(1)
        index_B = distributed.gather(batch.index_B)
        group_B = memory.group_N[index_B] if self.config.groups else index_B
        return losses.contrastive(image_BK, text_BK, group_B, self.config.temperature)


class _Averages(nn.Module):
    """The averages over positions of all stage maps, side by side: (B, F)."""

    def forward(self, stages: Stages) -> Tensor:
        return torch.cat([stage.mean((2, 3)) for stage in stages], 1)


def _tower(features: int, config: Config, eps: float = 1e-3) -> nn.Sequential:
    """Return a network from features (B, F) to relaxed codes (B, K)."""
    return nn.Sequential(
        nn.BatchNorm1d(features, eps=eps, affine=False),
        nn.Linear(features, config.hidden),
        nn.ReLU(),
        Dropout(config.dropout),
        nn.Linear(config.hidden, config.bits),
        nn.Tanh(),
    )
