"""SCAHN's codes and loss terms against slow loops written from the paper's formulas, in float64, to 1e-10."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.hashing.method import Inputs
from cmh.methods.scahn import SCAHN, Config, Fusion
from cmh.networks.backbones import Frozen
from tests.cmh.methods.pairs import CHANNELS, B, D, K, L, batch, build, memory, squares

SETTINGS = {"gamma": 0.3, "lambda_": 0.7, "beta": 2.0}


def nll(a_BK: Tensor, o_NK: Tensor, labels_BL: Tensor, labels_NL: Tensor, weight: float) -> float:
    """-mean_ij w (S_ij t_ij - log(1 + exp t_ij)), t = a o / alpha, alpha = K / 32, one pair at a time."""
    total = 0.0
    for a_K, a_L in zip(a_BK.tolist(), labels_BL.tolist(), strict=True):
        for o_K, o_L in zip(o_NK.tolist(), labels_NL.tolist(), strict=True):
            t = sum(x * y for x, y in zip(a_K, o_K, strict=True)) / (K / 32)
            s = any(x and y for x, y in zip(a_L, o_L, strict=True))
            total -= (weight if s else 1) * (s * t - (math.log1p(math.exp(-abs(t))) + max(t, 0)))
    return total / len(a_BK) / len(o_NK)


@pytest.mark.parametrize("phase", ["image", "text"])
@pytest.mark.parametrize("weight", [1.0, 5.0])
@pytest.mark.parametrize("text", ["multiscale", "words"])
def test_terms_equal_the_loops(phase: str, weight: float, text: Literal["multiscale", "words"]) -> None:
    """inter against the other memory, intra against the own one with this step's codes in it, pairwise
    between the halves of the batch, quantisation against the consensus of the epoch; layers averaged."""
    method, items, codes = build("scahn", **SETTINGS, relevant_weight=weight, text=text), batch(), memory()
    terms = method(phase, items, codes)
    tower, x = (method.image_tower, items.image) if phase == "image" else (method.text_tower, items.text_BD)
    layers = tower(x).detach()
    assert len(layers) == 5
    own, other = (codes.image_NK, codes.text_NK) if phase == "image" else (codes.text_NK, codes.image_NK)
    torch.testing.assert_close(own[items.index_B], layers[-1], rtol=0, atol=0)
    y, z, half = items.labels_BL, codes.labels_NL, B // 2
    expected = {
        "inter": sum(nll(h, other, y, z, weight) for h in layers) / 5,
        "intra": 0.7 * sum(nll(h, own, y, z, weight) for h in layers) / 5,
        "pairwise": 0.3 * sum(nll(h[:half], h[half:], y[:half], y[half:], weight) for h in layers) / 5,
        "quantisation": 2.0 * squares(codes.consensus_NK[items.index_B], layers[-1]) / K / B,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_balanced_pairs_weigh_as_much_as_the_others() -> None:
    """ "balanced" is the weight at which all relevant pairs of the training set together weigh what the other
    pairs weigh, counted one by one."""

    def terms(weight: float | Literal["balanced"]) -> dict[str, Tensor]:
        return build("scahn", **SETTINGS, relevant_weight=weight)("image", batch(), memory())

    build("scahn"), batch()  # so that the memory is the one above
    labels = memory().labels_NL.tolist()
    pairs = [any(x and y for x, y in zip(a, b, strict=True)) for a in labels for b in labels]
    by_hand = terms((len(pairs) - sum(pairs)) / sum(pairs))
    for name, term in terms("balanced").items():
        torch.testing.assert_close(term, by_hand[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("attention", [True, False])
def test_fusion_equals_the_loop(attention: bool) -> None:
    """u_ik = tanh(sum_s W_sk h_sik), behind the stage codes, which stay as they are; W_sk = 1/S untrained."""
    torch.manual_seed(0)
    fusion = Fusion(3, Config(bits=K, attention=attention)).double()
    assert bool(list(fusion.parameters())) == attention
    assert attention or bool((fusion.weight_SK == torch.tensor(1 / 3)).all())
    codes = [torch.randn(B, K, dtype=torch.float64).tanh() for _ in range(3)]
    layers = fusion(codes)
    assert torch.equal(layers[:3], torch.stack(codes))
    for i in range(B):
        for k in range(K):
            total = sum(fusion.weight_SK[s, k].item() * codes[s][i, k].item() for s in range(3))
            assert layers[3, i, k].item() == pytest.approx(math.tanh(total), rel=1e-12)


def test_image_codes_equal_their_definition() -> None:
    """In evaluation: pooled map, normalised with the running statistics, linear, tanh, fused."""
    method, items = build("scahn").eval(), batch()
    assert items.image is not None
    h = [
        torch.tanh(
            (stage.flatten(2).mean(2) / math.sqrt(1 + 1e-5)) @ head[1].weight.T  # mean 0, variance 1 at first
        )
        for head, stage in zip(method.image_tower.heads, items.image, strict=True)
    ]
    u = torch.tanh(sum(w * c for w, c in zip(method.image_tower.fusion.weight_SK, h, strict=True)))
    torch.testing.assert_close(method.encode_image(items.image), u, rtol=0, atol=1e-12)


def test_significance_is_the_sum_of_the_weights_of_both_towers() -> None:
    """Added up one stage at a time."""
    method = build("scahn")
    for k in range(K):
        weights = [
            tower.fusion.weight_SK[s, k].item()
            for tower in (method.image_tower, method.text_tower)
            for s in range(4)
        ]
        assert method.significance()[k].item() == pytest.approx(sum(weights), rel=1e-12)
    assert method.fusion_weights().shape == (8, K)


def test_fewer_stages_fuse_the_last_ones() -> None:
    """With two stages, image maps 1 and 2 do not matter, and three layers enter the loss."""
    method, items = build("scahn", **SETTINGS, stages=2).eval(), batch()
    assert items.image is not None
    other = (items.image[0] + 1, items.image[1] * 2, *items.image[2:])
    assert torch.equal(method.encode_image(items.image), method.encode_image(other))
    assert len(method.image_tower(items.image)) == len(method.text_tower(items.text_BD)) == 3


@pytest.mark.parametrize("bits", [16, 64, 128])
def test_defaults_are_the_published_ones(bits: int) -> None:
    """Both phases: plain SGD at 10^-1.1, falling by 10^-4.5 over the run, one pass each."""
    method = SCAHN(Config(bits=bits), Inputs(image_channels=CHANNELS, text_dim=D, labels=L), Frozen(CHANNELS))
    for phase in method.phases:
        assert (phase.optimizer.kind, phase.optimizer.momentum, phase.steps) == ("sgd", 0.0, None)
        assert math.log10(phase.optimizer.lr) == pytest.approx(-1.1)
        assert math.log10(phase.optimizer.decay) == pytest.approx(-4.5)
    weights = method.fusion_weights()
    assert weights.mean().item() == pytest.approx(0.25, abs=4 / bits / math.sqrt(8 * bits))
    assert weights.std().item() == pytest.approx(1 / bits, rel=0.3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 0}, "bits must be positive, got 0"),
        ({"stages": 5}, "stages must be 1 to 4"),
        ({"relevant_weight": 0}, "relevant_weight must be positive"),
        ({"gamma": -1}, "gamma must not be negative"),
        ({"gama": 1}, "scahn has no setting gama; it has: bits, "),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, float], message: str) -> None:
    """The message names the setting and what is allowed."""
    with pytest.raises(ValueError, match=message):
        methods.config("scahn", **fields)


def test_too_few_image_stages_are_refused() -> None:
    """A frozen backbone of one stage cannot be fused over four; the message offers stages=1."""
    with pytest.raises(ValueError, match="set stages=1"):
        SCAHN(Config(), Inputs(image_channels=(9,), text_dim=D, labels=L), Frozen((9,)))


def test_images_are_augmented_in_training_only() -> None:
    """The backbone sees turned and mirrored images in training, the images themselves in evaluation, and
    themselves in training too where augmentation is off."""
    seen: list[Tensor] = []

    class Seen(torch.nn.Module):
        channels = CHANNELS

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            seen.append(image)
            return tuple(torch.rand(len(image), c, 1, 1).double() for c in CHANNELS)

    image = torch.randint(256, (B, 3, 8, 8), dtype=torch.uint8)
    for augment in (True, False):
        method = build("scahn", Seen(), augment=augment)
        method("image", batch()._replace(image=(image,)), memory())
        assert torch.equal(seen[-1], image) is not augment
        method.eval().encode_image((image,))
        assert torch.equal(seen[-1], image)
