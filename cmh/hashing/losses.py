"""Loss terms that several hashing methods share, as pure functions from tensors to a scalar tensor.

The functions depend on neither modules nor devices, and give terms without weights; each method multiplies a
term by its own weight.

Shape suffixes: B = batch, N = the other side of the pairs (training set or batch), K = bits, L = labels,
S = layers of a network that are compared at once (the loss is their mean), R = S B rows, n = a piece of N.
`u`, `v` are relaxed codes in [-1, 1]; `b` is a code in {-1, +1}; `s` is relevance in {0, 1}, or similarity in
[0, 1].
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

PAIRS = 2**17  # that a core of a CPU works on at a time in `memory_nll`: 0.5 MB of each intermediate result


def relevance(labels_BL: Tensor, labels_NL: Tensor) -> Tensor:
    """Return s_BN = 1 where two items share at least one label, else 0; in the dtype of the labels."""
    return (labels_BL @ labels_NL.T).clamp_(max=1).to(labels_BL.dtype)


def label_cosine(labels_BL: Tensor, labels_NL: Tensor) -> Tensor:
    """Return s_BN = |l_i and l_j| / sqrt(|l_i| |l_j|), the cosine of the label vectors.

    It is 0 where either item has no label.

    Source: DSPAH (Chen et al.), eq. 2 to 4; MESDCH (Zou et al.).
    """
    norm_BN = labels_BL.sum(1).sqrt()[:, None] * labels_NL.sum(1).sqrt()
    return labels_BL @ labels_NL.T / norm_BN.clamp(min=1)


def pairwise_nll(
    u_SBK: Tensor, v_SNK: Tensor, s_BN: Tensor, alpha: float, relevant_weight: float = 1.0
) -> Tensor:
    """Return the negative log-likelihood of relevance; gradients flow into the codes of both sides.

    $$ L = -mean_{sij} w_{ij} [s_{ij} t_{sij} - log(1 + exp(t_{sij}))],   t = u vᵀ / α $$

    with w_ij = relevant_weight where s_ij = 1, else 1.

    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, first term of the objective (alpha = 2).
    Deviations: a mean over pairs instead of a sum, so that weights of terms depend on neither B nor N.
    `relevant_weight` is ours: with many labels, few pairs are relevant and the others dominate the loss.
    It is not normalised; 1 is the published loss.
    Numerics: softplus(t), finite for every t.

    Args:
        u_SBK: codes of the batch.
        v_SNK: codes of the other side.
        s_BN: relevance in {0, 1}.
        alpha: divisor of the inner products.
        relevant_weight: weight of the pairs with s_ij = 1.
    """
    t_SBN = u_SBK @ v_SNK.transpose(-1, -2) / alpha
    return ((functional.softplus(t_SBN) - s_BN * t_SBN) * pair_weights(s_BN, relevant_weight)).mean()


def memory_nll(
    u_SBK: Tensor, memory_NK: Tensor, s_BN: Tensor, alpha: float, relevant_weight: float = 1.0
) -> Tensor:
    """Return `pairwise_nll(u_SBK, memory_NK, ...)` with a constant other side, several times as fast.

    Loss and gradient come from one pass over the pairs: dL/dt = w (sigmoid(t) - s).  The part of s in the
    gradient, s @ memory, is the same for all layers.  The computation always has the precision of the memory.
    On a CPU it goes through the memory piece by piece: matrices of all pairs would leave its cache, and the
    pages of new ones take longer than the sums.

    Args:
        u_SBK: codes of the batch, which receive the gradient.
        memory_NK: stored codes of the other side, constant.
        s_BN: relevance in {0, 1}.
        alpha: divisor of the inner products.
        relevant_weight: weight of the pairs with s_ij = 1.
    """
    loss: Tensor = _MemoryNLL.apply(u_SBK.to(memory_NK.dtype), memory_NK, s_BN, alpha, relevant_weight)
    return loss


def contrastive(u_BK: Tensor, v_BK: Tensor, group_B: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE of pairs, both ways, with all items of a group as targets of each other.

    $$ L = -mean_i Σ_j t_{ij} log softmax_j(cos(u_i, v_j) / temperature), $$

    the mean over both ways, with t_ij = 1 / n_i where i and j are of one group, of which
    the batch holds n_i items, else 0.

    Source: Radford et al., CLIP, ICML 2021, for groups of one; several targets as in Khosla et al.,
    Supervised Contrastive Learning, NeurIPS 2020 (the mean outside of the logarithm).

    Args:
        u_BK: codes of one modality of the *global* batch.
        v_BK: codes of the other, row by row of the same items.
        group_B: number of each item's group, int64.
        temperature: divisor of the cosines.
    """
    cosine_BB = cosine(u_BK, v_BK) / temperature
    target_BB = (group_B[:, None] == group_B).to(cosine_BB.dtype)
    target_BB = target_BB / target_BB.sum(1, keepdim=True)
    ways = (functional.cross_entropy(logit_BB, target_BB) for logit_BB in (cosine_BB, cosine_BB.T))
    return torch.stack(list(ways)).mean()


def quantisation(u_BK: Tensor, b_BK: Tensor) -> Tensor:
    """Return L = mean_i ||b_i - u_i||^2 / K.

    Source: Jiang and Li, ibid., second term.  Deviation: mean over items and bits instead of a sum.
    """
    return (b_BK - u_BK).square().mean()


def cosine(u_BK: Tensor, v_NK: Tensor) -> Tensor:
    """Return cos_BN = ⟨u_i, v_j⟩ / (||u_i|| ||v_j||)."""
    return functional.normalize(u_BK) @ functional.normalize(v_NK).T


def triplet_margin(d_BN: Tensor, s_BN: Tensor, margin: float) -> Tensor:
    """Return L = mean max(0, margin + d_ij - d_ik) over all (i, j, k) with s_ij > s_ik; 0 if there is none.

    It needs O(B N^2) memory: 0.9 GB for a batch of 384 against itself.

    Args:
        d_BN: distances.
        s_BN: relevance or similarity.
        margin: margin, in units of the distances.
    """
    valid_BNN = s_BN[:, :, None] > s_BN[:, None, :]
    hinge_BNN = (margin + d_BN[:, :, None] - d_BN[:, None, :]).clamp(min=0)
    return (hinge_BNN * valid_BNN).sum() / valid_BNN.sum().clamp(min=1)


def balance(u_BK: Tensor) -> Tensor:
    """Return L = ||mean_i u_i||^2, which is 0 where each bit is +1 as often as -1.

    Source: Jiang and Li, ibid., third term.  Deviations: divided by N^2; over the batch, not the training
    set.  Most stored codes of the training set are up to an epoch old, so each step would correct the same
    old mean again before the memory shows the effect, and the mean would swing with growing amplitude.

    Args:
        u_BK: codes of the *global* batch.
    """
    return u_BK.mean(0).square().sum()


def pair_weights(s_BN: Tensor, relevant_weight: float) -> Tensor:
    """Return w_BN = relevant_weight where s_ij = 1, else 1."""
    return 1 + (relevant_weight - 1) * s_BN


class _MemoryNLL(torch.autograd.Function):
    """The loss of `memory_nll`, with a forward pass that computes its gradient as well."""

    @staticmethod
    def forward(
        ctx: Any, u_SBK: Tensor, memory_NK: Tensor, s_BN: Tensor, alpha: float, relevant_weight: float
    ) -> Tensor:
        with torch.autocast(u_SBK.device.type, enabled=False):
            u_RK = (u_SBK / alpha).flatten(0, 1)
            gradient_RK, loss = torch.zeros_like(u_RK), u_RK.new_zeros(())
            for piece in _pieces(len(u_RK), memory_NK):
                piece_nK, s_Bn = memory_NK[piece], s_BN[:, piece]
                weight_Bn = pair_weights(s_Bn, relevant_weight)
                t_Rn = u_RK @ piece_nK.T
                p_Rn = torch.sigmoid(t_Rn)
                # softplus(t) = max(t, 0) - log sigmoid(|t|); on the CPU, torch vectorises log but not log1p
                softplus_Rn = t_Rn.clamp_(min=0).sub_(torch.maximum(p_Rn, 1 - p_Rn).log_())
                loss += (softplus_Rn.view(-1, *s_Bn.shape).sum(0) * weight_Bn).sum()
                p_Rn.view(-1, *s_Bn.shape).mul_(weight_Bn)
                gradient_RK.addmm_(p_Rn, piece_nK)
            relevant_BK = (s_BN @ memory_NK) * relevant_weight
            gradient_SBK = gradient_RK.view_as(u_SBK) - relevant_BK
            pairs = len(u_RK) * len(memory_NK)
            ctx.save_for_backward(gradient_SBK / (alpha * pairs))
            return (loss - (u_RK.view_as(u_SBK).sum(0) * relevant_BK).sum()) / pairs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_SBK,) = ctx.saved_tensors
        return gradients[0] * gradient_SBK, None, None, None, None


def _pieces(rows: int, memory_NK: Tensor) -> Iterator[slice]:
    """Yield slices of a memory's items: on a CPU, as many at a time as keep their pairs in its cache."""
    items = len(memory_NK)
    size = max(1, PAIRS * torch.get_num_threads() // rows) if memory_NK.device.type == "cpu" else items
    return (slice(start, start + size) for start in range(0, items, size))
