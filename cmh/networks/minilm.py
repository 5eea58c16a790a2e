"""MiniLM: sentence embeddings by a small BERT, averaged over the tokens and normalised.

Source: Wang et al., MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers, NeurIPS 2020; as trained on pairs of sentences by the Sentence-Transformers project (Reimers and
Gurevych, Sentence-BERT, EMNLP 2019).  The network is BERT's encoder (Devlin et al., NAACL 2019); parameters
have the names of the published files.  The tokeniser is the publisher's `tokenizer.json`, read by the library
`tokenizers`, so other vocabularies, such as those of multilingual networks, need no code here.

Shape suffixes: B = texts, T = tokens, F = features, A = heads, E = features of a head.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh.networks import tokens
from cmh.networks.frozen_text import TextEncoder
from cmh.networks.weights import fill, read

REVISION = 2  # raise it when features change: by other tokens, another network, its engine or average
FEATURES = 384
HEADS = 12
HIDDEN = 1536
POSITIONS = 512  # of the position embeddings
TOKENS = tokens.READ
BATCH = 64
MAX_TOKENIZER = 64 << 20  # bytes; the multilingual one has 9 MB
_BESIDE = ("pooler.", "embeddings.position_ids")  # parts of the published files that are not needed


class _Embeddings(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, FEATURES)
        self.position_embeddings = nn.Embedding(POSITIONS, FEATURES)
        self.token_type_embeddings = nn.Embedding(2, FEATURES)
        self.LayerNorm = nn.LayerNorm(FEATURES, eps=1e-12)

    def forward(self, token_BT: Tensor) -> Tensor:
        position_T = torch.arange(token_BT.shape[1], device=token_BT.device)
        type_F = self.token_type_embeddings.weight[0]  # all tokens belong to the first, the only sentence
        x_BTF = self.word_embeddings(token_BT) + self.position_embeddings(position_T) + type_F
        normed_BTF: Tensor = self.LayerNorm(x_BTF)
        return normed_BTF


class _Output(nn.Module):
    """A linear layer, added to what came before, then normalised."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(features, FEATURES)
        self.LayerNorm = nn.LayerNorm(FEATURES, eps=1e-12)

    def forward(self, x: Tensor, before_BTF: Tensor) -> Tensor:
        normed_BTF: Tensor = self.LayerNorm(self.dense(x) + before_BTF)
        return normed_BTF


class _Layer(nn.Module):
    """Attention over the tokens, then a network over each token."""

    def __init__(self) -> None:
        super().__init__()
        parts = {name: nn.Linear(FEATURES, FEATURES) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(parts), "output": _Output(FEATURES)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(FEATURES, HIDDEN)})
        self.output = _Output(HIDDEN)

    def forward(self, x_BTF: Tensor, there_B11T: Tensor) -> Tensor:
        projections = self.attention["self"]
        assert isinstance(projections, nn.ModuleDict)
        query, key, value = (
            projections[name](x_BTF).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        attended_BATE = functional.scaled_dot_product_attention(query, key, value, attn_mask=there_B11T)
        x_BTF = self.attention["output"](attended_BATE.transpose(1, 2).flatten(2), x_BTF)
        y_BTF: Tensor = self.output(functional.gelu(self.intermediate["dense"](x_BTF)), x_BTF)
        return y_BTF


class MiniLM(nn.Module):
    """Tokens (B, T) and whether they are there (B, T) bool, to embeddings (B, 384) of length 1.

    Args:
        layers: number of layers.
        vocabulary: number of tokens that the tokeniser knows.
    """

    def __init__(self, layers: int, vocabulary: int) -> None:
        super().__init__()
        self.embeddings = _Embeddings(vocabulary)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer() for _ in range(layers))})

    def forward(self, token_BT: Tensor, there_BT: Tensor) -> Tensor:
        """Return the embeddings."""
        x_BTF = self.embeddings(token_BT)
        layers = self.encoder["layer"]
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            x_BTF = layer(x_BTF, there_BT[:, None, None])
        weight_BT1 = there_BT[:, :, None].to(x_BTF.dtype)
        return functional.normalize((x_BTF * weight_BT1).sum(1) / weight_BT1.sum(1))


class MiniLMText(TextEncoder):
    """MiniLM with its tokeniser, from texts, whose first 128 tokens count, to features (B, 384).

    Args:
        layers: number of layers of the network.
        tokenizer: the contents of the publisher's tokenizer.json.
    """

    network: MiniLM
    width = FEATURES
    batch = BATCH

    def __init__(self, layers: int, tokenizer: str) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self._tokenize, vocabulary = tokens.from_json(tokenizer)
        self.network = MiniLM(layers, vocabulary)

    def tokenize(self, texts: Sequence[str]) -> list[tokens.Ids]:
        """Return the tokens of each text."""
        return self._tokenize(texts)

    def forward(self, token_BT: Tensor, there_BT: Tensor) -> Tensor:
        """Return the embeddings (B, 384) of tokens."""
        embedding_BF: Tensor = self.network(token_BT, there_BT)
        return embedding_BF


def load(layers: int, weights: Path, tokenizer: Path) -> MiniLMText:
    """Return the network with the weights and the tokeniser of two files, in evaluation mode on the CPU.

    Raises:
        ValueError: a file is missing or damaged, or they do not fit each other or the network.
    """
    if not tokenizer.is_file():
        raise ValueError(f"{tokenizer} is missing; put the publisher's tokenizer.json beside {weights.name}")
    if tokenizer.stat().st_size > MAX_TOKENIZER:
        raise ValueError(
            f"{tokenizer} has {tokenizer.stat().st_size} bytes; at most {MAX_TOKENIZER} are read"
        )
    try:
        text = MiniLMText(layers, tokenizer.read_text(encoding="utf-8")).eval()
    except Exception as error:  # the library raises no narrower class
        raise ValueError(f"{tokenizer} is no tokeniser: {str(error)[:200]}; fetch it again") from error
    fill(text.network, read(weights), f"{weights} weights of the text network", beside=_BESIDE)
    return text
