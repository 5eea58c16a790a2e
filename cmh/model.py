"""A trained model in a folder of its own: everything needed to turn images and texts into codes.

    model.safetensors         weights of the method
    backbone.safetensors      weights of the image network
    text_network.safetensors  weights of the frozen text network, for models with one
    tokenizer.json            its tokeniser, where that is a file
    config.json               `Facts`
    vocabulary.txt            the words of the vocabulary, one per line, in order
    labels.txt                the labels, one per line, in order

Shape suffixes: B = images or texts, H, W = image, K = bits, P = packed bytes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from cmh import methods
from cmh.data.batches import Stages, to_stages, to_text
from cmh.hashing import encoding
from cmh.hashing.encoder import Encoder, Images
from cmh.hashing.method import Inputs, Method
from cmh.hashing.model_facts import Facts, read
from cmh.networks import backbones, text_encoders, weights
from cmh.networks.backbones import Backbone, Frozen
from cmh.networks.frozen_text import TextEncoder
from cmh.networks.pooling import GridPool


@dataclass(frozen=True)
class Model(Encoder):
    """A trained model on torch, ready to encode, on the device of its method."""

    method: Method
    backbone: Backbone
    facts: Facts
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]
    text_network: TextEncoder | None = None  # None: texts are words of the vocabulary

    @property
    def real_valued(self) -> bool:
        """Whether the method gives embeddings, not codes."""
        return self.method.real_valued

    def to(self, device: torch.device | str) -> "Model":
        """Move the model to a device, in place, and return it."""
        self.method.to(device)
        self.backbone.to(device)
        if self.text_network is not None:
            self.text_network.to(device)
        return self

    @torch.inference_mode()
    def attended(self, image_BHWC: Images) -> NDArray[np.float32] | None:
        """Return the attention weight of each position of the images, (B, H, W) in [0, 1].

        Methods without attention return None.
        """
        weight_BHW = self.method.attended(self._read(self.resized(image_BHWC)))
        return None if weight_BHW is None else weight_BHW.float().cpu().numpy()

    @torch.inference_mode()
    def image_outputs(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return relaxed codes or embeddings (B, K) of images of the backbone's size."""
        u_BK: NDArray[np.float32] = self.method.encode_image(self._read(image_BHWC)).float().cpu().numpy()
        return u_BK

    def text_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features (B, F) of texts by the text network."""
        assert self.text_network is not None
        return self.text_network.features(texts)

    @torch.inference_mode()
    def text_outputs(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return relaxed codes or embeddings (B, K) of texts; `inputs` as of `Encoder.text_outputs`."""
        values = list(inputs.values())
        read = values[0] if len(values) == 1 else text_encoders.with_words(inputs["features"], inputs["bag"])
        u_BK: NDArray[np.float32] = self.method.encode_text(to_text(read, self._device)).float().cpu().numpy()
        return u_BK

    @property
    def _device(self) -> torch.device:
        return encoding.device_of(self.method)

    def _read(self, image_BHWC: NDArray[np.uint8]) -> Stages:
        """Return the input of the method's image tower for these images: pixels, or features."""
        pixels = to_stages((image_BHWC,), self._device)
        return pixels if self.facts.grid is None else self.features(pixels)

    def features(self, pixels: Stages) -> Stages:
        """Return stage maps as a features artifact holds them: averages as float32, maps as float16."""
        assert self.facts.grid is not None
        maps = [GridPool(self.facts.grid)(stage) for stage in self.backbone(*pixels)]
        return tuple(stage if self.facts.grid == 1 else stage.half().float() for stage in maps)


def adopt(method: Method, vocabulary: Sequence[str], trained: Model) -> None:
    """Give a new method the weights of a trained model of the same method and networks, in place.

    Weights of the words of a bag go by word: those that only one of the two knows stay as they are drawn, or
    are left out.

    Args:
        method: the new method.
        vocabulary: the words that it reads.
        trained: the model.

    Raises:
        ValueError: their networks differ.
    """
    before, now = trained.method.state_dict(), method.state_dict()
    for name in before.keys() ^ now.keys():
        raise ValueError(
            f"the model to start from has other networks: {name} is in one of the two alone; give the "
            "settings that it was trained with, or leave out --start-from"
        )
    known = {word: column for column, word in enumerate(trained.vocabulary)}
    width = trained.text_network.width if trained.text_network is not None else 0
    axes: dict[str, int] = {}  # of the words, by the name of the weights that read them
    if tuple(vocabulary) != trained.vocabulary:
        dims = width + len(known), width + len(vocabulary)
        for name, new in now.items():
            sizes = list(zip(before[name].shape, new.shape, strict=False))
            if dims in sizes and before[name].ndim == new.ndim:
                axes[name] = sizes.index(dims)
        if dims[0] == dims[1] and len(axes) > 1:
            raise ValueError(
                f"the model to start from knows as many words, but others, and any of {', '.join(axes)} "
                "may read them; give other texts, or leave out --start-from"
            )
    for name, new in now.items():
        old = before[name]
        if name in axes:
            old, new = old.movedim(axes[name], 0), new.movedim(axes[name], 0)
        if old.shape[1:] != new.shape[1:] or (name not in axes and old.shape != new.shape):
            raise ValueError(
                f"the model to start from has other networks: its {name} is {tuple(before[name].shape)}, and "
                f"{tuple(now[name].shape)} is needed; give the settings that it was trained with, or leave "
                "out --start-from"
            )
        if name not in axes:
            new.copy_(old)
            continue
        new[:width] = old[:width]
        for row, word in enumerate(vocabulary, start=width):
            if word in known:
                new[row] = old[width + known[word]]


def build(
    method: str,
    settings: dict[str, Any],
    backbone: Backbone,
    *,
    frozen: bool,
    text_dim: int,
    labels: int,
) -> Method:
    """Return a method with new weights, drawn from torch's generator.

    Args:
        method: name of the method.
        settings: fields of its `Config`.
        backbone: the image network.
        frozen: True keeps the backbone outside the method, which then reads stage maps.
        text_dim: D.
        labels: L.

    Raises:
        ValueError: an unknown method or unknown settings.
    """
    inputs = Inputs(image_channels=backbone.channels, text_dim=text_dim, labels=labels)
    image_network: nn.Module = Frozen(backbone.channels, backbone.pretrained) if frozen else backbone
    return methods.load(method)(methods.config(method, **settings), inputs, image_network)


def facts(
    method: str, built: Method, settings: dict[str, Any], backbone: str, pretrained: str, **others: Any
) -> Facts:
    """Return the `Facts` of a trained method.

    Args:
        method: name of the method.
        built: the trained method, which gives the revision and the order of the bits.
        settings: fields of its `Config`; those left out have the default.
        backbone: name of the backbone.
        pretrained: source of the backbone's initial weights.
        **others: grid, stored_size, image_size, text, text_dim, labels, length and given, as in `Facts`.
    """
    significance_K = encoding.bit_significance(built)
    return Facts(
        method=method,
        revision=built.REVISION,
        settings=asdict(methods.config(method, **settings)),
        backbone=backbone,
        pretrained=pretrained,
        order=tuple(encoding.bit_order(built).tolist()),
        significance=None if significance_K is None else tuple(significance_K.tolist()),
        **others,
    )


def save(model: Model, folder: Path) -> None:
    """Write the model's files into `folder`, which must exist."""
    prefix = _backbone_prefix(model)
    own = {k: v for k, v in model.method.state_dict().items() if prefix is None or not k.startswith(prefix)}
    weights.write(own, folder / "model.safetensors")
    weights.write(model.backbone.network.state_dict(), folder / "backbone.safetensors")
    if model.text_network is not None:
        text_encoders.save(model.text_network, folder / "text_network.safetensors")
    text = json.dumps(asdict(model.facts), indent=1, sort_keys=True)
    (folder / "config.json").write_text(text + "\n")
    (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in model.vocabulary))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in model.labels))


def load(folder: Path) -> Model:
    """Read a model that `save` wrote, on the CPU and in evaluation mode.

    Raises:
        ValueError: the model belongs to another revision of its method, or to an unknown method, or its files
            are damaged or do not match each other.
    """
    try:
        return _load(folder)
    except Exception as error:  # of JSON, safetensors and torch, more than they document
        if isinstance(error, OSError) or str(error).startswith(str(folder)):
            raise
        raise ValueError(
            f"{folder} holds no whole model: {type(error).__name__} {str(error)[:300]}; fetch or train it "
            "again"
        ) from error


def _load(folder: Path) -> Model:
    model_facts, vocabulary, labels = read(folder)
    revision = methods.load(model_facts.method).REVISION
    if model_facts.revision != revision:
        raise ValueError(
            f"{folder} was trained by revision {model_facts.revision} of {model_facts.method}, and this is "
            f"revision {revision}; train it again, or use the version of cmh that it was made with"
        )
    if model_facts.given is not None:
        backbone = backbones.without_network(model_facts.given)
    else:
        backbone = backbones.load(model_facts.backbone, folder / "backbone.safetensors")
    method = build(
        model_facts.method,
        model_facts.settings,
        backbone,
        frozen=model_facts.grid is not None,
        text_dim=model_facts.text_dim,
        labels=model_facts.labels,
    )
    network = (
        None
        if model_facts.text == "words"
        else (text_encoders.load(model_facts.text, folder / "text_network.safetensors"))
    )
    model = Model(method.eval(), backbone.eval(), model_facts, vocabulary, labels, network)
    weights = load_file(folder / "model.safetensors")
    prefix = _backbone_prefix(model)
    if prefix is not None:
        weights |= {f"{prefix}network.{k}": v for k, v in backbone.network.state_dict().items()}
    for name, expected in method.state_dict().items():
        found = weights[name]
        if (found.dtype, found.shape) != (expected.dtype, expected.shape):
            raise ValueError(
                f"{folder}/model.safetensors: {name} is {found.dtype} {tuple(found.shape)}; expected "
                f"{expected.dtype} {tuple(expected.shape)}"
            )
        if found.is_floating_point() and not found.isfinite().all():
            raise ValueError(f"{folder}/model.safetensors: {name} has values that are not finite")
    method.load_state_dict(weights)
    return model


def _backbone_prefix(model: Model) -> str | None:
    """Return the prefix of the backbone's tensors in the method, or None if the backbone is outside of it."""
    prefixes = [f"{name}." for name, module in model.method.named_modules() if module is model.backbone]
    return prefixes[0] if prefixes else None
