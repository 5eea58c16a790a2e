"""From texts to tokens, and from tokens to features batch by batch; needs no torch.

Shape suffixes: B = batch of texts, T = tokens, F = features, N = texts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmh.networks.runtime import Session

READ = 128  # tokens of a text that networks with a tokenizer.json read, as in training

Ids = Sequence[int]
"""The token numbers of one text, at least one."""

Tokenize = Callable[[Sequence[str]], list[Ids]]

Embed = Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.float32]]
"""Tokens (B, T), filled up with 0, and whether they are there (B, T), to features (B, F)."""


Features = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to their features (N, F)."""


def from_json(contents: str) -> tuple[Tokenize, int]:
    """Return the tokeniser in the contents of a publisher's tokenizer.json, and how many tokens it knows."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_str(contents)
    tokenizer.enable_truncation(READ)
    tokenizer.no_padding()

    def tokenize(texts: Sequence[str]) -> list[Ids]:
        return [encoded.ids for encoded in tokenizer.encode_batch(list(texts))]

    return tokenize, tokenizer.get_vocab_size()


def clip() -> Tokenize:
    """Return CLIP's tokeniser, which reads 75 tokens of a text; open_clip has it, and imports torch."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()

    def tokenize(texts: Sequence[str]) -> list[Ids]:
        token_NT: NDArray[np.int64] = tokenizer(list(texts)).numpy() if texts else np.zeros((0, 1), np.int64)
        # The end token has the highest number of all; a 0 is padding, but "!" as well.
        return [row[: int(row.argmax()) + 1].tolist() for row in token_NT]

    return tokenize


def by_session(tokenize: Tokenize, session: Session, batch: int) -> Features:
    """Return what computes features of texts by an exported text network, which reads `token` and `there`."""

    def embed(token_BT: NDArray[np.int64], there_BT: NDArray[np.bool_]) -> NDArray[np.float32]:
        features_BF: NDArray[np.float32] = session(token=token_BT, there=there_BT)[0]
        return features_BF

    return lambda texts: features(texts, tokenize, embed, width=session.width, batch=batch)


def features(
    texts: Sequence[str], tokenize: Tokenize, embed: Embed, *, width: int, batch: int
) -> NDArray[np.float32]:
    """Return the features (N, F) float32 of texts, which up to float rounding do not depend on the others.

    Texts of about equal length share a batch, as padding costs as much as words; equal texts are computed
    once.

    Args:
        texts: N texts.
        tokenize: texts to their tokens.
        embed: one batch of tokens to features.
        width: F.
        batch: texts computed at once.
    """
    number = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    ids = tokenize(list(number))
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    found_NF = np.empty((len(ids), width), np.float32)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        token_BT = np.zeros((len(rows), len(ids[rows[-1]])), np.int64)
        there_BT = np.zeros(token_BT.shape, np.bool_)
        for index, row in enumerate(rows):
            token_BT[index, : len(ids[row])] = ids[row]
            there_BT[index, : len(ids[row])] = True
        found_NF[rows] = embed(token_BT, there_BT)
    return found_NF[[number[text] for text in texts]]
