"""AGAH's terms against slow loops from their formulas, in float64, to 1e-10; label codes and means."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.methods import agah
from cmh.methods.agah import AGAH
from tests.cmh.methods.pairs import B, K, L, N, batch, build, cosine, dot, memory, relevant

SMALL = {"features": 12, "text_hidden": 16, "text_middle": 10}
WEIGHTS = {"alpha": 0.3, "gamma": 0.7, "eta": 0.2, "mu": 0.6, "lambda_": 0.4}


def shown(method: AGAH, items: object) -> dict[str, tuple[Tensor, Tensor]]:
    """Unit features and codes of both modalities, item by item and label by label."""
    made = {}
    for side, raw_BF in (
        ("image", method.image_features(items.image)),
        ("text", method.text_features(items.text_BD)),
    ):
        features, attended = [], []
        for raw_F in raw_BF:
            f_F = raw_F / raw_F.norm()
            units = [m / m.norm() if m.norm() > 0 else m for m in method.label_sum_LF]
            weights = [1 / (1 + math.exp(-5 * dot(f_F, m))) for m in units]
            mixed = sum(a * m for a, m in zip(weights, units, strict=True)) / sum(weights)
            features.append(f_F)
            attended.append(0.4 * f_F + 0.6 * mixed)
        made[side] = torch.stack(features), getattr(method, f"{side}_hash")(torch.stack(attended))
    return made


def triplets(u_BK: Tensor, v_BK: Tensor, labels_BL: Tensor, margin: float) -> float:
    losses = [
        max(0.0, margin + cosine(u_BK[i], v_BK[k]) - cosine(u_BK[i], v_BK[j]))
        for i in range(B)
        for j in range(B)
        for k in range(B)
        if relevant(labels_BL[i], labels_BL[j]) and not relevant(labels_BL[i], labels_BL[k])
    ]
    return sum(losses) / len(losses)


def test_terms_equal_the_loops() -> None:
    """Triplets both ways, two quantisations, label codes and critics, after attention to label means."""
    method, codes = build("agah", **SMALL, **WEIGHTS), memory()
    method.label_sum_LF = torch.rand(L, 12, dtype=torch.float64)
    label_code_LK, items = method.label_code_LK.clone(), batch(codes)
    made = shown(method, items)
    terms = method("hash", items, codes)
    (f, u), (g, v) = made["image"], made["text"]
    both = [*u, *v]
    sure = [cosine(h.abs(), torch.ones(K)) for h in both]
    misses = [
        (dot(h, label_code_LK[i]) / K - (1 if y[i] else -1)) ** 2
        for h, y in zip(both, [*items.labels_BL] * 2, strict=True)
        for i in range(L)
    ]
    squares = [(abs(x) - 1) ** 2 for h in both for x in h.tolist()]
    valued = method.text_critic(f).sum() + method.image_critic(g).sum()
    expected = {
        "triplets": triplets(u, v, items.labels_BL, 0.3) + triplets(v, u, items.labels_BL, 0.3),
        "cosine": 0.3 * sum(1 / (1 + math.exp(s)) for s in sure) / B,
        "code_map": 0.7 * sum(misses) / B / L,
        "quantisation": 0.2 * sum(squares) / B / K,
        "adversarial": -0.6 * valued.item() / B,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(codes.image_NK[items.index_B], u.detach(), rtol=0, atol=1e-12)


def test_critics_value_their_own_and_slope_by_one() -> None:
    """A linear critic: what it says of the other's features less of its own, and 10 (slope - 1)^2."""
    critic = torch.nn.Linear(3, 1).double()
    own, other = torch.randn(2, B, 3, dtype=torch.float64)
    slope = math.sqrt(sum(w * w for w in critic.weight[0].tolist()))
    expected = critic(other).mean() - critic(own).mean() + 10 * (slope - 1) ** 2
    assert agah.criticism(critic, own, other).item() == pytest.approx(expected.item(), rel=1e-10)


def test_label_codes_are_renewed_bit_by_bit() -> None:
    """Each bit has the sign that the published update gives, computed with one loop per sum."""
    rng = np.random.default_rng(0)
    start, image, text = (rng.choice([-1.0, 1.0], shape) for shape in ((L, K), (N, K), (N, K)))
    labels_NL = (rng.random((N, L)) < 0.4).astype(float)
    found = agah.label_codes(
        torch.tensor(start), (torch.tensor(image), torch.tensor(text)), torch.tensor(labels_NL)
    )
    code, similar = start.copy(), 2 * np.eye(L) - 1
    for k in range(K):
        others = [bit for bit in range(K) if bit != k]
        for label in range(L):
            wanted = sum(K * labels_NL[n, label] * (image[n, k] + text[n, k]) for n in range(N))
            wanted += K * sum(similar[label, m] * start[m, k] for m in range(L))
            for b, rows in ((image, N), (text, N), (start, L)):
                wanted -= sum(code[label, o] * b[n, o] * b[n, k] for o in others for n in range(rows))
            code[label, k] = 1 if wanted >= 0 else -1
    assert np.array_equal(found.numpy(), code)


def test_label_codes_wait_for_a_whole_pass() -> None:
    """They change once as many items went by as there are, in steps of hashing alone."""
    method, codes = build("agah", **SMALL), memory()
    first = method.label_code_LK.clone()
    method("critics", batch(codes), codes)
    for _ in range(N // B):
        assert torch.equal(method.label_code_LK, first)
        method("hash", batch(codes), codes)
        method("critics", batch(codes), codes)  # does not count
    assert method.seen == N // B * B
    method("hash", batch(codes), codes)
    assert method.seen == 0
    assert not torch.equal(method.label_code_LK, first)


def test_label_means_follow_the_features() -> None:
    """After one batch, those of each label's items over both modalities; labels not seen stay at 0.

    They are kept as sums, of which only the direction counts.
    """
    method, codes = build("agah", **SMALL), memory()
    items = batch(codes)
    items.labels_BL[:, 2] = 0
    made = shown(method, items)
    method("hash", items, codes)
    for label in range(L):
        rows = [i for i in range(B) if items.labels_BL[i, label]]
        total = sum((made["image"][0][i] + made["text"][0][i]) / 2 for i in rows)
        if rows:
            torch.testing.assert_close(method.label_sum_LF[label], total)
        else:
            assert not method.label_sum_LF[label].any()
    with_means = method.encode_image(items.image)
    method.label_sum_LF *= torch.tensor([[2.0], [0.5], [7.0]])
    torch.testing.assert_close(method.encode_image(items.image), with_means)


@pytest.mark.parametrize("setting", [{"lr": 0}, {"mu": -1}, {"lambda_": 1.5}, {"hash_steps": 0}])
def test_settings_that_cannot_work_are_refused(setting: dict[str, float]) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{next(iter(setting))} must"):
        methods.config("agah", **setting)
