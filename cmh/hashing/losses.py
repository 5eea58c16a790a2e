"""Loss terms that several hashing methods use: pure functions, tensors in, one scalar tensor out.

Nothing here knows of modules, weights of terms or devices; a method multiplies by its own lambda.

Shape suffixes: B = batch, N = the other side of the pairs (training set or batch), K = bits, L = labels,
S = layers of a network that are compared at once (their mean is taken).
`u`, `v` are relaxed codes in [-1, 1]; `b` is a code in {-1, +1}; `s` is relevance in {0, 1}, or similarity in
[0, 1].
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def relevance(labels_BL: Tensor, labels_NL: Tensor) -> Tensor:
    """Return s_BN = 1 where two items share at least one label, else 0; float32 for float32 labels."""
    return (labels_BL @ labels_NL.T > 0).to(labels_BL.dtype)


def label_cosine(labels_BL: Tensor, labels_NL: Tensor) -> Tensor:
    """Return s_BN = |l_i and l_j| / sqrt(|l_i| |l_j|), the cosine of label vectors.

    It is 0 where either item has no label.

    Source: DSPAH (Chen et al.), eq. 2 to 4; MESDCH (Zou et al.).
    """
    norm_BN = labels_BL.sum(1).sqrt()[:, None] * labels_NL.sum(1).sqrt()
    return labels_BL @ labels_NL.T / norm_BN.clamp(min=1)


def pairwise_nll(
    u_SBK: Tensor, v_SNK: Tensor, s_BN: Tensor, alpha: float, relevant_weight: float = 1.0
) -> Tensor:
    """Return negative log-likelihood of relevance, given codes on both sides that learn.

    L = -mean_sij w_ij [ s_ij t_sij - log(1 + exp(t_sij)) ],   t = u v^T / alpha,
    w_ij = relevant_weight where s_ij = 1, else 1.

    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, first term of the objective (alpha = 2).
    Deviations: a mean over pairs instead of a sum, so that weights of terms depend on neither B nor N.
    `relevant_weight` is ours: few pairs are relevant where labels are many, and their term then drowns.
    It is not normalised; 1 is the published loss.
    Numerics: softplus(t), finite for every t.
    """
    t_SBN = u_SBK @ v_SNK.transpose(-1, -2) / alpha
    return ((functional.softplus(t_SBN) - s_BN * t_SBN) * pair_weights(s_BN, relevant_weight)).mean()


def memory_nll(
    u_SBK: Tensor, memory_NK: Tensor, s_BN: Tensor, alpha: float, relevant_weight: float = 1.0
) -> Tensor:
    """Return `pairwise_nll(u_SBK, memory_NK, ...)` with a constant other side, about twice as fast.

    Loss and gradient come from one pass over the pairs: dL/dt = w (sigmoid(t) - s), and the share of s,
    s @ memory, is the same for all layers.  Always computed in the precision of the memory.
    """
    loss: Tensor = _MemoryNLL.apply(u_SBK.to(memory_NK.dtype), memory_NK, s_BN, alpha, relevant_weight)
    return loss


def quantisation(u_BK: Tensor, b_BK: Tensor) -> Tensor:
    """Return L = mean_i ||b_i - u_i||^2 / K.

    Source: Jiang and Li, ibid., second term.  Deviation: mean over items and bits instead of a sum.
    """
    return (b_BK - u_BK).square().mean()


def cosine(u_BK: Tensor, v_NK: Tensor) -> Tensor:
    """Return cos_BN = <u_i, v_j> / (||u_i|| ||v_j||)."""
    return functional.normalize(u_BK) @ functional.normalize(v_NK).T


def triplet_margin(d_BN: Tensor, s_BN: Tensor, margin: float) -> Tensor:
    """Return L = mean max(0, margin + d_ij - d_ik) over all (i, j, k) with s_ij > s_ik; 0 if there is none.

    d_BN: distances.  Memory O(B N^2): 0.9 GB for a batch of 384 against itself.
    """
    valid_BNN = s_BN[:, :, None] > s_BN[:, None, :]
    hinge_BNN = (margin + d_BN[:, :, None] - d_BN[:, None, :]).clamp(min=0)
    return (hinge_BNN * valid_BNN).sum() / valid_BNN.sum().clamp(min=1)


def balance(u_BK: Tensor) -> Tensor:
    """Return L = ||mean_i u_i||^2: each bit is +1 as often as -1.

    u_BK: the codes of the *global* batch.
    Source: Jiang and Li, ibid., third term.  Deviations: divided by N^2; over the batch, not the training
    set, most of whose remembered codes are up to an epoch old, so that their mean is corrected over and
    over before it shows: the term then swings with growing amplitude.
    """
    return u_BK.mean(0).square().sum()


def pair_weights(s_BN: Tensor, relevant_weight: float) -> Tensor:
    """Return w_BN = relevant_weight where s_ij = 1, else 1."""
    return 1 + (relevant_weight - 1) * s_BN


class _MemoryNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u_SBK: Tensor, memory_NK: Tensor, s_BN: Tensor, alpha: float, relevant_weight: float
    ) -> Tensor:
        with torch.autocast(u_SBK.device.type, enabled=False):
            t_SBN = (u_SBK / alpha) @ memory_NK.T
            p_SBN = torch.sigmoid(t_SBN)
            # softplus(t) = max(t, 0) - log sigmoid(|t|); this log is vectorised on the CPU, log1p is not
            softplus_SBN = t_SBN.clamp_(min=0).sub_(torch.maximum(p_SBN, 1 - p_SBN).log_())
            weight_BN = pair_weights(s_BN, relevant_weight)
            relevant_BK = (s_BN @ memory_NK) * (relevant_weight / alpha)
            pairs = p_SBN.numel()
            loss = (softplus_SBN.sum(0) * weight_BN).sum() - (u_SBK.sum(0) * relevant_BK).sum()
            gradient_SBK = (p_SBN.mul_(weight_BN) @ memory_NK) / alpha - relevant_BK
            ctx.save_for_backward(gradient_SBK / pairs)
            return loss / pairs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_SBK,) = ctx.saved_tensors
        return gradients[0] * gradient_SBK, None, None, None, None
