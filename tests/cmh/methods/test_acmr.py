"""ACMR's terms against slow loops from their formulas, in float64, to 1e-10; which way gradients point."""

import math

import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.methods import acmr
from tests.cmh.methods.pairs import B, L, batch, build, log_sigmoid, memory, relevant

SMALL = {"image_hidden": 12, "text_hidden": 10, "middle": 9}
SETTINGS = SMALL | {"beta": 0.7, "lambda_": 0.3, "mu": 2.0}


def distance(a_K: Tensor, b_K: Tensor) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a_K.tolist(), b_K.tolist(), strict=True)))


def cross_entropy(score_L: Tensor, labels_L: Tensor) -> float:
    """Of the softmax against an item's labels in equal parts; 0 without any."""
    total = sum(math.exp(x) for x in score_L.tolist())
    own = [
        math.log(math.exp(x) / total) for x, y in zip(score_L.tolist(), labels_L.tolist(), strict=True) if y
    ]
    return -sum(own) / max(len(own), 1)


@pytest.mark.parametrize("single", [True, False])
def test_terms_equal_the_loops(single: bool) -> None:
    """Classes by softmax, of one label each and of several; pairs of the batch; the verdicts."""
    method, codes = build("acmr", **SETTINGS), memory()
    if single:
        codes.labels_NL = torch.eye(L, dtype=torch.float64)[torch.randint(L, (len(codes.labels_NL),))]
    items = batch(codes)
    terms = method("pairs", items, codes)
    v_BK, t_BK = method.encode_image(items.image), method.encode_text(items.text_BD)
    y_BL = items.labels_BL
    near = [(i, j) for i in range(B) for j in range(B) if relevant(y_BL[i], y_BL[j])]
    far = [(i, j) for i in range(B) for j in range(B) if not relevant(y_BL[i], y_BL[j])]
    scores = [(method.classifier(x)[i], y_BL[i]) for x in (v_BK, t_BK) for i in range(B)]
    judged = (method.discriminator(x)[:, 0].tolist() for x in (v_BK, t_BK))
    expected = {
        "classes": 0.7 * sum(cross_entropy(*pair) for pair in scores) / B,
        "relevant": sum(distance(v_BK[i], t_BK[j]) for i, j in near) / len(near),
        "others": 0.3 * sum(max(0, 2 - distance(v_BK[i], t_BK[j])) for i, j in far) / len(far),
        "modality": -sum(log_sigmoid(image) + log_sigmoid(-text) for image, text in zip(*judged, strict=True))
        / B,
    }
    assert expected["others"] > 0
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(codes.image_NK[items.index_B], v_BK.detach(), rtol=0, atol=0)
    torch.testing.assert_close(codes.text_NK[items.index_B], t_BK.detach(), rtol=0, atol=0)


def test_a_step_down_the_gradient_pleases_the_modality_classifier_and_not_the_towers() -> None:
    """Moving the classifier by its gradient lowers the modality term, moving the image tower raises it."""
    changes = {}
    for moving in ("discriminator", "image_tower"):
        method, items = build("acmr", **SMALL).eval(), batch()
        before = method("pairs", items, memory())["modality"]
        before.backward()
        with torch.no_grad():
            for parameter in method.get_submodule(moving).parameters():
                parameter -= 1e-3 * parameter.grad
        changes[moving] = (method("pairs", items, memory())["modality"] - before).item()
    assert changes["discriminator"] < 0 < changes["image_tower"]


def test_a_batch_of_equals_has_no_others() -> None:
    """Where every pair is relevant the other term is 0, and where none is, the first; neither is NaN."""
    v_BK, t_BK = torch.randn(2, 3, 4)
    all_relevant, none_relevant = (acmr.pairs(v_BK, t_BK, torch.full((3, 3), s), 9.0) for s in (1.0, 0.0))
    assert all_relevant[1] == none_relevant[0] == 0
    assert all_relevant[0] > 0
    assert none_relevant[1] > 0


def test_coinciding_embeddings_have_a_finite_gradient() -> None:
    """The distance has none at 0; there it counts as 0."""
    v_BK = torch.zeros(2, 4, requires_grad=True)
    sum(acmr.pairs(v_BK, torch.zeros(2, 4), torch.eye(2), 1.0)).backward()
    assert v_BK.grad.isfinite().all()


@pytest.mark.parametrize("setting", [{"lr": 0}, {"beta": -1}, {"beta1": 1}, {"bits": 0}])
def test_settings_that_cannot_work_are_refused(setting: dict[str, float]) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{next(iter(setting))} must"):
        methods.config("acmr", **setting)
