"""CLIP's image network against open_clip's whole model: features, files of weights, what is refused.

Weights are random ones, written as open_clip writes them.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cmh.networks import backbones, features
from cmh.networks.backbones import Backbone


def images(count: int = 2, size: int = 224) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def loaded(clip_file: Path) -> Backbone:
    """The backbone with the weights of a file of the whole model, text network included."""
    return backbones.load("clip_vit_b32", clip_file).eval()


def test_the_embedding_is_open_clips(whole_clip: torch.nn.Module, loaded: Backbone) -> None:
    """The last stage is encode_image of images in [0, 1] less CLIP's mean, over its deviation."""
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (whole_clip.visual.image_mean, whole_clip.visual.image_std)
    )
    with torch.inference_mode():
        expected = whole_clip.encode_image((images() / 255 - mean) / std)
        maps = loaded(images())
    torch.testing.assert_close(maps[-1][:, :, 0, 0], expected, rtol=1e-3, atol=1e-4)
    assert loaded.pretrained == "open_clip_model.safetensors"


def test_the_other_stages_are_tokens_on_their_grid(whole_clip: torch.nn.Module, loaded: Backbone) -> None:
    """What block 6 gives, less its class token, token 7 i + j at row i and column j; float32 throughout."""
    given = []
    hook = whole_clip.visual.transformer.resblocks[5].register_forward_hook(lambda *_: given.append(_[2]))
    with torch.inference_mode():
        whole_clip.encode_image((images() - loaded.mean) / loaded.std)
        maps = loaded(images())
    hook.remove()
    assert [tuple(m.shape[1:]) for m in maps] == [(768, 7, 7)] * 3 + [(512, 1, 1)]
    assert loaded.channels == tuple(m.shape[1] for m in maps)
    assert {m.dtype for m in maps} == {torch.float32}
    torch.testing.assert_close(maps[1].flatten(2).transpose(1, 2), given[0][:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_saved_backbone_loads_and_gives_features(loaded: Backbone, tmp_path: Path) -> None:
    """From the file that a model keeps of it: the same features, maps of 4 × 4 places among them."""
    save_file(loaded.network.state_dict(), tmp_path / "backbone.safetensors")
    again = backbones.load("clip_vit_b32", tmp_path / "backbone.safetensors").eval()
    pixels = images(1).permute(0, 2, 3, 1).numpy()
    first, second = (features.Extractor(b, image_size=224, grid=4, batch=1)(pixels) for b in (loaded, again))
    assert first["pooled/stage4"].shape == (1, 512)
    assert first["maps/stage1"].shape == (1, 768, 4, 4)
    assert all((first[name] == second[name]).all() for name in first)


def test_what_cannot_work_is_refused(
    loaded: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of another size, weights of another network, and weights to be fetched without internet."""
    with pytest.raises(ValueError, match="reads images of 224 × 224 pixels, got 96 × 96; set its image_size"):
        loaded(images(1, size=96))
    save_file(backbones.load("resnet18", "none").network.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"lack visual\."):
        backbones.load("clip_vit_b32", tmp_path / "other.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"(?s)cannot download the weights .* give its path"):
        backbones.load("clip_vit_b32", "default")


def test_without_open_clip_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read or fetched."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"clip_vit_b32 needs open_clip; pip install 'cmh\[clip\]'"):
        backbones.load("clip_vit_b32", "none")
