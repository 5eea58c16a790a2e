"""Every loss term against a slow loop written from its formula, in float64; the fused one also by gradcheck.

Tolerance 1e-12: the same arithmetic in another order.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmh.hashing import losses


def codes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tanh()


def labels(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, 4, generator=generator, dtype=torch.float64) < 0.3).double()


def slow_nll(u_SBK: Tensor, v_NK: Tensor, s_BN: Tensor, alpha: float, weight: float) -> float:
    total, pairs = 0.0, 0
    for u_BK in u_SBK.tolist():
        for i, u_K in enumerate(u_BK):
            for j, v_K in enumerate(v_NK.tolist()):
                t = sum(a * b for a, b in zip(u_K, v_K, strict=True)) / alpha
                s = s_BN[i, j].item()
                total -= (weight if s else 1) * (s * t - math.log(1 + math.exp(t)))
                pairs += 1
    return total / pairs


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 99))
def test_relevance_is_one_where_a_label_is_shared(rows: int, columns: int, seed: int) -> None:
    """s_ij is 1 exactly where the label sets meet; items without labels meet nobody."""
    a_BL, b_NL = labels(rows, seed), labels(columns, seed + 1)
    s_BN = losses.relevance(a_BL, b_NL)
    for i in range(rows):
        for j in range(columns):
            shared = set(a_BL[i].nonzero().flatten().tolist()) & set(b_NL[j].nonzero().flatten().tolist())
            assert s_BN[i, j] == (1 if shared else 0)


@pytest.mark.parametrize("pairs", [1, 40, 10**6])
@pytest.mark.parametrize("weight", [1.0, 8.0])
def test_nll_equals_the_loop(weight: float, pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of the likelihood give the loop's number, whatever the pieces of the memory."""
    monkeypatch.setattr(losses, "PAIRS", pairs)
    u_SBK, v_NK, s_BN = codes(3, 5, 8), codes(7, 8, seed=1), losses.relevance(labels(5, 2), labels(7, 3))
    expected = slow_nll(u_SBK, v_NK, s_BN, 0.5, weight)
    assert losses.pairwise_nll(u_SBK, v_NK, s_BN, 0.5, weight).item() == pytest.approx(expected, abs=1e-12)
    assert losses.memory_nll(u_SBK, v_NK, s_BN, 0.5, weight).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weight", [1.0, 8.0])
@pytest.mark.parametrize("pairs", [1, 40, 10**6])
def test_memory_nll_has_the_gradient_of_the_plain_form(
    weight: float, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient is that of autograd and passes gradcheck, in pieces of one item, of some and of all."""
    monkeypatch.setattr(losses, "PAIRS", pairs)
    u_SBK, v_NK = codes(3, 5, 8).requires_grad_(), codes(7, 8, seed=1)
    s_BN = losses.relevance(labels(5, 2), labels(7, 3))
    (plain,) = torch.autograd.grad(3 * losses.pairwise_nll(u_SBK, v_NK, s_BN, 0.5, weight), u_SBK)
    (fused,) = torch.autograd.grad(3 * losses.memory_nll(u_SBK, v_NK, s_BN, 0.5, weight), u_SBK)
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(lambda u: losses.memory_nll(u, v_NK, s_BN, 0.5, weight), u_SBK)


def test_pairwise_nll_compares_layer_with_layer() -> None:
    """With layers on both sides, layer s meets layer s only, and the mean over layers is taken."""
    u_SBK, v_SNK = codes(3, 4, 8), codes(3, 6, 8, seed=1)
    s_BN = losses.relevance(labels(4, 2), labels(6, 3))
    expected = sum(slow_nll(u_SBK[s : s + 1], v_SNK[s], s_BN, 2.0, 1.0) for s in range(3)) / 3
    assert losses.pairwise_nll(u_SBK, v_SNK, s_BN, 2.0).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_nll_stays_finite_for_large_inner_products(sign: int) -> None:
    """At |t| = 2048, where exp overflows float32, loss and gradient are the asymptotic ones."""
    u_SBK = torch.ones(1, 1, 64, requires_grad=True)
    v_NK, s_BN = sign * torch.ones(1, 64), torch.zeros(1, 1)
    loss = losses.memory_nll(u_SBK, v_NK, s_BN, 1 / 32)
    loss.backward()
    assert loss.item() == (2048.0 if sign > 0 else 0.0)
    assert u_SBK.grad is not None
    assert u_SBK.grad.unique().item() == (32.0 if sign > 0 else 0.0)
    assert losses.pairwise_nll(u_SBK, v_NK, s_BN, 1 / 32).item() == loss.item()


def test_memory_nll_keeps_the_precision_of_the_memory_under_autocast() -> None:
    """bfloat16 codes against a float32 memory: the loss equals the float32 one on the rounded codes."""
    u_SBK, v_NK = codes(2, 4, 8).bfloat16(), codes(5, 8, seed=1).float()
    s_BN = losses.relevance(labels(4, 2), labels(5, 3)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = losses.memory_nll(u_SBK, v_NK, s_BN, 0.5)
    assert loss.dtype == torch.float32
    assert loss.item() == losses.memory_nll(u_SBK.float(), v_NK, s_BN, 0.5).item()


def test_quantisation_equals_the_loop() -> None:
    """mean_i ||b_i - u_i||^2 / K, added up one entry at a time."""
    u_BK = codes(5, 8)
    b_BK = codes(5, 8, seed=1).sign()
    total = sum((b_BK[i, k].item() - u_BK[i, k].item()) ** 2 for i in range(5) for k in range(8))
    assert losses.quantisation(u_BK, b_BK).item() == pytest.approx(total / 8 / 5, abs=1e-12)


def test_balance_equals_the_loop() -> None:
    """The squared mean of each bit, added up."""
    u_BK = codes(5, 8)
    expected = sum((sum(u_BK[i, k].item() for i in range(5)) / 5) ** 2 for k in range(8))
    assert losses.balance(u_BK).item() == pytest.approx(expected, abs=1e-12)


def test_cosine_equals_the_loop() -> None:
    """Inner product over both norms, one pair at a time."""
    u_BK, v_NK = codes(5, 8), codes(7, 8, seed=1)
    cosine_BN = losses.cosine(u_BK, v_NK)
    for i, u_K in enumerate(u_BK.tolist()):
        for j, v_K in enumerate(v_NK.tolist()):
            dot = sum(a * b for a, b in zip(u_K, v_K, strict=True))
            norms = math.sqrt(sum(a * a for a in u_K) * sum(b * b for b in v_K))
            assert cosine_BN[i, j].item() == pytest.approx(dot / norms, abs=1e-12)


def test_label_cosine_equals_its_definition() -> None:
    """Shared labels over the geometric mean of both counts; 0 where an item has no label."""
    a_BL, b_NL = labels(6, 2), labels(8, 3)
    a_BL[0] = 0
    s_BN = losses.label_cosine(a_BL, b_NL)
    for i in range(6):
        for j in range(8):
            mine, other = (set(x.nonzero().flatten().tolist()) for x in (a_BL[i], b_NL[j]))
            shared = len(mine & other)
            expected = shared / math.sqrt(len(mine) * len(other)) if shared else 0
            assert s_BN[i, j].item() == pytest.approx(expected, abs=1e-12)
