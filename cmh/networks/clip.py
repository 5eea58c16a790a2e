"""CLIP's two networks: ViT-B/32 as a backbone, and the text network whose embeddings images share.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.  The
networks, their parameters' names and the tokens are those of open_clip, which comes with the extra `clip`.

Shape suffixes: B = images or texts, H, W = image, T = tokens, C = channels, F = features.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmh.networks.weights import fill, read

SIZE = 224  # pixels, square: there are position embeddings for 7 x 7 patches of 32
CHANNELS = (768, 768, 768, 512)
MEAN = (122.7709383, 116.7460125, 104.0937362)  # 255 times CLIP's, of the RGB values 0 to 255
STD = (68.5005327, 66.6321579, 70.3231631)
_BLOCKS = [2, 5, 8]  # of twelve, counted from 0: their tokens are the first three stages
TEXT_REVISION = 1  # raise it when features of texts come out otherwise: tokens, network
TEXT_FEATURES = 512
TEXT_BATCH = 64
BESIDE_TEXT = ("visual.", "logit_scale", "logit_bias")  # of the image network, and of CLIP's loss


class ClipText(nn.Module):
    """Tokens (B, T) int64, T at most 77, to embeddings (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        check_installed()
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transformer import QuickGELU, TextTransformer

        self.network = TextTransformer(output_dim=TEXT_FEATURES, act_layer=QuickGELU)  # else as OpenAI's
        self.tokenizer = SimpleTokenizer()

    def forward(self, token_BT: Tensor) -> Tensor:
        n, length = self.network, token_BT.shape[1]
        # As open_clip's forward, which wants all 77 tokens for its mask: most are padding, and cost as much.
        x_BTC = n.token_embedding(token_BT) + n.positional_embedding[:length]
        x_BTC = n.ln_final(n.transformer(x_BTC, attn_mask=n.attn_mask[:length, :length]))
        embedding_BF: Tensor = x_BTC[torch.arange(len(token_BT)), _end(token_BT)] @ n.text_projection
        return embedding_BF

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (B, 512) float32 of texts in lower case; of a long one, the first 75 tokens count."""
        device = next(self.parameters()).device
        found = [
            self(self._tokens(texts[a : a + TEXT_BATCH]).to(device)).float().cpu().numpy()
            for a in range(0, len(texts), TEXT_BATCH)
        ]
        return np.concatenate(found) if found else np.empty((0, TEXT_FEATURES), np.float32)

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        """Cut the padding behind the longest text: tokens see only what is before them."""
        token_BT: Tensor = self.tokenizer(list(texts))
        return token_BT[:, : int(_end(token_BT).max()) + 1]


def _end(token_BT: Tensor) -> Tensor:
    """Return where the end token stands: it has the highest number; 0 is padding, or a mark."""
    return token_BT.argmax(dim=1)


def load_text(weights: Path) -> ClipText:
    """Return the network with the weights of a file, CLIP whole or what was saved of `network`; evaluating.

    Raises:
        ValueError: the file is missing or does not fit, or open_clip is missing.
    """
    text = ClipText().eval()
    fill(text.network, read(weights), f"{weights} weights of CLIP's text network", beside=BESIDE_TEXT)
    return text


class ClipImage(nn.Module):
    """(B, 3, 224, 224) to tokens (B, 768, 7, 7) of blocks 3, 6 and 9, and the embedding (B, 512, 1, 1)."""

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
            act_layer=QuickGELU,  # as OpenAI trained it; weights trained by others may want GELU
        )

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        check_size(*image_BCHW.shape[2:])
        found: dict[str, Any] = self.visual.forward_intermediates(image_BCHW, indices=_BLOCKS)
        return (*found["image_intermediates"], found["image_features"][:, :, None, None])


def check_installed() -> None:
    """Refuse to go on without open_clip.

    Raises:
        ValueError: see the message.
    """
    if importlib.util.find_spec("open_clip") is None:
        raise ValueError("clip_vit_b32 needs open_clip; pip install 'cmh[clip]'")


def check_size(height: int, width: int) -> None:
    """Refuse images of another size, and to go on without open_clip.

    Raises:
        ValueError: see the message.
    """
    check_installed()
    if (height, width) != (SIZE, SIZE):
        raise ValueError(
            f"the backbone clip_vit_b32 reads images of {SIZE} × {SIZE} pixels, got {height} × {width}; "
            f"set its image_size to {SIZE}"
        )


def download() -> Path:
    """Return OpenAI's weights, from Hugging Face or its cache.

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
