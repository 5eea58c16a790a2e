"""Features with a real Dask cluster and a small trained-like ResNet: against the backbone called by hand."""

import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import save_file

from cmh.networks import backbones
from cmh.networks.features import Extractor
from flows.experiment import BackboneSettings
from flows.resources import Resources
from flows.stages import features
from infra import artifacts
from infra.artifacts import Target
from infra.stores import open_store


@pytest.fixture
def images(tmp_path, monkeypatch):
    """An images artifact of 21 random images."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path / "home"))
    pixels = np.random.default_rng(0).integers(0, 256, (21, 32, 32, 3), np.uint8)
    with artifacts.write(open_store(), Target("images", "noise", {})) as draft:
        group = zarr.open_group(draft.zarr("images.zarr"), mode="w")
        group.create_array("image", data=pixels)
    return draft.ref


@pytest.fixture
def weights(tmp_path):
    """A weights file: a randomly initialised ResNet-18."""
    torch.manual_seed(0)
    save_file(backbones.load("resnet18", "none").network.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_features_equal_the_backbone_by_hand(weights):
    """Vectors are means over places, maps means over cells; fewer images give the same bits."""
    backbone = backbones.load("resnet18", weights).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    extract = Extractor(backbone, image_size=32, grid=2, batch=4)
    found = extract(pixels)
    with torch.inference_mode():
        stages = backbone(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    for number, stage_BCHW in enumerate(stages, start=1):
        pooled = found[f"pooled/stage{number}"]
        assert pooled.dtype == np.float32
        np.testing.assert_allclose(pooled, stage_BCHW.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
        assert found[f"maps/stage{number}"].shape == (5, stage_BCHW.shape[1], 2, 2)
    half = stages[0].shape[2] // 2
    np.testing.assert_allclose(
        found["maps/stage1"][:, :, 0, 1], stages[0][:, :, :half, half:].mean(dim=(2, 3)), rtol=2e-3, atol=1e-3
    )
    alone = extract(pixels[:3])
    assert all((alone[name] == found[name][:3]).all() for name in found)


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit(images, weights, tmp_path, monkeypatch):
    """One worker and two write the same content, row by row that of the images; the second call is cached."""
    monkeypatch.setattr(features, "ROWS", 8)
    backbone = BackboneSettings(name="resnet18", weights=str(weights), image_size=32)
    target = features.target(images, backbone)
    store = open_store()
    one = features.make.compute(store, target, images, backbone, Resources(threads=1))
    group = zarr.open_group(artifacts.open_artifact(store, one.ref).zarr("features.zarr"), mode="r")
    pixels = zarr.open_group(artifacts.open_artifact(store, images).zarr("images.zarr"), mode="r")["image"][:]
    network = backbones.load("resnet18", weights).eval()
    by_hand = Extractor(network, image_size=32, batch=features.BATCH)(pixels)
    np.testing.assert_allclose(group["pooled/stage4"][:], by_hand["pooled/stage4"], rtol=1e-4, atol=1e-5)
    assert features.make.compute(store, target, images, backbone, Resources(threads=1)).cached
    other = open_store(str(tmp_path / "other"))
    with artifacts.write(other, Target("images", "noise", {})) as draft:
        zarr.open_group(draft.zarr("images.zarr"), mode="w").create_array("image", data=pixels)
    two = features.make.compute(other, target, draft.ref, backbone, Resources(threads=2))
    assert two.ref.content == one.ref.content


def test_target_depends_on_the_file_not_on_its_name(images, weights, tmp_path):
    """A copy of the weights gives the same target; other weights another."""
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    targets = [
        features.target(images, BackboneSettings(name="resnet18", weights=str(path))).identity
        for path in (weights, copy)
    ]
    assert targets[0] == targets[1]
    copy.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert (
        features.target(images, BackboneSettings(name="resnet18", weights=str(copy))).identity != targets[0]
    )


def test_clip_asks_for_its_size_or_its_package_at_once():
    """The settings are refused, before anything is decoded, with what to set or to install."""
    with pytest.raises(ValueError, match=r"pip install 'cmh\[clip\]'|set its image_size to 224"):
        BackboneSettings(name="clip_vit_b32", image_size=128)


def test_clips_default_weights_are_what_was_fetched(images, weights, tmp_path, monkeypatch):
    """The same target as with the path of the fetched file; another, once the publisher changes it."""
    fetched = tmp_path / "fetched.safetensors"
    fetched.write_bytes(weights.read_bytes())
    monkeypatch.setattr("cmh.networks.clip.download", lambda: fetched)  # in place of 600 MB
    monkeypatch.setattr("cmh.networks.clip.check_size", lambda height, width: None)  # and of open_clip

    def identity(which):
        chosen = BackboneSettings(name="clip_vit_b32", weights=str(which), image_size=224)
        return features.target(images, chosen).identity

    first = identity("default")
    assert first == identity(fetched)
    fetched.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert identity("default") != first
