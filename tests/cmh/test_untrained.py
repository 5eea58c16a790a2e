"""Codes without training, with a pair of small networks that share a space: colours, seen and named."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn

from cmh import model as models
from cmh import untrained
from cmh.codes import hamming
from cmh.networks import backbones, text_encoders, tokens
from cmh.networks.backbones import Backbone, BackboneSpec
from cmh.networks.frozen_text import TextEncoder
from cmh.networks.text_encoders import TextSpec
from cmh.networks.tokens import Ids
from cmh.networks.weights import fill, read

COLOURS = {
    "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0),
    "white": (255, 255, 255), "black": (0, 0, 0), "cyan": (0, 255, 255), "grey": (128, 128, 128),
}  # fmt: skip
FEATURES, SIZE = 24, 32


class Seen(nn.Module):
    """An image's mean colour, spread over FEATURES numbers, in a region of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.zeros(3, FEATURES), requires_grad=False)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        colour_B3 = image_BCHW.mean((2, 3))
        seen_BF = 1 + torch.sin(colour_B3 @ self.spread)
        return (seen_BF[:, :, None, None],) * 4


def _words() -> str:
    """Return a tokenizer.json that knows the colours."""
    vocabulary = {word: number for number, word in enumerate((*COLOURS, "[UNK]"))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return str(tokenizer.to_str())


class Named(TextEncoder):
    """The colours that a text names, spread alike, in another region; other words count for nothing."""

    width, batch, tokenizer = FEATURES, 16, _words()

    def __init__(self) -> None:
        super().__init__()
        self.network = Seen()
        colours = [*COLOURS.values(), COLOURS["grey"]]  # the last of texts that name none
        self.register_buffer("colour_W3", torch.tensor(colours, dtype=torch.float32) / 255, persistent=False)

    def tokenize(self, texts: Sequence[str]) -> list[Ids]:
        return tokens.from_json(self.tokenizer)[0](texts)

    def forward(self, token_BT: Tensor, there_BT: Tensor) -> Tensor:
        named_BT = (there_BT & (token_BT < len(COLOURS))).float()
        none_B1 = 1 - named_BT.amax(1, keepdim=True)
        sum_B3 = (self.colour_W3[token_BT] * named_BT[:, :, None]).sum(1) + none_B1 * self.colour_W3[-1]
        colour_B3 = sum_B3 / (named_BT.sum(1, keepdim=True) + none_B1)
        return torch.sin(colour_B3 @ self.network.spread) - 3


def load_named(file: Path, tokenizer: Path) -> Named:
    text = Named().eval()
    fill(text.network, read(file), "weights of the colours", beside=())
    return text


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of weights of the pair "colours", which is known while the test runs."""
    network = Seen()
    network.spread.copy_(torch.from_numpy(np.random.default_rng(0).normal(0, 2, (3, FEATURES))))
    path = tmp_path / "colours.safetensors"
    models.weights.write(network.state_dict(), path)
    image = BackboneSpec(
        network=Seen, channels=(FEATURES,) * 4, mean=(0.0,) * 3, std=(255.0,) * 3, default="none"
    )
    text = TextSpec(
        load=load_named, features=FEATURES, tokens=9, batch=9, default="none", revision=1,
        has_tokenizer=False, about="colours",
    )  # fmt: skip
    monkeypatch.setitem(backbones.SPECS, "colours", image)  # type: ignore[arg-type]
    monkeypatch.setitem(text_encoders.SPECS, "colours", text)  # type: ignore[arg-type]
    monkeypatch.setitem(untrained.PAIRS, "colours", SIZE)  # type: ignore[arg-type]
    return path


def plain(colour: Sequence[float]) -> NDArray[np.uint8]:
    return np.broadcast_to(np.asarray(colour).clip(0, 255).astype(np.uint8), (SIZE, SIZE, 3))


def photos(count: int = 160) -> tuple[list[str], list[NDArray[np.uint8]]]:
    """Plain images near the colours, and the names of these."""
    rng, names = np.random.default_rng(1), list(COLOURS) * (count // len(COLOURS))
    return names, [plain(rng.normal(COLOURS[name], 12)) for name in names]


def learn(file: Path, bits: int = 16, count: int = 160, texts: Sequence[str] = ()) -> models.Model:
    backbone: Backbone = backbones.load("colours", file).eval()
    _, images = photos(count)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        image_NF = backbone(stacked)[-1].mean((2, 3)).numpy()
    return untrained.learn("colours", backbone, load_named(file, file), image_NF, bits, texts=texts)


def test_words_find_images_without_any_label_or_text(colours: Path) -> None:
    """The ten nearest of 160 images to a colour's word have that colour; most of them by codes alone."""
    model = learn(colours)
    names, images = photos()
    image_NK, text_QK = model.relax_images(images), model.relax_texts(list(COLOURS))
    cosine_QN = (text_QK / np.linalg.norm(text_QK, axis=1, keepdims=True)) @ (
        image_NK / np.linalg.norm(image_NK, axis=1, keepdims=True)
    ).T
    distance_QN = hamming.distances(model.pack(text_QK), model.pack(image_NK))
    for colour, cosine_N, distance_N in zip(COLOURS, cosine_QN, distance_QN, strict=True):
        assert {names[row] for row in np.argsort(-cosine_N)[:10]} == {colour}
        nearest = [names[row] for row in np.argsort(distance_N, kind="stable")[:10]]
        assert nearest.count(colour) >= 5, (colour, nearest)


def test_each_side_is_centred_by_its_own_mean(colours: Path) -> None:
    """Relaxed codes have mean 0: of the images, and of the neutral texts, or of captions if enough."""
    model = learn(colours)
    np.testing.assert_allclose(model.relax_images(photos()[1]).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(model.relax_texts(untrained.NEUTRAL).mean(0), 0, atol=1e-5)
    captions = ["red", "green", "blue", "blue"] * 8
    np.testing.assert_allclose(learn(colours, texts=captions).relax_texts(captions).mean(0), 0, atol=1e-5)
    few = learn(colours, texts=captions[:31])
    np.testing.assert_array_equal(few.relax_texts(["red"]), model.relax_texts(["red"]))


def test_the_model_is_saved_and_loaded_like_any_other(colours: Path, tmp_path: Path) -> None:
    """With the same codes, of images and words, and no vocabulary."""
    model = learn(colours)
    (tmp_path / "model").mkdir()
    models.save(model, tmp_path / "model")
    again = models.load(tmp_path / "model")
    images = photos()[1][:8]
    np.testing.assert_array_equal(again.encode_images(images), model.encode_images(images))
    np.testing.assert_array_equal(again.encode_texts(["red", "blue"]), model.encode_texts(["red", "blue"]))
    assert (again.facts.method, again.facts.text, again.bits, again.vocabulary) == ("itq", "colours", 16, ())


@pytest.mark.parametrize(
    ("bits", "count", "message"),
    [
        (16, 16, "16 bits are learnt from more than 16 different images, and 16 can be read; .* --bits 8"),
        (8, 8, "8 bits are learnt from more than 8 different images, and 8 can be read; .* at least nine"),
        (12, 160, "8 to 512 bits, a multiple of 8, got 12"),
        (24, 160, "24 bits"),
    ],
)
def test_what_cannot_be_learnt_is_said(colours: Path, bits: int, count: int, message: str) -> None:
    """Too few images, and lengths that codes cannot have."""
    if bits == 24:  # as many as there are numbers: possible
        assert learn(colours, bits, count).bits == 24
        return
    with pytest.raises(ValueError, match=message):
        learn(colours, bits, count)
    with pytest.raises(ValueError, match="no pair of networks is called 'minilm'"):
        untrained.check("minilm", 64)
