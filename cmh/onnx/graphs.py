"""The graphs of a trained model as ONNX, which `cmh.onnx.exported` and other programs run without torch.

    image         image (B, S, S, 3) uint8 to codes: backbone and image tower
    text          the text tower: bag (B, D) uint8, words (B, T) int32, or features (B, F) float32, or the
                  last and a bag, to codes
    text_network  the frozen text network, for models with one: token (B, T) int64, there (B, T) bool, to
                  features

Codes are float32 (B, K) and called `relaxed`; of a real-valued method, `embedding`.

Shape suffixes: B = images or texts, H, W = image, S = its side in pixels, T = tokens or words, F = features,
D = text dimensions, K = bits.
"""

import torch
from torch import Tensor, nn

from cmh.model import Model
from cmh.networks import runtime

GRAPHS = ("image", "text", "text_network")
_ITEMS = 3  # of an example


def names(model: Model) -> tuple[str, ...]:
    """Return the names of a model's graphs."""
    return GRAPHS if model.text_network is not None else GRAPHS[:2]


def write(model: Model, name: str) -> bytes:
    """Return one graph of a model on the CPU: the contents of an ONNX file.

    Args:
        model: the model.
        name: one of `names(model)`.

    Raises:
        ValueError: the model reads features that its dataset brought along, not images and words.
    """
    facts = model.facts
    if facts.given is not None:
        raise ValueError(
            "this model learnt from features that came with its dataset; it has no network for images and "
            "words that could be exported"
        )
    if name == "text_network":
        assert model.text_network is not None
        return model.text_network.export()
    outputs = ["embedding" if model.real_valued else "relaxed"]
    if name == "image":
        image_BHWC = torch.zeros(_ITEMS, facts.image_size, facts.image_size, 3, dtype=torch.uint8)
        return runtime.export(_Image(model), {"image": image_BHWC}, outputs=outputs)
    return runtime.export(_Text(model), _text_example(model), outputs=outputs)


def _text_example(model: Model) -> dict[str, Tensor]:
    """Return what the text tower reads of a few texts without words."""
    facts, example = model.facts, {}
    if model.text_network is not None:
        example["features"] = torch.zeros(_ITEMS, model.text_network.width)
    if facts.length is not None:
        example["words"] = torch.ones(_ITEMS, facts.length, dtype=torch.int32)
    elif model.text_network is None or facts.words:
        example["bag"] = torch.zeros(_ITEMS, len(model.vocabulary), dtype=torch.uint8)
    return example


class _Image(nn.Module):
    """Images of the backbone's size (B, H, W, 3) uint8, to relaxed codes or embeddings (B, K) float32."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.method, self.backbone = model.method, model.backbone

    def forward(self, image_BHWC: Tensor) -> Tensor:
        pixels = (image_BHWC.permute(0, 3, 1, 2),)
        read = pixels if self.model.facts.grid is None else self.model.features(pixels)
        return self.method.encode_image(read).float()


class _Text(nn.Module):
    """What the text tower reads, one or two tensors, to relaxed codes or embeddings (B, K) float32."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.method = model.method

    def forward(self, first: Tensor, bag_BD: Tensor | None = None) -> Tensor:
        read = first if first.dtype == torch.int32 else first.float()
        if bag_BD is not None:
            read = torch.cat([first * first.shape[1] ** 0.5, bag_BD.float()], 1)
        return self.method.encode_text(read).float()
