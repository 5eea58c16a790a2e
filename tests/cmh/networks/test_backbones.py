"""The backbones against independent forms: torchvision's ResNet, TensorFlow's padding rule, stored numbers.

`EfficientNetLite` gave bit for bit the features of the publisher's model code and weights at 64, 96, 127,
128 and 224 px; the stored numbers pin that arithmetic with weights from a formula, so it needs no download.
"""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from cmh.networks import backbones
from cmh.networks.efficientnet import EfficientNetLite, SameConv2d
from data_catalog import catalog


def images(size: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def fill_by_formula(module: nn.Module) -> None:
    """Weights that every version of torch agrees on."""
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            n = torch.arange(tensor.numel(), dtype=torch.float64)
            scale = 1 if tensor.dim() < 2 else (2 / tensor[0].numel()) ** 0.5
            values = scale * (torch.cos(1.7 * n) + (1.5 if tensor.dim() < 2 else 0))
            tensor.copy_(values.view(tensor.shape))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2", "resnet18", "resnet34"])
@pytest.mark.parametrize("size", [64, 97])
def test_four_stages_at_their_strides(name: str, size: int) -> None:
    """Each stage has its channels and ceil(size / stride) pixels a side, float32."""
    backbone = backbones.load(name, "none").eval()
    maps = backbone(images(size))
    assert tuple(m.shape[1] for m in maps) == backbone.channels
    assert [m.shape[2] for m in maps] == [-(-size // stride) for stride in (4, 8, 16, 32)]
    assert all(m.dtype == torch.float32 for m in maps)


def test_lite2_is_lite0_scaled_as_published() -> None:
    """Channels times 1.1 in steps of 8, repeats times 1.2 but for the ends: the package's own shapes."""
    network = EfficientNetLite("lite2")
    widths = [block.project_conv.weight.shape[0] for block in network.blocks]
    assert widths == [16] + [24] * 3 + [48] * 3 + [88] * 4 + [120] * 4 + [208] * 5 + [352]
    assert (
        sum(p.numel() for p in network.parameters()) == 4_811_072
    )  # those of the package's file, its classifier left out


@pytest.mark.parametrize("name", backbones.names())
def test_every_spec_is_whole(name: str) -> None:
    """A backbone is one entry: its network gives as many stages as it has channels, its weights a place."""
    spec = backbones.spec(name)
    assert len(spec.channels) == 4
    assert len(spec.mean) == len(spec.std) == 3
    assert spec.grid > 1
    if spec.default == "package":
        assert catalog.weights(name).member.endswith(".pth")


def test_vgg19_gives_the_maps_of_torchvision() -> None:
    """conv5_4 after its ReLU, pooled, is what torchvision's own features end with; strides 2, 4, 8, 16."""
    torch.manual_seed(0)
    backbone = backbones.load("vgg19", "none").eval()
    maps = backbone(images(64, count=1))
    assert [tuple(m.shape[1:]) for m in maps] == [(128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
    assert backbone.channels == (128, 256, 512, 512)
    with torch.device("meta"):
        reference = torchvision.models.vgg19()
    features = reference.features.to_empty(device="cpu").eval()
    features.load_state_dict(backbone.network.features.state_dict())
    x = (images(64, count=1) - backbone.mean) / backbone.std
    pooled = nn.functional.max_pool2d(maps[-1], 2)
    torch.testing.assert_close(pooled, features(x), rtol=1e-4, atol=1e-5)
    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 16


def test_cnn_f_has_the_layers_of_its_table() -> None:
    """At 224 pixels 54, 27, 13 places a side and one vector; kernels as published; small images refused."""
    backbone = backbones.load("cnn_f", "none").eval()
    maps = backbone(images(224, count=1))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 54, 54), (256, 27, 27), (256, 13, 13), (4096, 1, 1)]
    kernels = [tuple(p.shape) for p in backbone.network.parameters() if p.dim() == 4]
    assert kernels == [
        (64, 3, 11, 11),
        (256, 64, 5, 5),
        *[(256, 256, 3, 3)] * 3,
        (4096, 256, 6, 6),
        (4096, 4096, 1, 1),
    ]
    with pytest.raises(ValueError, match=r"64 pixels a side at least, got \(32, 32\)"):
        backbone(images(32))
    with pytest.raises(ValueError, match="no default weights of cnn_f"):
        backbones.load("cnn_f")


def test_resnet_equals_torchvision() -> None:
    """The last stage, pooled and classified, gives torchvision's logits on its own preprocessing."""
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(weights=None).eval()
    backbone = backbones.load("resnet18", "none").eval()
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    backbone.network.load_state_dict(state)
    x = images(64)
    normalise = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    expected = reference(
        (x / 255 - torch.tensor(normalise.mean).view(3, 1, 1)) / torch.tensor(normalise.std).view(3, 1, 1)
    )
    logits = reference.fc(backbone(x)[-1].mean((2, 3)))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (9, 5, 2), (10, 5, 2), (6, 5, 1)]
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    """Output pixel o sees the inputs from o * stride - floor(padding / 2) on, as TensorFlow documents it."""
    conv = SameConv2d(1, 1, kernel, stride=stride)
    x = torch.randn(1, 1, size, size)
    out = -(-size // stride)
    before = max((out - 1) * stride + kernel - size, 0) // 2
    expected = torch.zeros(out, out)
    for i in range(out):
        for j in range(out):
            for a in range(kernel):
                for b in range(kernel):
                    r, c = i * stride - before + a, j * stride - before + b
                    if 0 <= r < size and 0 <= c < size:
                        expected[i, j] += conv.weight[0, 0, a, b].detach() * x[0, 0, r, c]
    torch.testing.assert_close(conv(x)[0, 0], expected, rtol=1e-5, atol=1e-5)


def test_efficientnet_lite0_gives_the_stored_numbers() -> None:
    """Mean and spread of each stage with formula weights; renew only if the network is meant to change."""
    network = EfficientNetLite("lite0").double().eval()
    fill_by_formula(network)
    n = torch.arange(3 * 64 * 64, dtype=torch.float64)
    with torch.no_grad():
        maps = network(torch.sin(n * 0.37).view(1, 3, 64, 64))
    found = [[m.mean().item(), m.std().item()] for m in maps]
    stored = [
        [-0.9023389, 1.5769538],
        [-0.7881242, 1.806985],
        [-1.5617354, 3.3009367],
        [2.4216607, 2.7549027],
    ]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(stored), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_files_of_weights_load(name: str, tmp_path: Path) -> None:
    """Our own state dict as safetensors and the publisher's names as .pth give the same maps."""
    source = backbones.load(name, "none").eval()
    save_file(source.state_dict(), tmp_path / "ours.safetensors")
    foreign = {"fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
    for key, value in source.network.state_dict().items():
        foreign["_" + key.replace(".", "._") if name.startswith("efficient") else key] = value
    torch.save(foreign, tmp_path / "theirs.pth")
    x = images(64)
    for file in ("ours.safetensors", "theirs.pth"):
        loaded = backbones.load(name, tmp_path / file).eval()
        assert loaded.pretrained == file
        assert all(torch.equal(a, b) for a, b in zip(loaded(x), source(x), strict=True))


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Missing file, unknown ending, another network's weights: each error says what to do."""
    with pytest.raises(ValueError, match=r"gone\.pth is missing"):
        backbones.load("resnet18", tmp_path / "gone.pth")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"allowed: \.pth, \.pt, \.safetensors"):
        backbones.load("resnet18", tmp_path / "weights.h5")
    save_file(backbones.load("resnet18", "none").state_dict(), tmp_path / "resnet18.safetensors")
    with pytest.raises(ValueError, match="of another network"):
        backbones.load("resnet34", tmp_path / "resnet18.safetensors")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    """A .pth that would call a function when unpickled is refused, and the function is not called."""

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "pwned",)  # type: ignore[return-value]

    torch.save({"conv1.weight": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        backbones.load("resnet18", tmp_path / "bad.pth")
    assert not (tmp_path / "pwned").exists()


def test_unknown_backbone_lists_the_known() -> None:
    """A misspelt name is answered with the names there are."""
    with pytest.raises(
        ValueError,
        match="'vgg' unknown; available: clip_vit_b32, cnn_f, efficientnet_lite0, efficientnet_lite2",
    ):
        backbones.load("vgg")


def test_without_internet_the_default_weights_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable server becomes an OSError that offers a file, random weights or the packaged network."""

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(OSError, match="no route to host; fetch that file elsewhere and give its path"):
        backbones.load("resnet18", "default")


def test_a_trainable_backbone_refuses_features() -> None:
    """Stage maps given to a network that expects images are named, and Frozen is offered."""
    with pytest.raises(ValueError, match=r"float32 \(2, 64, 1, 1\).*use Frozen"):
        backbones.load("resnet18", "none")(torch.zeros(2, 64, 1, 1), torch.zeros(2, 128, 1, 1))


def test_frozen_is_the_identity_and_checks_channels() -> None:
    """Given maps come back untouched; maps of another backbone are refused."""
    frozen = backbones.Frozen((3, 5))
    maps = (torch.zeros(2, 3, 1, 1), torch.zeros(2, 5, 1, 1))
    assert frozen(*maps) == maps
    assert not list(frozen.parameters())
    with pytest.raises(ValueError, match="made by another backbone"):
        frozen(*reversed(maps))
