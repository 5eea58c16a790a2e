"""CLIP as open_clip has it, for the tests of its image and of its text network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def whole_clip() -> torch.nn.Module:
    """open_clip's own ViT-B/32 with its text network, in evaluation; weights are random ones."""
    import open_clip

    torch.manual_seed(0)
    model: torch.nn.Module = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    return model.eval()


@pytest.fixture(scope="session")
def clip_file(whole_clip: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights, as open_clip writes them."""
    path = tmp_path_factory.mktemp("clip") / "open_clip_model.safetensors"
    save_file({name: tensor.clone() for name, tensor in whole_clip.state_dict().items()}, path)
    return path
