"""DJSRH against the authors' numbers and against slow loops written from the paper, float64."""

import math

import pytest
import torch
from torch import Tensor

from cmh.data.items import Items
from cmh.hashing import affinities
from cmh.methods import djsrh
from tests.cmh.methods import pairs, vectors
from tests.cmh.methods.pairs import cosine


def test_the_authors_numbers() -> None:
    """S and loss on the shared vector."""
    method = vectors.build("djsrh", hidden=4)
    s_BB = djsrh.joint(*method.affinities(method.features(vectors.batch())), 0.9, 0.4, 1.5)
    assert s_BB[0].tolist() == pytest.approx([1.275070, 0.800444, 1.150551, 0.927447], abs=1e-6)
    terms = method.loss("pairs", vectors.CODES, vectors.batch(), vectors.memory())
    assert vectors.total(terms) == pytest.approx(1.83833218, abs=1e-6)


def slow_affinity(x_BF: Tensor, i: int, j: int) -> float:
    return 2 * cosine(x_BF[i], x_BF[j]) - 1


def test_terms_equal_the_loops() -> None:
    """Each term is the mean over all pairs of the squared difference of cosine and S."""
    settings = {"beta": 0.3, "eta": 0.2, "mu": 1.2, "lambda_1": 0.4, "lambda_2": 0.7}
    method, items = pairs.build("djsrh", hidden=8, **settings), pairs.batch()
    u_BK, v_BK = method.codes("pairs", items, codes := pairs.memory())
    terms = method("pairs", items, codes)
    x_BF, y_BD = items.image[-1].mean((2, 3)), items.text_BD
    mixed = [
        [0.3 * slow_affinity(x_BF, i, j) + 0.7 * slow_affinity(y_BD, i, j) for j in range(pairs.B)]
        for i in range(pairs.B)
    ]
    expected = dict.fromkeys(("between", "images", "texts"), 0.0)
    for i in range(pairs.B):
        for j in range(pairs.B):
            second = sum(mixed[i][k] * mixed[j][k] for k in range(pairs.B)) / pairs.B
            s = 1.2 * (0.8 * mixed[i][j] + 0.2 * second)
            expected["between"] += (cosine(u_BK[i], v_BK[j]) - s) ** 2 / pairs.B**2
            expected["images"] += 0.4 * (cosine(u_BK[i], u_BK[j]) - s) ** 2 / pairs.B**2
            expected["texts"] += 0.7 * (cosine(v_BK[i], v_BK[j]) - s) ** 2 / pairs.B**2
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def items_of(x_NF: Tensor, y_ND: Tensor) -> Items:
    rows = torch.arange(len(x_NF)).numpy()
    label = torch.ones(len(x_NF), 1, dtype=torch.uint8).numpy()
    return Items((x_NF[:, :, None, None].float().numpy(),), y_ND.float().numpy(), label, rows)


def test_the_slope_grows_with_the_epochs_and_is_kept() -> None:
    """u = tanh(sqrt(epoch + 1) f), in training and when encoding, and in the state dict."""
    method, train = vectors.build("djsrh", hidden=4), items_of(vectors.X, vectors.Y)
    flat_BK = method.encode_text(vectors.Y).atanh()
    method.begin_epoch(8, train, vectors.memory())
    assert torch.allclose(method.encode_text(vectors.Y).atanh(), 3 * flat_BK)
    assert method.state_dict()["slope"].item() == 3


def test_calibration_maps_quantiles_to_the_ends() -> None:
    """Narrow cosines spread over [-1, 1]: 1 % are at -1, 1 % at 1, in both modalities."""
    torch.manual_seed(1)
    x_NF, y_ND = torch.rand(200, 5) + 2, torch.rand(200, 6) + 1
    method = vectors.build("djsrh", hidden=4, calibrate=True)
    method.begin_epoch(0, items_of(x_NF, y_ND), vectors.memory())
    for s_NN in method.affinities(affinities.Features(x_NF.double(), y_ND.double())):
        spread = affinities.off_diagonal(s_NN)
        assert spread.abs().max() == 1
        assert (spread == -1).double().mean().item() == pytest.approx(0.01, abs=1e-3)
        assert (spread == 1).double().mean().item() == pytest.approx(0.01, abs=1e-3)
        assert (s_NN.diagonal() == 1).all()
    assert math.isclose(vectors.build("djsrh", hidden=4).quantiles_22.sum().item(), 2)


def test_targets_of_a_backbone_that_learns_stay() -> None:
    """They come from its twin: after a step of the backbone, S is what it was; codes are not."""
    backbone = torch.nn.Conv2d(3, pairs.CHANNELS[-1], 1)
    method = pairs.build("djsrh", Stage(backbone), hidden=8)
    items = pairs.batch()._replace(image=(torch.rand(pairs.B, 3, 4, 4, dtype=torch.float64),))
    before, codes = method.features(items).image_BF, method.code_of("image", items)
    with torch.no_grad():
        method.backbone.network.weight += 1
    assert torch.equal(method.features(items).image_BF, before)
    assert not torch.allclose(method.code_of("image", items), codes)
    assert not any(p.requires_grad for p in method.twin.parameters())
    assert not method.train().twin.training


class Stage(torch.nn.Module):
    """A network with one stage map."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.network(image),)


def test_settings_that_cannot_work_are_refused() -> None:
    """The message names setting and range."""
    with pytest.raises(ValueError, match=r"beta must lie between 0 and 1, got 1\.5"):
        djsrh.Config(beta=1.5)
