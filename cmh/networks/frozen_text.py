"""The abstract class of frozen text networks; `cmh.networks.text_encoders` has the list of them.

Shape suffixes: B = texts, T = tokens, F = features.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmh.networks import runtime, tokens
from cmh.networks.tokens import Ids

INPUTS = {"token": 2, "there": 2}  # of an exported network → its axes that change: texts and tokens


class TextEncoder(nn.Module, ABC):
    """A frozen network with its tokeniser, from texts to features.

    Attributes:
        network: the network, whose weights a model keeps.
        tokenizer: the contents of the file tokenizer.json that belongs to the weights; None where the code
            has the tokeniser.
        width: F.
        batch: texts computed at once.
    """

    network: nn.Module
    tokenizer: str | None = None
    width: int
    batch: int

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> list[Ids]:
        """Return the tokens of each text."""

    @abstractmethod
    def forward(self, token_BT: Tensor, there_BT: Tensor) -> Tensor:
        """Return the features (B, F) of tokens (B, T) int64, and whether they are there (B, T) bool."""

    def features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features (B, F) float32 of texts, by torch on the network's device."""
        device = next(self.parameters()).device

        @torch.inference_mode()
        def embed(token_BT: NDArray[np.int64], there_BT: NDArray[np.bool_]) -> NDArray[np.float32]:
            batch = (torch.from_numpy(array).to(device) for array in (token_BT, there_BT))
            features_BF: NDArray[np.float32] = self(*batch).float().cpu().numpy()
            return features_BF

        return tokens.features(texts, self.tokenize, embed, width=self.width, batch=self.batch)

    def export(self) -> bytes:
        """Return the network as the contents of an ONNX file, which reads `INPUTS`."""
        token_BT = torch.tensor([[2, 4, 5, 3], [2, 4, 3, 0]])
        return runtime.export(
            self, {"token": token_BT, "there": token_BT > 0}, outputs=["features"], dynamic=INPUTS
        )

    def on_runtime(self, threads: int) -> tokens.Features:
        """Return what computes the same features on ONNX Runtime, up to float rounding."""
        return tokens.by_session(self.tokenize, runtime.Session(self.export(), threads), self.batch)
