"""CLIP's text network, beside ViT-B/32: texts of any words to embeddings that images share.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.  The
network, the names of its parameters and the tokens are those of open_clip, which comes with the extra `clip`.

Shape suffixes: B = texts, T = tokens, C = channels, F = features.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmh import clip_vit
from cmh.weights import fill, read

FEATURES = 512
BATCH = 64
BESIDE = ("visual.", "logit_scale", "logit_bias")  # of the image network, and of CLIP's loss


class ClipText(nn.Module):
    """Tokens (B, T) int64, T at most 77, to embeddings (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        clip_vit.check_installed()
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transformer import QuickGELU, TextTransformer

        self.network = TextTransformer(output_dim=FEATURES, act_layer=QuickGELU)  # else as OpenAI's
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
        """(B, 512) float32 of texts in lower case; of a long one, the first 75 tokens count."""
        device = next(self.parameters()).device
        found = [
            self(self._tokens(texts[a : a + BATCH]).to(device)).float().cpu().numpy()
            for a in range(0, len(texts), BATCH)
        ]
        return np.concatenate(found) if found else np.empty((0, FEATURES), np.float32)

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        """Without the padding behind the longest text: tokens see what is before them only."""
        token_BT: Tensor = self.tokenizer(list(texts))
        return token_BT[:, : int(_end(token_BT).max()) + 1]


def _end(token_BT: Tensor) -> Tensor:
    """Where the token of the end stands, which has the highest number; 0 is padding, or a mark."""
    return token_BT.argmax(dim=1)


def load(weights: Path) -> ClipText:
    """The network with the weights of a file, CLIP whole or what was saved of `network`; evaluating.

    Raises:
        ValueError: the file is missing or does not fit, or open_clip is missing.
    """
    text = ClipText().eval()
    fill(text.network, read(weights), f"{weights} weights of CLIP's text network", beside=BESIDE)
    return text
