"""DSPAH's attention, codes and loss terms against slow loops from the formulas, in float64, to 1e-10."""

import math

import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.hashing.method import Inputs
from cmh.methods.dspah import CBAM, DSPAH, Config
from cmh.networks.backbones import Frozen
from tests.cmh.methods.pairs import CHANNELS, B, D, K, L, batch, build, memory, squares


def similarity(a: list[float], b: list[float], kind: str) -> float:
    """Eq. 2: shared labels over the geometric mean of the numbers of labels."""
    shared = sum(x * y for x, y in zip(a, b, strict=True))
    if kind == "hard":
        return float(shared > 0)
    return shared / math.sqrt(sum(a) * sum(b)) if shared else 0.0


def regression(
    u_BK: Tensor, v_NK: Tensor, labels_BL: Tensor, labels_NL: Tensor, kind: str, weight: float
) -> float:
    """Eq. 5, one pair at a time, over B N."""
    total = 0.0
    for u, a in zip(u_BK.tolist(), labels_BL.tolist(), strict=True):
        for v, b in zip(v_NK.tolist(), labels_NL.tolist(), strict=True):
            inner = sum(x * y for x, y in zip(u, v, strict=True))
            s = similarity(a, b, kind)
            total += ((inner + K) / 2 - s * K) ** 2 * (weight if s > 0 else 1)
    return total / len(u_BK) / len(v_NK)


@pytest.mark.parametrize("phase", ["image", "text"])
@pytest.mark.parametrize(("kind", "weight"), [("fine", 1.0), ("hard", 3.0), ("fine", "balanced")])
def test_terms_equal_the_loops(phase: str, kind: str, weight: float | str) -> None:
    """inter against the other memory, intra against the own one, quantisation against the consensus."""
    method = build("dspah", similarity=kind, relevant_weight=weight)
    items, codes = batch(), memory()
    relevant = sum(bool((a * b).any()) for a in codes.labels_NL for b in codes.labels_NL)
    irrelevant = len(codes.labels_NL) ** 2 - relevant
    factor = irrelevant / relevant if weight == "balanced" else float(weight)
    consensus_NK = codes.consensus_NK.clone()
    terms = method(phase, items, codes)
    own, other = (codes.image_NK, codes.text_NK) if phase == "image" else (codes.text_NK, codes.image_NK)
    u_BK = own[items.index_B]
    expected = {
        "inter": regression(u_BK, other, items.labels_BL, codes.labels_NL, kind, factor),
        "intra": regression(u_BK, own, items.labels_BL, codes.labels_NL, kind, factor),
        "quantisation": squares(consensus_NK[items.index_B], u_BK) / K / B,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_attention_equals_the_loops() -> None:
    """Channel gates from averages and maxima over places, then place gates from those over channels."""
    torch.manual_seed(0)
    channels, side = 17, 4
    cbam = CBAM(channels, reduction=16, kernel=3).double()
    x = torch.randn(2, channels, side, side, dtype=torch.float64)
    given = cbam(x)
    w1, b1, w2, b2 = (p.detach() for p in cbam.channel.parameters())
    kernel = cbam.place.weight.detach()[0]
    for image, out in zip(x, given, strict=True):
        gated = torch.empty_like(image)
        score = torch.zeros(channels, dtype=torch.float64)
        for pooled in (image.mean((1, 2)), image.amax((1, 2))):
            score += w2 @ (w1 @ pooled + b1).clamp(min=0) + b2
        for c in range(channels):
            gated[c] = image[c] / (1 + math.exp(-score[c].item()))
        seen = (gated.mean(0), gated.amax(0))
        for h in range(side):
            for w in range(side):
                place = sum(
                    kernel[p, i, j].item() * seen[p][h + i - 1, w + j - 1].item()
                    for p in range(2)
                    for i in range(3)
                    for j in range(3)
                    if 0 <= h + i - 1 < side and 0 <= w + j - 1 < side
                )
                expected = gated[:, h, w] / (1 + math.exp(-place))
                torch.testing.assert_close(out[:, h, w], expected, rtol=1e-10, atol=1e-12)


def test_image_codes_equal_their_definition() -> None:
    """Without attention: averaged map, normalised by running statistics, linear, tanh; weighed and summed."""
    method, items = build("dspah", attention=False).eval(), batch()
    assert items.image is not None
    tower = method.image_tower
    total = torch.zeros(B, K, dtype=torch.float64)
    for s, (level, head) in enumerate(zip(items.image, tower.heads, strict=True)):
        x = level.mean((2, 3)) / math.sqrt(1 + 1e-5)  # the running mean is 0 and the variance 1 at first
        total += tower.weight_SK[s] * torch.tanh(x @ head[1].weight.T + head[1].bias)
    torch.testing.assert_close(method.encode_image(items.image), torch.tanh(total), rtol=0, atol=1e-12)


def test_one_level_is_the_last() -> None:
    """levels=1: other stage maps do not matter, and only one code is weighed."""
    method, items = build("dspah", levels=1).eval(), batch()
    assert items.image is not None
    other = tuple(stage * 2 + 1 for stage in items.image[:-1]) + items.image[-1:]
    assert torch.equal(method.encode_image(items.image), method.encode_image(other))
    assert method.text_tower.levels.weight_SK.shape == (1, K)


def test_attention_moves_the_codes_on_pooled_features_too() -> None:
    """On 1 x 1 maps the gates remain, one a channel and one an image; without attention there are none."""
    maps = tuple(torch.randn(B, c, 1, 1, dtype=torch.float64) for c in CHANNELS)
    with_attention = build("dspah").eval()
    plain = build("dspah", attention=False).eval()
    plain.load_state_dict({k: v for k, v in with_attention.state_dict().items() if ".attention." not in k})
    assert not torch.allclose(with_attention.encode_image(maps), plain.encode_image(maps))


def test_defaults_are_the_published_ones() -> None:
    """Plain SGD at 10^-1.5 in both passes; text weights from N(0, 0.1)."""
    method = build("dspah")
    for phase in method.phases:
        optimizer = phase.optimizer
        assert (optimizer.kind, optimizer.momentum, optimizer.decay, phase.steps) == ("sgd", 0, 1, None)
        assert math.log10(optimizer.lr) == pytest.approx(-1.5)
    weights = torch.cat([p.flatten() for p in method.text_tower.stages.parameters() if p.dim() > 1])
    assert weights.mean().item() == pytest.approx(0, abs=1e-3)
    assert weights.std().item() == pytest.approx(0.1, rel=1e-2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 0}, "bits must be positive, got 0"),
        ({"levels": 5}, "levels must be 1 to 4"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"text_std": 0}, "text_std must be positive"),
        ({"similarity": "soft"}, "settings of dspah: similarity"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, float], message: str) -> None:
    """The message names the setting and what is allowed."""
    with pytest.raises(ValueError, match=message):
        methods.config("dspah", **fields)


def test_too_few_image_levels_are_refused() -> None:
    """A backbone of one stage cannot be weighed over four; the message offers levels=1."""
    with pytest.raises(ValueError, match="set levels=1"):
        DSPAH(Config(), Inputs(image_channels=(9,), text_dim=D, labels=L), Frozen((9,)))


def test_attention_reads_maps_and_the_ablation_does_not() -> None:
    """Frozen features are maps where there is attention; without it, averages do."""
    assert DSPAH.reads_maps(Config())
    assert not DSPAH.reads_maps(Config(attention=False))


def test_where_a_thing_stands_changes_the_code() -> None:
    """Two maps with the same averages and maxima, and one bright place at the edge or in the middle."""
    torch.manual_seed(0)
    attend = CBAM(6, 2, 3).double()
    middle, edge = torch.rand(2, 1, 6, 1, 1, dtype=torch.float64).expand(2, 1, 6, 5, 5).clone()
    edge.copy_(middle)
    middle[..., 2, 2] += 1
    edge[..., 0, 0] += 1
    assert (attend(middle).mean((2, 3)) - attend(edge).mean((2, 3))).abs().max() > 1e-4


def test_no_scale_of_texts_starts_dead() -> None:
    """The initial weights of scales have the tower's deviation, and are positive."""
    for seed in range(50):
        torch.manual_seed(seed)
        weight = build("dspah", text="multiscale").text_tower.stages.columns.weight
        assert weight.min() > 0
        assert weight.max() < 6 * Config().text_std
