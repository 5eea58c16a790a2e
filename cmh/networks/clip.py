"""CLIP's two networks: ViT-B/32 as an image backbone, and the text network that shares its embedding space.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.  The
networks, their parameter names and the tokeniser are those of open_clip, which the extra `clip` installs.

Shape suffixes: B = images or texts, H, W = image, T = tokens, C = channels, F = features.
"""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh.networks import tokens
from cmh.networks.frozen_text import TextEncoder
from cmh.networks.weights import fill, read

SIZE = 224  # side in pixels of the square images: the position embeddings cover 7 x 7 patches of 32 pixels
CHANNELS = (768, 768, 768, 512)
MEAN = (122.7709383, 116.7460125, 104.0937362)  # CLIP's values times 255, for RGB values from 0 to 255
STD = (68.5005327, 66.6321579, 70.3231631)
_BLOCKS = [2, 5, 8]  # of the twelve blocks, counted from 0, those whose tokens are the first three stages
TEXT_REVISION = 2  # raise it when text features change: by other tokens, another network or engine
TEXT_FEATURES = 512
TEXT_BATCH = 64
BESIDE_TEXT = ("visual.", "logit_scale", "logit_bias")  # prefixes of the image network and of CLIP's loss

log = logging.getLogger(__name__)


class ClipText(TextEncoder):
    """CLIP's text network, from tokens (B, T) int64, T at most 77, to embeddings (B, 512).

    Raises:
        ValueError: open_clip is not installed.
    """

    network: Any  # open_clip's classes have no types
    width = TEXT_FEATURES
    batch = TEXT_BATCH

    def __init__(self) -> None:
        super().__init__()
        check_installed()
        from open_clip.transformer import QuickGELU, TextTransformer

        self.network = TextTransformer(output_dim=TEXT_FEATURES, act_layer=QuickGELU)  # otherwise as OpenAI's
        self._tokenize = tokens.clip()

    def forward(self, token_BT: Tensor, there_BT: Tensor) -> Tensor:
        """Return the embeddings (B, 512) of tokens (B, T) int64, not normalised.

        Padding changes nothing, because a token attends only to itself and those before it.
        """
        network, length = self.network, token_BT.shape[1]
        # The same arithmetic as in open_clip's forward, which needs all 77 tokens because its mask has that
        # size.  Most tokens are padding and cost as much as words, so the mask is cut to the longest text.
        x_BTC = network.token_embedding(token_BT) + network.positional_embedding[:length]
        for block in network.transformer.resblocks:
            x_BTC = x_BTC + _attend(block.attn, block.ln_1(x_BTC), network.attn_mask[:length, :length])
            x_BTC = x_BTC + block.mlp(block.ln_2(x_BTC))
        x_BTC = network.ln_final(x_BTC)
        embedding_BF: Tensor = (
            x_BTC[torch.arange(token_BT.shape[0]), _end(token_BT)] @ network.text_projection
        )
        return embedding_BF

    def tokenize(self, texts: Sequence[str]) -> list[tokens.Ids]:
        """Return the tokens of each text, in lower case, cut after 75."""
        return self._tokenize(texts)


def _attend(attention: nn.MultiheadAttention, x_BTC: Tensor, mask_TT: Tensor) -> Tensor:
    """Return torch's self-attention, in a form that can be exported for texts of any length."""
    projected = functional.linear(x_BTC, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        part.reshape(part.shape[0], part.shape[1], attention.num_heads, attention.head_dim).transpose(1, 2)
        for part in projected.chunk(3, -1)
    )
    y = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask_TT)
    attended_BTC: Tensor = attention.out_proj(y.transpose(1, 2).flatten(2))
    return attended_BTC


def _end(token_BT: Tensor) -> Tensor:
    """Return the position (B,) of the end token.

    It has the highest number of all tokens.  A 0 cannot mark the end: it is padding, but "!" as well.
    """
    return token_BT.argmax(dim=1)


def load_text(weights: Path) -> ClipText:
    """Return CLIP's text network with the weights of a file, on the CPU and in evaluation mode.

    Args:
        weights: a .safetensors, .pth or .pt file of the whole of CLIP, or of the state of `ClipText.network`.

    Raises:
        ValueError: the file is missing or does not fit, or open_clip is not installed.
    """
    text = ClipText().eval()
    fill(text.network, read(weights), f"{weights} weights of CLIP's text network", beside=BESIDE_TEXT)
    return text


class ClipImage(nn.Module):
    """CLIP's image network: images (B, 3, 224, 224) to four stage maps.

    The maps are the tokens (B, 768, 7, 7) after blocks 3, 6 and 9, and the embedding (B, 512, 1, 1).

    Raises:
        ValueError: open_clip is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        check_size(SIZE, SIZE)
        from open_clip.transformer import QuickGELU, VisionTransformer

        self.visual = VisionTransformer(
            image_size=SIZE,
            patch_size=32,
            width=768,
            layers=12,
            heads=12,
            mlp_ratio=4.0,
            output_dim=512,
            act_layer=QuickGELU,  # as OpenAI trained it; weights of other publishers may need GELU
        )

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the stage maps of normalised images (B, 3, 224, 224).

        Raises:
            ValueError: images of another size.
        """
        check_size(*image_BCHW.shape[2:])
        outputs: dict[str, Any] = self.visual.forward_intermediates(image_BCHW, indices=_BLOCKS)
        return (*outputs["image_intermediates"], outputs["image_features"][:, :, None, None])


def check_installed() -> None:
    """Refuse to go on without open_clip.

    Raises:
        ValueError: open_clip is not installed; the message gives the command that installs it.
    """
    if importlib.util.find_spec("open_clip") is None:
        raise ValueError("clip_vit_b32 needs open_clip; pip install 'cmh[clip]'")


def check_size(height: int, width: int) -> None:
    """Refuse images of another size than 224 x 224 pixels, and to go on without open_clip.

    Raises:
        ValueError: another size in pixels, or open_clip is not installed.
    """
    check_installed()
    if (height, width) != (SIZE, SIZE):
        raise ValueError(
            f"the backbone clip_vit_b32 reads images of {SIZE} × {SIZE} pixels, got {height} × {width}; "
            f"set its image_size to {SIZE}"
        )


def download() -> Path:
    """Return the path of OpenAI's weights, downloaded from Hugging Face or found in its cache.

    Raises:
        ConnectionError: the download failed; the message names the file to fetch by hand.
    """
    from open_clip import pretrained

    config = pretrained.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    log.info("the weights of clip_vit_b32: from huggingface.co, 600 MB, unless its cache has them")
    try:
        return Path(pretrained.download_pretrained(config))
    except (OSError, RuntimeError) as error:  # RuntimeError: huggingface_hub is missing
        raise ConnectionError(
            f"cannot download the weights of clip_vit_b32: {error}; fetch open_clip_model.safetensors of "
            f"huggingface.co/{config['hf_hub'].rstrip('/')} elsewhere and give its path (cmh index "
            "--weights; cmh run --backbone.weights, --text.weights), or choose another network"
        ) from error
