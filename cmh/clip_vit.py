"""CLIP's image network ViT-B/32 as a backbone: three grids of tokens, and the embedding that texts share.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.  The
network and the names of its parameters are those of open_clip, which comes with the extra `clip`.

Shape suffixes: B = batch, C = channels, H, W = image.
"""

import importlib.util
from pathlib import Path
from typing import Any

from torch import Tensor, nn

SIZE = 224  # pixels, square: there are position embeddings for 7 x 7 patches of 32
CHANNELS = (768, 768, 768, 512)
MEAN = (122.7709383, 116.7460125, 104.0937362)  # 255 times CLIP's, of the RGB values 0 to 255
STD = (68.5005327, 66.6321579, 70.3231631)
_BLOCKS = [2, 5, 8]  # of twelve, counted from 0: their tokens are the first three stages


class ClipViT(nn.Module):
    """(B, 3, 224, 224) to tokens (B, 768, 7, 7) of blocks 3, 6 and 9, and the embedding (B, 512, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        check(SIZE, SIZE)
        from open_clip.transformer import QuickGELU, VisionTransformer

        self.visual = VisionTransformer(
            image_size=SIZE,
            patch_size=32,
            width=768,
            layers=12,
            heads=12,
            mlp_ratio=4.0,
            output_dim=512,
            act_layer=QuickGELU,  # as OpenAI trained it; weights trained by others may want GELU
        )

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        check(*image_BCHW.shape[2:])
        found: dict[str, Any] = self.visual.forward_intermediates(image_BCHW, indices=_BLOCKS)
        return (*found["image_intermediates"], found["image_features"][:, :, None, None])


def check_installed() -> None:
    """Refuse to go on without open_clip.  Raises: ValueError."""
    if importlib.util.find_spec("open_clip") is None:
        raise ValueError("clip_vit_b32 needs open_clip; pip install 'cmh[clip]'")


def check(height: int, width: int) -> None:
    """Refuse images of another size, and to go on without open_clip.  Raises: ValueError."""
    check_installed()
    if (height, width) != (SIZE, SIZE):
        raise ValueError(
            f"the backbone clip_vit_b32 reads images of {SIZE} × {SIZE} pixels, got {height} × {width}; "
            f"set its image_size to {SIZE}"
        )


def download() -> Path:
    """OpenAI's weights, from Hugging Face or its cache.

    Raises:
        ConnectionError: they cannot be had; the message says what to do.
    """
    from open_clip import pretrained

    wanted = pretrained.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    try:
        return Path(pretrained.download_pretrained(wanted))
    except (OSError, RuntimeError) as error:  # RuntimeError: huggingface_hub is missing
        raise ConnectionError(
            f"cannot download the weights of clip_vit_b32: {error}; fetch open_clip_model.safetensors of "
            f"huggingface.co/{wanted['hf_hub'].rstrip('/')} elsewhere and give its path, or choose another "
            "network"
        ) from error
