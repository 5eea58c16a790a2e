"""A saved and loaded model against the one that was saved: same codes, from raw images and raw texts."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cmh import model
from cmh.codes import hamming
from cmh.data.items import Items
from cmh.data.texts import bag_of_words, sequences
from cmh.hashing import encoding
from cmh.networks import backbones

WORDS = tuple(f"word{number}" for number in range(60))
SETTINGS = {"bits": 16}
SIZE = 32


def _model(*, frozen: bool, name: str = "scahn", length: int | None = None) -> model.Model:
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", "none")
    method = model.build(name, SETTINGS, backbone, frozen=frozen, text_dim=len(WORDS), labels=2)
    facts = model.facts(
        name,
        method,
        SETTINGS,
        "resnet18",
        "none",
        grid=1 if frozen else None,
        stored_size=SIZE,
        image_size=SIZE,
        text_dim=len(WORDS),
        labels=2,
        length=length,
    )
    return model.Model(method.eval(), backbone.eval(), facts, WORDS, ("red", "blue"))


@pytest.fixture(scope="module", params=[True, False], ids=["frozen", "trained"])
def saved(request, tmp_path_factory) -> tuple[model.Model, Path]:
    """A model with a frozen backbone and one with its own, each with a folder."""
    made, folder = _model(frozen=request.param), tmp_path_factory.mktemp("model")
    model.save(made, folder)
    return made, folder


def _images(count: int, side: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(256, size=(count, side, side, 3), dtype=np.uint8)


def test_loaded_model_gives_the_same_codes(saved):
    """Images and texts, after a round trip through the folder alone; nothing in it but the five files."""
    made, folder = saved
    loaded = model.load(folder)
    names = {"model.safetensors", "backbone.safetensors", "config.json", "vocabulary.txt", "labels.txt"}
    assert {file.name for file in folder.iterdir()} == names
    assert loaded.facts == made.facts
    assert (loaded.vocabulary, loaded.labels) == (WORDS, ("red", "blue"))
    images, texts = _images(5), ["word3 word4", "Word7, word59!", "nothing known"]
    assert np.array_equal(loaded.encode_images(images), made.encode_images(images))
    assert np.array_equal(loaded.encode_texts(texts), made.encode_texts(texts))


def test_raw_inputs_give_what_the_data_set_way_gives(saved):
    """encode_images and encode_texts agree with `encode` over Items of the same images or features."""
    made, _ = saved
    images, texts = _images(6), [f"word{number} word{number + 7}" for number in range(6)]
    stored = (images,)
    if made.facts.grid is not None:
        with torch.inference_mode():
            stages = made.backbone(torch.from_numpy(images).permute(0, 3, 1, 2))
        stored = tuple(stage.mean((2, 3), keepdim=True).numpy() for stage in stages)
    items = Items(stored, bag_of_words(texts, WORDS), np.zeros((6, 2), np.uint8), np.arange(6))
    u = {side: encoding.relaxed_codes(made.method, items, side) for side in ("image", "text")}
    assert np.array_equal(made.encode_images(images), hamming.pack_relaxed(u["image"], made.order))
    assert np.array_equal(made.encode_texts(texts), hamming.pack_relaxed(u["text"], made.order))


def test_a_model_that_reads_words_in_their_order_cuts_texts_as_its_dataset_did(tmp_path):
    """Codes of raw texts are those of the dataset's sequences of three words, from the folder alone too."""
    made = _model(frozen=True, name="dvsh", length=3)
    model.save(made, tmp_path)
    texts = ["word3 unknown word4", "Word7, word59! word7 word1", "word7 word59 word7", "nothing known", ""]
    tokens = torch.from_numpy(sequences(texts, WORDS, 3))
    expected = hamming.pack_relaxed(made.method.encode_text(tokens).detach().numpy(), made.order)
    for one in (made, model.load(tmp_path)):
        assert np.array_equal(one.encode_texts(texts), expected)
    assert np.array_equal(expected[1], expected[2])
    assert len(np.unique(expected, axis=0)) == 3


def test_images_of_any_size_are_fitted():
    """A larger, oblong image is cut and resized as a photo is at preprocessing; other shapes are refused."""
    made = _model(frozen=True)
    oblong = _images(1, side=90)[0][:60]
    fitted = ImageOps.fit(Image.fromarray(oblong), (SIZE, SIZE), Image.Resampling.BICUBIC)
    assert np.array_equal(made.encode_images([oblong]), made.encode_images([np.asarray(fitted)]))
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\), got float64"):
        made.encode_images([oblong / 255])


def test_bits_are_stored_by_significance(saved):
    """The order in config.json sorts the significances in it."""
    facts = json.loads((saved[1] / "config.json").read_text())
    assert facts["order"] == sorted(range(16), key=lambda bit: -facts["significance"][bit])


def test_model_of_another_revision_is_refused(saved, tmp_path):
    """Weights of another revision of the method are not loaded into this one."""
    made, _ = saved
    facts = dataclasses.replace(made.facts, revision=99)
    model.save(dataclasses.replace(made, facts=facts), tmp_path)
    with pytest.raises(ValueError, match=r"revision 99 of scahn.*train it again"):
        model.load(tmp_path)


def test_a_model_gives_its_weights_to_another_by_word() -> None:
    """Words that both know keep their weights; new ones stay as they are drawn; the rest is equal."""
    trained = _model(frozen=True)
    vocabulary = (WORDS[3], "unheard", *WORDS[:2])
    torch.manual_seed(7)
    method = model.build("scahn", SETTINGS, trained.backbone, frozen=True, text_dim=len(vocabulary), labels=2)
    drawn = {name: value.clone() for name, value in method.state_dict().items()}
    model.adopt(method, vocabulary, trained)
    before, differing = trained.method.state_dict(), []
    for name, now in method.state_dict().items():
        if now.shape == before[name].shape:
            assert torch.equal(now, before[name]), name
            continue
        differing.append(name)
        assert torch.equal(now[[0, 2, 3]], before[name][[3, 0, 1]])  # words are the first axis here
        assert torch.equal(now[1], drawn[name][1])
    assert {name.rpartition(".")[2] for name in differing} == {"words_DCO", "shortcut_DO"}


def test_other_networks_are_no_start() -> None:
    """Of another width, or another method: said with the name of what differs."""
    trained = _model(frozen=True)
    for name, settings in (("scahn", {**SETTINGS, "bits": 24}), ("ucch", {"bits": 16})):
        method = model.build(name, settings, trained.backbone, frozen=True, text_dim=len(WORDS), labels=2)
        with pytest.raises(ValueError, match="the model to start from has other networks: "):
            model.adopt(method, WORDS, trained)
