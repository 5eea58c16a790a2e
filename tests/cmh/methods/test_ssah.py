"""SSAH's loss terms against slow loops from their formulas, in float64, to 1e-10; where gradients go."""

import pytest
import torch
from torch import Tensor, nn

from cmh import methods
from cmh.hashing.method import Method
from tests.cmh.methods.pairs import B, K, L, batch, build, memory, nll

SMALL = {"hidden": 16, "features": 12}


def squares(a: Tensor, b: Tensor) -> float:
    pairs = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    return sum((x - y) ** 2 for x, y in pairs) / a.numel()


@pytest.mark.parametrize(("phase", "weight"), [("label", 1.0), ("image", 1.0), ("text", 3.0)])
def test_terms_of_a_network_equal_the_loops(phase: str, weight: float) -> None:
    """Weighed pairs with the label network's features and codes; signs, labels, the other's verdict."""
    weights = {"alpha": 0.3, "gamma": 0.7, "eta": 0.2, "beta": 0.6, "delta": 0.4, "relevant_weight": weight}
    method, codes = build("ssah", **SMALL, **weights), memory()
    items = batch(codes)
    terms = method(phase, items, codes)
    y_BL = items.labels_BL
    teacher = method.label_tower(y_BL)
    read = {"label": y_BL, "image": items.image, "text": items.text_BD}[phase]
    features_BF, h_BK, labels_BL = getattr(method, f"{phase}_tower")(read)
    assert (features_BF.shape, h_BK.shape, labels_BL.shape) == ((B, 12), (B, K), (B, L))
    signs = [1.0 if h >= 0 else -1.0 for h in h_BK.flatten().tolist()]
    expected = {
        "features": 0.3 * nll(teacher.features_BF, features_BF, y_BL, y_BL, weight=weight) / B**2,
        "codes": 0.7 * nll(teacher.h_BK, h_BK, y_BL, y_BL, weight=weight) / B**2,
        "quantisation": 0.2 * squares(torch.tensor(signs), h_BK),
        "labels": 0.6 * squares(labels_BL, y_BL),
    }
    if phase != "label":
        verdict = getattr(method, f"{phase}_discriminator")(features_BF)
        expected["adversarial"] = 0.4 * sum((v - 1) ** 2 for v in verdict.flatten().tolist()) / B
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("side", ["image", "text"])
def test_terms_of_a_discriminator_equal_the_loops(side: str) -> None:
    """1 is to be said of the label network's features, 0 of the other's; the codes are remembered."""
    method, codes = build("ssah", **SMALL), memory()
    items = batch(codes)
    terms = method(f"{side}_discriminator", items, codes)
    judge, tower = getattr(method, f"{side}_discriminator"), getattr(method, f"{side}_tower")
    semantics = tower(items.image if side == "image" else items.text_BD)
    true = judge(method.label_tower(items.labels_BL).features_BF)
    false = judge(semantics.features_BF)
    total = sum((v - 1) ** 2 for v in true.flatten().tolist()) + sum(v**2 for v in false.flatten().tolist())
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"discrimination": total / 2 / B}, rel=1e-10
    )
    written = getattr(codes, f"{side}_NK")[items.index_B]
    torch.testing.assert_close(written, semantics.h_BK.detach(), rtol=0, atol=0)


class Scaled(nn.Module):
    """A backbone with one number to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, *stages: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.scale * stage for stage in stages)


def reached(method: Method) -> set[str]:
    return {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize(
    ("phase", "modules"),
    [
        ("image", {"backbone", "image_tower", "image_discriminator"}),
        ("text", {"text_tower", "text_discriminator"}),
    ],
)
def test_the_adversarial_term_reaches_the_encoder(phase: str, modules: set[str]) -> None:
    """Alone, through the discriminator, down to the backbone; one step along it makes the features more like
    the label network's in the discriminator's eyes."""
    method, codes = build("ssah", Scaled(), **SMALL), memory()
    items = batch(codes)
    before = method(phase, items, codes)["adversarial"]
    before.backward()
    assert reached(method) == modules
    for parameter in getattr(method, f"{phase}_tower").parameters():
        if parameter.grad is not None:
            parameter.data.sub_(1e-4 * parameter.grad)
    assert method(phase, items, codes)["adversarial"] < before


def test_the_label_network_is_left_alone_by_its_pupils() -> None:
    """In the other phases no gradient goes into it."""
    method, codes = build("ssah", **SMALL), memory()
    items = batch(codes)
    for phase in method.phases[1:]:
        method.zero_grad()
        torch.stack(list(method(phase.name, items, codes).values())).sum().backward()
        assert "label_tower" not in reached(method)


@pytest.mark.parametrize(("field", "allowed"), [("delta", "not be negative"), ("lr_label", "be positive")])
def test_settings_that_cannot_work_are_refused(field: str, allowed: str) -> None:
    """The message names the setting and what is allowed."""
    with pytest.raises(ValueError, match=f"{field} must {allowed}, got -1"):
        methods.config("ssah", **{field: -1})
