"""ADAH's masks, codes and ranking losses against slow loops from the formulas, in float64, to 1e-10."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmh import methods
from cmh.data.batches import Batch
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs
from cmh.methods.adah import ADAH, Config, above, triplet_ranking
from cmh.networks.backbones import Frozen

N, B, K, D, L = 9, 6, 8, 30, 3
CHANNELS = (5, 7)
CONFIG = Config(bits=K, hidden=12, text_hidden=16, text_features=10)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def adah(config: Config = CONFIG) -> ADAH:
    inputs = Inputs(image_channels=CHANNELS, text_dim=D, labels=L)
    return ADAH(config, inputs, Frozen(CHANNELS)).double()


def batch(height: int = 2, width: int = 3) -> Batch:
    return Batch(
        torch.randperm(N)[:B],
        tuple(torch.randn(B, c, height, width, dtype=torch.float64) for c in CHANNELS),
        torch.poisson(torch.full((B, D), 0.5, dtype=torch.float64)),
        (torch.rand(B, L) < 0.4).double(),
    )


def memory() -> CodeMemory:
    return CodeMemory((torch.rand(N, L) < 0.4).double(), K, seed=3)


def ranking(query_BK: Tensor, database_BK: Tensor, labels_BL: Tensor, margin: float) -> float:
    """Eq. 5, one triplet at a time, over their number."""

    def relevant(i: int, j: int) -> bool:
        return bool((labels_BL[i] * labels_BL[j]).sum() > 0)

    def distance(i: int, j: int) -> float:
        return math.dist(query_BK[i].tolist(), database_BK[j].tolist())

    rows = range(len(query_BK))
    found = [
        max(0.0, margin + distance(i, j) - distance(i, k))
        for i in rows
        for j in rows
        for k in rows
        if relevant(i, j) > relevant(i, k)
    ]
    return sum(found) / len(found) if found else 0.0


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 7), st.floats(0.1, 4.0), st.integers(0, 99))
def test_ranking_equals_the_loop(rows: int, margin: float, seed: int) -> None:
    """All valid triplets and no others; none at all gives 0."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.randn(rows, K, generator=generator, dtype=torch.float64).tanh() for _ in range(2))
    labels = (torch.rand(rows, 3, generator=generator) < 0.4).double()
    s = (labels @ labels.T > 0).double()
    assert triplet_ranking(u, v, s, margin).item() == pytest.approx(ranking(u, v, labels, margin), rel=1e-10)


def test_ranking_has_a_gradient_where_codes_are_equal() -> None:
    """The distance of an item to itself is 0, where the root has no slope; the gradient stays finite."""
    u = torch.randn(4, K, dtype=torch.float64, requires_grad=True)
    triplet_ranking(u, u, torch.eye(4, dtype=torch.float64), 10.0).backward()
    assert u.grad is not None
    assert u.grad.isfinite().all()
    assert u.grad.any()


@pytest.mark.parametrize("phase", ["hash", "attention"])
def test_terms_equal_the_loops(phase: str) -> None:
    """Eq. 8: the six rankings; eq. 9: minus those whose database is unattended; margin sqrt(K)."""
    method, items, codes = adah(replace(CONFIG, margin=0.7)), batch(), memory()
    image, text, rest_image, rest_text = method.codes(phase, items, codes).detach()
    terms = {name: term.item() for name, term in method(phase, items, codes).items()}
    assert torch.equal(codes.image_NK[items.index_B], image.float())

    def expected(query: Tensor, database: Tensor) -> float:
        return ranking(query, database, items.labels_BL, 0.7 * math.sqrt(K))

    adversarial = {
        "text_to_unattended_image": expected(text, rest_image),
        "image_to_unattended_text": expected(image, rest_text),
    }
    if phase == "attention":
        assert terms == pytest.approx({name: -term for name, term in adversarial.items()}, rel=1e-10)
        return
    assert terms == pytest.approx(
        adversarial
        | {
            "text_to_image": expected(text, image),
            "image_to_text": expected(image, text),
            "image_to_image": expected(image, image),
            "text_to_text": expected(text, text),
        },
        rel=1e-10,
    )


@pytest.mark.parametrize("threshold", [1.0, 0.9])
def test_masks_and_codes_equal_the_loops(threshold: float) -> None:
    """Attended where the softmax of the score reaches its mean; the code is that of the attended part."""
    method, items = adah(replace(CONFIG, text_threshold=threshold)).eval(), batch()
    method.text_attention.weight.data.mul_(10_000)  # so that scores differ
    assert items.image is not None
    assert items.text_BD is not None
    mask = method.attended(items.image)
    weight, bias = method.image_attention.weight.detach()[0, :, 0, 0], method.image_attention.bias.item()
    for i, places in enumerate(items.image[-1]):
        score = [[float(places[:, h, w] @ weight) + bias for w in range(3)] for h in range(2)]
        total = sum(math.exp(x) for row in score for x in row)
        for h in range(2):
            for w in range(3):
                assert mask[i, h, w] == (math.exp(score[h][w]) / total >= 1 / 6)
        attended = (places * mask[i]).mean((1, 2))
        torch.testing.assert_close(method.encode_image(items.image)[i], method.image_hash(attended))
    f = method.text_features(items.text_BD)
    p = method.text_attention(f).softmax(1)
    attended = torch.where(p >= threshold / 10, f, 0.0)
    torch.testing.assert_close(method.encode_text(items.text_BD), method.text_hash(attended))
    assert 0 < (p >= threshold / 10).float().mean() < 1


def test_the_threshold_passes_gradients_straight_through() -> None:
    """Zeros and ones forward; backward the identity."""
    p = torch.tensor([0.1, 0.25, 0.65], dtype=torch.float64, requires_grad=True)
    mask = above(p, 0.25)
    assert mask.tolist() == [0, 1, 1]
    mask.backward(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert p.grad is not None
    assert p.grad.tolist() == [1, 2, 3]


def test_attended_and_unattended_parts_make_up_the_map() -> None:
    """Both masks add up to one everywhere: with the same hashing, codes of an all-attended map differ."""
    method, items = adah(replace(CONFIG, attention="none")), batch()
    image, _, rest, _ = method.codes("hash", items, memory())
    assert items.image is not None
    torch.testing.assert_close(image, method.image_hash(items.image[-1].mean((2, 3))))
    torch.testing.assert_close(rest, method.image_hash(torch.zeros(B, CHANNELS[-1], dtype=torch.float64)))


@pytest.mark.parametrize(
    ("fields", "phases", "adversarial"),
    [
        ({}, [("hash", 4), ("attention", 1)], 2),
        ({"attention": "image"}, [("hash", 4), ("attention", 1)], 1),
        ({"attention": "text"}, [("hash", 4), ("attention", 1)], 1),
        ({"attention": "none"}, [("hash", None)], 0),
        ({"adversarial": False}, [("hash", None)], 0),
    ],
)
def test_ablations_leave_terms_and_phases_out(
    fields: dict[str, str], phases: list[tuple[str, int | None]], adversarial: int
) -> None:
    """Four to one with an adversary, one phase without; a term for each modality that is attended to."""
    method = adah(replace(CONFIG, **fields))
    assert [(p.name, p.steps) for p in method.phases] == phases
    terms = method("hash", batch(), memory())
    assert sum("unattended" in name for name in terms) == adversarial
    modules = {name for phase in method.phases for name in phase.modules}
    assert modules == {name for name, _ in method.named_children()}


def test_pooled_features_are_refused_unless_only_texts_are_attended_to() -> None:
    """One place cannot be masked; the message says what to do."""
    items = batch(1, 1)
    assert items.image is not None
    with pytest.raises(ValueError, match="pooled to one place; give stage maps"):
        adah().encode_image(items.image)
    assert adah(replace(CONFIG, attention="text")).encode_image(items.image).shape == (B, K)


def test_defaults_are_the_published_ones() -> None:
    """Adam at 2e-4 with beta1 .5, text weights N(0, .01), 8192 and 1000 text units."""
    method = ADAH(Config(bits=16), Inputs(image_channels=(3,), text_dim=D, labels=L), Frozen((3,)))
    for phase in method.phases:
        assert (phase.optimizer.kind, phase.optimizer.lr) == ("adam", 2e-4)
        assert phase.optimizer.betas[0] == 0.5
    shapes = [tuple(p.shape) for p in method.text_features.parameters()]
    assert shapes == [(D, 8192), (8192,), (1000, 8192), (1000,)]
    weights = torch.cat([method.text_attention.weight.flatten(), method.text_hash[0].weight.flatten()])
    assert weights.std().item() == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 0}, "bits must be positive, got 0"),
        ({"margin": 0}, "margin must be positive"),
        ({"beta1": 1}, "beta1 must be at least 0 and below 1"),
        ({"attention": "some"}, "settings of adah: attention"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, float], message: str) -> None:
    """The message names the setting and what is allowed."""
    with pytest.raises(ValueError, match=message):
        methods.config("adah", **fields)


def test_a_stage_that_is_not_there_is_refused() -> None:
    """Of two stages there is no third."""
    with pytest.raises(ValueError, match="stage must be -2 to 1, got 2"):
        adah(replace(CONFIG, stage=2))


def test_more_places_for_fc6_keep_where_things_are() -> None:
    """pool=2: turning the map around changes the code; with one place, all that counts is the average."""
    items = batch(2, 2)
    assert items.image is not None
    turned = tuple(stage.flip(2) for stage in items.image)
    for pool, same in ((1, True), (2, False)):
        method = adah(replace(CONFIG, pool=pool)).eval()
        codes, others = (method.encode_image(image).detach().numpy() for image in (items.image, turned))
        assert np.allclose(codes, others) == same
