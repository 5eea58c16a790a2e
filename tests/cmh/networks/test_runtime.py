"""Networks on ONNX Runtime against torch, at other batch sizes than those that they were exported with."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from cmh.networks import backbones, clip, features, minilm, runtime
from cmh.networks.frozen_text import TextEncoder
from cmh.networks.pooling import GridPool
from tests.cmh.networks.test_minilm import TEXTS, tokenizer

SIZES = {"clip_vit_b32": 224, "cnn_f": 96}  # pixels; of the others 64


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("clip_vit_b32", "vgg19", "cnn_f") else ())
        for name in backbones.names()
    ],
)
def test_every_backbone_has_torchs_features(name: str) -> None:
    """Averages within 1e-4 of the largest, maps within float16's last digit; five images in batches of 2."""
    torch.manual_seed(0)
    backbone, size = backbones.load(name, "none").eval(), SIZES.get(name, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)
    found = features.Extractor(backbone, image_size=size, grid=3, batch=2)(pixels)
    with torch.inference_mode():
        stages = backbone(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    for number, stage in enumerate(stages, 1):
        scale = max(1.0, float(stage.abs().max()))
        for kind, grid, tolerance in (("pooled", 1, 1e-4), ("maps", 3, 2e-3)):
            expected = adaptive_avg_pool2d(stage, grid).numpy() / scale
            got = found[f"{kind}/stage{number}"].astype(np.float32).reshape(expected.shape) / scale
            np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "made", [lambda: minilm.MiniLMText(2, tokenizer()), pytest.param(clip.ClipText, marks=pytest.mark.slow)]
)
def test_text_networks_have_torchs_features(made: type[TextEncoder]) -> None:
    """Of texts of other lengths than the exported example, of one text, and of none."""
    torch.manual_seed(0)
    encoder = made().eval()
    on_runtime = encoder.on_runtime(threads=1)
    for texts in (TEXTS, TEXTS[:1], []):
        expected = encoder.features(texts)
        np.testing.assert_allclose(on_runtime(texts), expected, rtol=0, atol=1e-4)
        assert on_runtime(texts).shape == (len(texts), encoder.width)


@pytest.mark.parametrize(("side", "grid"), [(7, 4), (3, 6), (8, 4), (5, 1), (4, 3)])
def test_cells_of_a_grid_are_torchs(side: int, grid: int) -> None:
    """Also where the grid does not divide the side, or is larger."""
    map_BCHW = torch.rand(2, 3, side, side + 1, generator=torch.Generator().manual_seed(0))
    session = runtime.session(GridPool(grid), {"map": map_BCHW}, threads=1)
    expected = adaptive_avg_pool2d(map_BCHW, grid)
    np.testing.assert_allclose(session(map=map_BCHW.numpy())[0], expected, rtol=1e-5, atol=1e-6)


def test_exporting_changes_no_mode_of_the_network() -> None:
    """A backbone in evaluation mode inside a wrapper in training mode stays as it was; so does torch."""
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    network[0].eval()
    runtime.export(network, {"x": torch.zeros(2, 3)})
    assert [module.training for module in network.modules()] == [True, False, True]
    assert torch.backends.mha.get_fastpath_enabled()


def test_threads_share_a_session_and_change_no_bit() -> None:
    """One session called from four threads, and a session of two threads, give what one thread does."""
    torch.manual_seed(0)
    backbone = backbones.load("efficientnet_lite0", "none").eval()
    one, two = (features.Extractor(backbone, image_size=64, batch=4, threads=n) for n in (1, 2))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    expected = one(pixels)
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(one, np.split(pixels, 4)))
    for name, values in expected.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), values)
        assert np.array_equal(two(pixels)[name], values)


def test_what_is_no_network_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no ONNX, and a graph that was cut, end in a ValueError and print nothing."""
    whole = runtime.export(Twice(), {"x": torch.zeros(2, 3)})
    for graph in (b"", b"no graph", whole[: len(whole) // 2]):
        with pytest.raises(ValueError, match="ONNX Runtime cannot load the network"):
            runtime.Session(graph, 1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
