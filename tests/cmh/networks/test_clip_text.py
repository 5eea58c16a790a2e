"""CLIP's text network against open_clip's whole model: features, files of weights, what is refused.

Weights are random ones, written as open_clip writes them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cmh.networks import clip
from cmh.networks.clip import ClipText

TEXTS = ["A red apple!", "", "!|!|!|", "dog", "zwei Häuser am Meer, 火", "word " * 200]


@pytest.fixture(scope="module")
def loaded(clip_file: Path) -> ClipText:
    """The network with the weights of a file of the whole model, image network included."""
    return clip.load_text(clip_file)


def test_features_are_open_clips(whole_clip: torch.nn.Module, loaded: ClipText) -> None:
    """encode_text of the tokens of open_clip, without the padding that it has; many batches; none at all."""
    import open_clip

    tokens = open_clip.get_tokenizer("ViT-B-32-quickgelu")(TEXTS)
    with torch.inference_mode():
        expected = whole_clip.encode_text(tokens)
    found = loaded.features(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-5)
    short = loaded.features(TEXTS[:3])
    np.testing.assert_allclose(short, expected.numpy()[:3], rtol=1e-3, atol=1e-5)
    many = loaded.features(TEXTS * 15)  # more than a batch
    np.testing.assert_allclose(many, np.tile(found, (15, 1)), rtol=1e-3, atol=1e-5)
    assert loaded.features([]).shape == (0, clip.TEXT_FEATURES)


@pytest.mark.slow
def test_a_saved_network_loads(loaded: ClipText, tmp_path: Path) -> None:
    """From the file that a model keeps of it: the same features."""
    path = tmp_path / "text_network.safetensors"
    save_file({name: tensor.clone() for name, tensor in loaded.network.state_dict().items()}, path)
    np.testing.assert_array_equal(clip.load_text(path).features(TEXTS), loaded.features(TEXTS))


def test_what_cannot_work_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of another network, and no open_clip."""
    save_file({"visual.conv1.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="weights of CLIP's text network lack"):
        clip.load_text(tmp_path / "other.safetensors")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"clip_vit_b32 needs open_clip; pip install 'cmh\[clip\]'"):
        clip.load_text(tmp_path / "other.safetensors")
