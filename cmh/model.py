"""A trained model in a folder of its own: everything needed to turn images and texts into codes.

    model.safetensors         weights of the method
    backbone.safetensors      weights of the image network
    text_network.safetensors  weights of the frozen text network, for models with one
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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from cmh import methods
from cmh.data import images
from cmh.data.batches import Stages, to_stages, to_text
from cmh.data.texts import bag_of_words, sequences
from cmh.hashing import encoding
from cmh.hashing.method import Inputs, Method
from cmh.model_facts import Facts, check
from cmh.networks import backbones, clip
from cmh.networks.backbones import Backbone, Frozen
from cmh.networks.clip import ClipText


@dataclass(frozen=True)
class Model:
    """A trained model, ready to encode, on the device of its method."""

    method: Method
    backbone: Backbone
    facts: Facts
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]
    text_network: ClipText | None = None  # None: texts are words of the vocabulary

    @property
    def bits(self) -> int:
        """The length of the codes."""
        return self.facts.bits

    @property
    def order(self) -> NDArray[np.int64]:
        """The method's bits, int64 (K,), in the order in which the codes hold them: by significance."""
        return np.array(self.facts.order, np.int64)

    def to(self, device: torch.device | str) -> "Model":
        """Move the model to a device, in place, and return it."""
        self.method.to(device)
        self.backbone.to(device)
        if self.text_network is not None:
            self.text_network.to(device)
        return self

    @torch.inference_mode()
    def encode_images(self, image_BHWC: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[Any]:
        """Return the packed codes of images, which are cropped and resized as in preprocessing.

        Args:
            image_BHWC: uint8 RGB images (H, W, 3) of any size.

        Returns:
            Codes, uint8 (B, P); for a real-valued method, embeddings, float32 (B, K).

        Raises:
            ValueError: an image of another shape or dtype.
        """
        return self._codes(self.method.encode_image(self._read(image_BHWC)))

    @torch.inference_mode()
    def attended(
        self, image_BHWC: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    ) -> NDArray[np.float32] | None:
        """Return the attention weight of each position of the images, (B, H, W) in [0, 1].

        Methods without attention return None.
        """
        weight_BHW = self.method.attended(self._read(image_BHWC))
        return None if weight_BHW is None else weight_BHW.float().cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return the packed codes of texts, uint8 (B, P); for a real-valued method, embeddings.

        Words outside the vocabulary are ignored, unless a text network reads the texts.

        Raises:
            ValueError: the model was trained on text features, not on words.
        """
        if self.facts.given is not None:
            raise ValueError(
                "this model learnt from text features that came with its dataset, not from words"
            )
        inputs: NDArray[Any]
        if self.text_network is not None:
            inputs = self.text_network.features(texts)
        elif self.facts.length is None:
            inputs = bag_of_words(texts, self.vocabulary)
        else:
            inputs = sequences(texts, self.vocabulary, self.facts.length)
        return self._codes(self.method.encode_text(to_text(inputs, self._device)))

    def knows(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each text whether its code depends on it, bool (B,).

        A text needs a word of the vocabulary, or, for a model with a text network, any characters.
        """
        if self.text_network is not None:
            return np.array([bool(text.strip()) for text in texts], np.bool_)
        known_B: NDArray[np.bool_] = bag_of_words(texts, self.vocabulary).max(1, initial=0) > 0
        return known_B

    @property
    def _device(self) -> torch.device:
        return encoding.device_of(self.method)

    def _read(self, image_BHWC: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Stages:
        """Return the input of the method's image tower for these images: pixels, or features."""
        resized = np.stack([_resize(image, self.facts) for image in image_BHWC])
        pixels = to_stages((resized,), self._device)
        return pixels if self.facts.grid is None else self._features(pixels)

    def _features(self, pixels: Stages) -> Stages:
        """Return stage maps as a features artifact holds them: averages as float32, maps as float16."""
        assert self.facts.grid is not None
        maps = [adaptive_avg_pool2d(stage, self.facts.grid) for stage in self.backbone(*pixels)]
        return tuple(stage if self.facts.grid == 1 else stage.half().float() for stage in maps)

    def _codes(self, u_BK: Tensor) -> NDArray[Any]:
        """Return packed codes of relaxed ones, or the embeddings of a real-valued method."""
        if self.method.real_valued:
            return u_BK.float().cpu().numpy()
        return encoding.pack_codes(u_BK.float().cpu().numpy(), self.order)


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
    _save_tensors(own, folder / "model.safetensors")
    _save_tensors(model.backbone.network.state_dict(), folder / "backbone.safetensors")
    if model.text_network is not None:
        _save_tensors(model.text_network.network.state_dict(), folder / "text_network.safetensors")
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
    config = json.loads((folder / "config.json").read_text())
    tuples = {key: config[key] and tuple(config[key]) for key in ("order", "significance", "given")}
    model_facts = Facts(**config | tuples)
    revision = methods.load(model_facts.method).REVISION
    if model_facts.revision != revision:
        raise ValueError(
            f"{folder} was trained by revision {model_facts.revision} of {model_facts.method}, and this is "
            f"revision {revision}; train it again, or use the version of cmh that it was made with"
        )
    vocabulary = tuple((folder / "vocabulary.txt").read_text().splitlines())
    labels = tuple((folder / "labels.txt").read_text().splitlines())
    check(folder, model_facts, vocabulary, labels)
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
    network = None if model_facts.text == "words" else clip.load_text(folder / "text_network.safetensors")
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


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write copies of the tensors, as safetensors rejects tensors that share memory."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)


def _resize(image_HWC: NDArray[np.uint8], facts: Facts) -> NDArray[np.uint8]:
    """Return the image resized to the stored size and then to the backbone's, like the dataset's images."""
    if image_HWC.ndim != 3 or image_HWC.shape[2] != 3 or image_HWC.dtype != np.uint8:
        raise ValueError(
            f"an image is uint8 (H, W, 3), got {image_HWC.dtype} {image_HWC.shape}; convert it to RGB"
        )
    return images.resize(images.resize(image_HWC, facts.stored_size), facts.image_size)
