"""The text tower against the network as published, written out with nn.Conv2d over (D, 6) maps.

In float64, to 1e-9: forward, all gradients, running statistics, and evaluation after training.
"""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn import functional

from cmh import distributed
from cmh.networks import batchnorm
from cmh.networks.multiscale import SCALES, MultiScale, scale_weights
from cmh.networks.text_networks import MultiScaleLinear, ResidualText, WordLinear, mlp


class Published(nn.Module):
    """The tower as its figure draws it: nothing is rearranged, nothing is shared."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.scales = nn.ModuleList(nn.Conv2d(1, 1, 1) for _ in SCALES)
        self.blocks = nn.ModuleList()
        for channels, out, kernel in [
            (1, 64, (dim, 1)),
            (64, 128, (1, 3)),
            (128, 256, (1, 3)),
            (256, 512, (1, 2)),
        ]:
            self.blocks.append(
                nn.ModuleList(
                    [
                        nn.Conv2d(channels, out, (1, 3), padding=(0, 1), bias=False),
                        nn.BatchNorm2d(out),
                        nn.Conv2d(out, out, kernel, bias=False),
                        nn.BatchNorm2d(out),
                        nn.Conv2d(channels, out, kernel, bias=False),
                        nn.BatchNorm2d(out),
                    ]
                )
            )

    def forward(self, text_BD: Tensor) -> tuple[Tensor, ...]:
        x = text_BD[:, None, :, None]
        columns = [x]
        for scale, conv in zip(SCALES, self.scales, strict=True):
            pooled = functional.avg_pool2d(x, (min(scale, self.dim), 1))
            columns.append(functional.interpolate(functional.relu(conv(pooled)), size=(self.dim, 1)))
        x = torch.cat(columns, dim=3)
        stages = []
        for conv1, norm1, conv2, norm2, shortcut, norm3 in self.blocks:
            x = functional.relu(norm2(conv2(functional.relu(norm1(conv1(x))))) + norm3(shortcut(x)))
            stages.append(x.squeeze(2))
        return tuple(stages)


def counterparts(tower: ResidualText, published: Published) -> list[tuple[Tensor, Tensor]]:
    """Each parameter and statistic of the tower, with the view of the published network's that fits."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for s, conv in enumerate(published.scales):
        pairs += [(tower.columns.weight[s], conv.weight.view(1)), (tower.columns.bias[s], conv.bias)]
    for block, (conv1, norm1, conv2, norm2, shortcut, norm3) in zip(
        [tower.words, *tower.blocks], published.blocks, strict=True
    ):
        if block is tower.words:
            pairs += [
                (block.window_CT, conv1.weight[:, 0, 0]),
                (block.words_DCO, conv2.weight[..., 0].permute(2, 1, 0)),
                (block.shortcut_DO, shortcut.weight[:, 0, :, 0].T),
            ]
        else:
            pairs += [
                (mine.weight, theirs.weight.squeeze(2))
                for mine, theirs in [(block.conv1, conv1), (block.conv2, conv2), (block.shortcut, shortcut)]
            ]
        for mine, theirs in [(block.norm1, norm1), (block.norm2, norm2), (block.norm3, norm3)]:
            pairs += zip(
                mine.state_dict(keep_vars=True).values(),
                theirs.state_dict(keep_vars=True).values(),
                strict=True,
            )
    return pairs


def towers(dim: int, seed: int = 0) -> tuple[ResidualText, Published]:
    """Both networks with the same random weights, in float64."""
    torch.manual_seed(seed)
    tower, published = ResidualText(dim).double(), Published(dim).double()
    with torch.no_grad():
        for i, (mine, theirs) in enumerate(counterparts(tower, published)):
            if i < 2 * len(SCALES):
                mine.copy_(
                    torch.rand_like(mine) * 2 - 0.5
                )  # scales of either sign, so that some are cut at 0
            elif mine.dim() == 1:
                mine.copy_(torch.rand_like(mine) + 0.5)
            theirs.copy_(mine)
    return tower, published


def texts(rows: int, dim: int, density: float) -> Tensor:
    text_BD = torch.poisson(torch.full((rows, dim), density, dtype=torch.float64))
    text_BD[0] = 0  # a text without known words
    return text_BD


@pytest.mark.parametrize(("dim", "density"), [(150, 0.03), (157, 0.03), (157, 2.0), (37, 0.1), (4, 0.5)])
def test_tower_equals_the_published_network(dim: int, density: float) -> None:
    """Forward, gradients and statistics agree in training, and so does evaluation afterwards: on sparse and
    dense texts, aligned and odd lengths, also fewer words than a scale."""
    tower, published = towers(dim)
    for _ in range(2):
        text_BD = texts(6, dim, density)
        mine, theirs = tower(text_BD), published(text_BD)
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
        tower.zero_grad()
        published.zero_grad()
        probes = [torch.randn_like(a) for a in mine]
        sum((a * p).sum() for a, p in zip(mine, probes, strict=True)).backward()
        sum((a * p).sum() for a, p in zip(theirs, probes, strict=True)).backward()
    tower.eval()
    published.eval()
    for a, b in zip(tower(text_BD), published(text_BD), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for a, b in counterparts(tower, published):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    grad_of(tower, published)


def grad_of(tower: ResidualText, published: Published) -> None:
    """Swap parameters for their gradients, so that `counterparts` pairs these."""
    for module in (tower, published):
        for parameter in module.parameters():
            assert parameter.grad is not None
            parameter.data = parameter.grad
    for a, b in counterparts(tower, published):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_float32_statistics_hold_their_digits() -> None:
    """In float32 the moments give the published network's output to 1e-4."""
    tower, published = towers(157)
    text_BD = texts(16, 157, 0.05)
    expected = published(text_BD)
    for a, b in zip(tower.float()(text_BD.float()), expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)


def test_segments_repeat_the_pooled_values() -> None:
    """Every pooled column is its value at the segment, wherever in the segment one looks."""
    columns = MultiScale(157)
    column_D = columns(texts(3, 157, 0.3).float())[1].detach()
    for scale in range(len(SCALES)):
        segment_D = columns.segments(scale)
        assert segment_D.diff().min() >= 0
        for segment in segment_D.unique():
            assert len(column_D[1 + scale][segment_D == segment].unique()) == 1


def test_no_scale_starts_dead() -> None:
    """In a hundred networks of each kind, every average of words that occur reaches the next layer."""
    text_BD = texts(8, 157, 0.3).float()
    for seed in range(100):
        torch.manual_seed(seed)
        columns, layer = MultiScale(157), MultiScaleLinear(157, 4)
        assert columns(text_BD)[:, 1:].amax((0, 2)).min() > 0
        assert layer.convolution.min() > 0
    drawn = scale_weights(20_000, 0.3)
    assert drawn.square().mean().sqrt().item() == pytest.approx(0.3, rel=0.05)


def step(rank: int = 0, workers: int = 1) -> dict[str, Tensor]:
    """One step on this worker's rows of the same batch; all that must not depend on the number of workers."""
    torch.manual_seed(0)
    tower = ResidualText(157).double()
    batchnorm.sync_batchnorm(tower)
    text_BD, probe_BC = texts(8, 157, 0.03), torch.randn(8, 512, dtype=torch.float64)
    (tower(text_BD[rank::workers])[-1][..., 0] * probe_BC[rank::workers]).mean().backward()
    distributed.mean_gradients(tower.parameters())
    gradients = {f"{name}.grad": p.grad for name, p in tower.named_parameters() if p.grad is not None}
    return gradients | {k: v for k, v in tower.state_dict().items() if "running" in k}


def worker(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    torch.save(step(rank, workers), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_do_what_one_does(tmp_path: Path) -> None:
    """Gradients and running statistics are those of the global batch, on every worker."""
    mp.spawn(worker, (2, str(tmp_path)), nprocs=2)
    expected = step()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("occurring", [0.0, 0.1, 1.0])
def test_word_linear_is_a_linear_layer(occurring: float) -> None:
    """Outputs and gradients of nn.Linear, texts without any word among them."""
    torch.manual_seed(0)
    words = WordLinear(30, 5).double()
    nn.init.normal_(words.bias)
    text = torch.poisson(torch.full((7, 30), 2.0, dtype=torch.float64)) * (torch.rand(7, 30) < occurring)
    text[3] = 0
    weight, bias = (p.detach().clone().requires_grad_() for p in (words.weight_DO, words.bias))
    given, expected = words(text), functional.linear(text, weight.T, bias)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)
    given.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(words.weight_DO.grad, weight.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(words.bias.grad, bias.grad, rtol=0, atol=1e-12)


def test_mlp_is_two_layers() -> None:
    """(B, D) to (B, O): linear, ReLU, linear, drawn from N(0, std)."""
    torch.manual_seed(0)
    tower = mlp(30, 400, 5, std=0.1)
    text = torch.rand(7, 30)
    first, last = tower[0], tower[2]
    expected = torch.relu(text @ first.weight_DO) @ last.weight.T
    torch.testing.assert_close(tower(text), expected, rtol=1e-4, atol=1e-5)
    assert first.weight_DO.std().item() == pytest.approx(0.1, rel=0.05)
    assert last.weight.std().item() == pytest.approx(0.1, rel=0.1)


def test_a_layer_over_averages_is_one_over_their_resized_copies() -> None:
    """The published layer over (D, 6) columns, its weights summed over the copies of an average."""
    torch.manual_seed(0)
    dim, out = 103, 4
    layer, columns = MultiScaleLinear(dim, out).double(), MultiScale(dim).double()
    for weight, bias, own, shift in zip(
        columns.weight, columns.bias, layer.convolution, layer.shift, strict=True
    ):
        nn.init.normal_(shift)
        weight.data.copy_(own.data)
        bias.data.copy_(shift.data)
    published_OJD = torch.randn(out, 6, dim, dtype=torch.float64)
    layer.words.weight_DO.data.copy_(published_OJD[:, 0].T)
    for scale, linear in enumerate(layer.averages):
        segments_D = columns.segments(scale)
        linear.weight.data.zero_().index_add_(1, segments_D, published_OJD[:, scale + 1])
    text = torch.poisson(torch.full((7, dim), 0.3, dtype=torch.float64))
    expected = torch.einsum("bjd,ojd->bo", columns(text), published_OJD)
    torch.testing.assert_close(layer(text), expected, rtol=0, atol=1e-10)
