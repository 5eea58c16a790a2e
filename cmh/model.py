"""A trained model in a folder of its own: everything it takes to turn images and texts into codes.

    model.safetensors     the method's weights       config.json      `Facts`
    backbone.safetensors  the image network's        vocabulary.txt, labels.txt   one word a line, in order
    text_network.safetensors   the frozen text network's, where texts were read by one

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
from cmh.networks import backbones, clip
from cmh.networks.backbones import Backbone, Frozen
from cmh.networks.clip import ClipText


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a model besides its weights; `config.json`."""

    method: str
    revision: int
    settings: dict[str, Any]  # of the method's Config, all of them
    backbone: str
    pretrained: str  # where the backbone's first weights came from
    grid: int | None  # side of the stage maps that a frozen backbone gave, 1 if pooled; None: it was trained
    stored_size: int  # side in pixels of the images in the images artifact
    image_size: int  # side that they are resized to for the backbone
    text_dim: int
    labels: int
    order: tuple[int, ...]  # stored position → bit of the model
    significance: tuple[float, ...] | None  # by bit of the model
    given: tuple[int, ...] | None = (
        None  # channels of image features that the dataset brought, with text features
    )
    length: int | None = None  # words that a text is cut to, of a method that reads them in their order
    text: str = "words"  # or the network that gave features of texts

    @property
    def bits(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class Model:
    """A trained model, ready to encode; on the device its method is on."""

    method: Method
    backbone: Backbone
    facts: Facts
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]
    text_network: ClipText | None = None  # None: texts are words of the vocabulary

    @property
    def bits(self) -> int:
        return self.facts.bits

    @property
    def order(self) -> NDArray[np.int64]:
        """(K,) the model's bits by significance, as the codes hold them."""
        return np.array(self.facts.order, np.int64)

    def to(self, device: torch.device | str) -> "Model":
        """Return the same model, moved in place."""
        self.method.to(device)
        self.backbone.to(device)
        if self.text_network is not None:
            self.text_network.to(device)
        return self

    @torch.inference_mode()
    def encode_images(self, image_BHWC: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[Any]:
        """Return packed codes (B, P) of uint8 RGB images (H, W, 3) of any size.

        They are cut and resized as in preprocessing.

        Of a real-valued method, embeddings (B, K) float32.

        Raises:
            ValueError: an image of another shape or type.
        """
        return self._codes(self.method.encode_image(self._read(image_BHWC)))

    @torch.inference_mode()
    def attended(
        self, image_BHWC: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    ) -> NDArray[np.float32] | None:
        """Return how much each place of the images counts, (B, H, W) in [0, 1].

        None: the method chooses no places.
        """
        weight_BHW = self.method.attended(self._read(image_BHWC))
        return None if weight_BHW is None else weight_BHW.float().cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return packed codes (B, P) of texts, or embeddings.

        Words outside the vocabulary do not count, unless a network reads the texts.

        Raises:
            ValueError: the model learnt from text features.
        """
        if self.facts.given is not None:
            raise ValueError(
                "this model learnt from text features that came with its dataset, not from words"
            )
        read: NDArray[Any]
        if self.text_network is not None:
            read = self.text_network.features(texts)
        elif self.facts.length is None:
            read = bag_of_words(texts, self.vocabulary)
        else:
            read = sequences(texts, self.vocabulary, self.facts.length)
        return self._codes(self.method.encode_text(to_text(read, self._device)))

    def knows(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return (B,) whether anything of a text bears on its code.

        That is a word of the vocabulary; a text network reads any text.
        """
        if self.text_network is not None:
            return np.array([bool(text.strip()) for text in texts], np.bool_)
        known_B: NDArray[np.bool_] = bag_of_words(texts, self.vocabulary).max(1, initial=0) > 0
        return known_B

    @property
    def _device(self) -> torch.device:
        return encoding.device_of(self.method)

    def _read(self, image_BHWC: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Stages:
        """Return what the method's image tower reads of these images."""
        resized = np.stack([_resize(image, self.facts) for image in image_BHWC])
        pixels = to_stages((resized,), self._device)
        return pixels if self.facts.grid is None else self._features(pixels)

    def _features(self, pixels: Stages) -> Stages:
        """Return stage maps as a features artifact holds them: pooled in float32, maps rounded to float16."""
        assert self.facts.grid is not None
        maps = [adaptive_avg_pool2d(stage, self.facts.grid) for stage in self.backbone(*pixels)]
        return tuple(stage if self.facts.grid == 1 else stage.half().float() for stage in maps)

    def _codes(self, u_BK: Tensor) -> NDArray[Any]:
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
    """Return the method with fresh weights by torch's generator; a frozen backbone stays outside of it.

    Raises:
        ValueError: unknown method or settings.
    """
    inputs = Inputs(image_channels=backbone.channels, text_dim=text_dim, labels=labels)
    inside: nn.Module = Frozen(backbone.channels, backbone.pretrained) if frozen else backbone
    return methods.load(method)(methods.config(method, **settings), inputs, inside)


def facts(
    method: str, built: Method, settings: dict[str, Any], backbone: str, pretrained: str, **others: Any
) -> Facts:
    """Return `Facts` of a trained method.

    The others are grid, both sizes, text, text_dim, labels and length.
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
    """Write the model's files into `folder`."""
    inside = _backbone_prefix(model)
    own = {k: v for k, v in model.method.state_dict().items() if inside is None or not k.startswith(inside)}
    _save_tensors(own, folder / "model.safetensors")
    _save_tensors(model.backbone.network.state_dict(), folder / "backbone.safetensors")
    if model.text_network is not None:
        _save_tensors(model.text_network.network.state_dict(), folder / "text_network.safetensors")
    text = json.dumps(asdict(model.facts), indent=1, sort_keys=True)
    (folder / "config.json").write_text(text + "\n")
    (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in model.vocabulary))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in model.labels))


def load(folder: Path) -> Model:
    """Read what `save` wrote, on the CPU and in evaluation mode.

    Raises:
        ValueError: the model was made by another revision of its method, or by a method that is not there.
    """
    read = json.loads((folder / "config.json").read_text())
    known = Facts(
        **read | {key: read[key] and tuple(read[key]) for key in ("order", "significance", "given")}
    )
    revision = methods.load(known.method).REVISION
    if known.revision != revision:
        raise ValueError(
            f"{folder} was trained by revision {known.revision} of {known.method}, and this is revision "
            f"{revision}; train it again, or use the version of cmh that it was made with"
        )
    if known.given is not None:
        backbone = backbones.without_network(known.given)
    else:
        backbone = backbones.load(known.backbone, folder / "backbone.safetensors")
    method = build(
        known.method,
        known.settings,
        backbone,
        frozen=known.grid is not None,
        text_dim=known.text_dim,
        labels=known.labels,
    )
    vocabulary = tuple((folder / "vocabulary.txt").read_text().splitlines())
    labels = tuple((folder / "labels.txt").read_text().splitlines())
    network = None if known.text == "words" else clip.load_text(folder / "text_network.safetensors")
    model = Model(method.eval(), backbone.eval(), known, vocabulary, labels, network)
    weights = load_file(folder / "model.safetensors")
    inside = _backbone_prefix(model)
    if inside is not None:
        weights |= {f"{inside}network.{k}": v for k, v in backbone.network.state_dict().items()}
    method.load_state_dict(weights)
    return model


def _backbone_prefix(model: Model) -> str | None:
    """Return how the names of the backbone's tensors begin in the method.

    None: the backbone is not part of it.
    """
    found = [f"{name}." for name, module in model.method.named_modules() if module is model.backbone]
    return found[0] if found else None


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)


def _resize(image_HWC: NDArray[np.uint8], facts: Facts) -> NDArray[np.uint8]:
    """Return resize by way of the stored size, as the images of the dataset were."""
    if image_HWC.ndim != 3 or image_HWC.shape[2] != 3 or image_HWC.dtype != np.uint8:
        raise ValueError(
            f"an image is uint8 (H, W, 3), got {image_HWC.dtype} {image_HWC.shape}; convert it to RGB"
        )
    return images.resize(images.resize(image_HWC, facts.stored_size), facts.image_size)
