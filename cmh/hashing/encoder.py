"""What a trained model does for its users, whatever it runs on: images and texts to codes.

`cmh.model.Model` runs on torch, on a CPU or GPU; `cmh.onnx.exported.ExportedModel` on ONNX Runtime,
without torch.

Shape suffixes: B = images or texts, H, W = image, F = features, D = text dimensions, T = words of a sequence,
K = bits, P = packed bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.data import images
from cmh.data.texts import bag_of_words, sequences
from cmh.hashing.model_facts import Facts

_WORDS = 1024  # of the vocabulary that are encoded at once

Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""uint8 RGB images (H, W, 3) of any size."""


class Encoder(ABC):
    """A trained model, ready to encode."""

    facts: Facts
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def bits(self) -> int:
        """The length of the codes."""
        return self.facts.bits

    @property
    def order(self) -> NDArray[np.int64]:
        """The method's bits, int64 (K,), in the order in which the codes hold them: by significance."""
        return np.array(self.facts.order, np.int64)

    @property
    @abstractmethod
    def real_valued(self) -> bool:
        """Whether the model gives embeddings, not codes."""

    def encode_images(self, image_BHWC: Images) -> NDArray[Any]:
        """Return the packed codes of images, which are cropped and resized as in preprocessing.

        Args:
            image_BHWC: uint8 RGB images (H, W, 3) of any size.

        Returns:
            Codes, uint8 (B, P); for a real-valued method, embeddings, float32 (B, K).

        Raises:
            ValueError: an image of another shape or dtype.
        """
        return self.pack(self.relax_images(image_BHWC))

    def relax_images(self, image_BHWC: Images) -> NDArray[np.float32]:
        """Return the relaxed codes of images, float32 (B, K), in the order of the packed bits.

        Raises:
            ValueError: an image of another shape or dtype.
        """
        return self.image_outputs(self.resized(image_BHWC))[:, self.order]

    def encode_texts(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return the packed codes of texts, uint8 (B, P); for a real-valued method, embeddings.

        Words outside the vocabulary are ignored, unless a text network reads the texts.

        Raises:
            ValueError: the model was trained on text features, not on words.
        """
        return self.pack(self.relax_texts(texts))

    def relax_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the relaxed codes of texts, float32 (B, K), in the order of the packed bits.

        Raises:
            ValueError: the model was trained on text features, not on words.
        """
        if self.facts.given is not None:
            raise ValueError(
                "this model learnt from text features that came with its dataset, not from words"
            )
        inputs: dict[str, NDArray[Any]] = {}
        if self.facts.text != "words":
            inputs["features"] = self.text_features(texts)
        if self.facts.length is not None:
            inputs["words"] = sequences(texts, self.vocabulary, self.facts.length)
        elif self.facts.text == "words" or self.facts.words:
            inputs["bag"] = bag_of_words(texts, self.vocabulary)
        return self.text_outputs(**inputs)[:, self.order]

    def relax_vocabulary(self) -> NDArray[np.float32]:
        """Return the relaxed codes of the words of the vocabulary, each a text of its own, float32 (D, K).

        Raises:
            ValueError: the model was trained on text features, not on words.
        """
        words = self.vocabulary
        parts = [self.relax_texts(words[start : start + _WORDS]) for start in range(0, len(words), _WORDS)]
        return np.concatenate(parts)

    def pack(self, u_BK: NDArray[np.float32]) -> NDArray[Any]:
        """Return the packed codes, uint8 (B, P), of relaxed ones; embeddings of a real-valued method stay."""
        return u_BK if self.real_valued else hamming.pack_relaxed(u_BK, np.arange(self.bits))

    def knows(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each text whether its code depends on it, bool (B,).

        A text needs a word of the vocabulary, or, for a model with a text network, any characters.
        """
        if self.facts.text != "words":
            return np.array([bool(text.strip()) for text in texts], np.bool_)
        known_B: NDArray[np.bool_] = bag_of_words(texts, self.vocabulary).max(1, initial=0) > 0
        return known_B

    def resized(self, image_BHWC: Images) -> NDArray[np.uint8]:
        """Return images (B, H, W, 3) resized to the stored size and then to the backbone's, like a dataset's.

        Raises:
            ValueError: an image of another shape or dtype.
        """
        stored, size = self.facts.stored_size, self.facts.image_size
        resized_BHWC = np.empty((len(image_BHWC), size, size, 3), np.uint8)
        for place, image_HWC in enumerate(image_BHWC):
            resized_BHWC[place] = images.resize_as_stored(image_HWC, stored, size)
        return resized_BHWC

    @abstractmethod
    def image_outputs(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the image tower gives for images of the backbone's size, (B, K); the method's order."""

    @abstractmethod
    def text_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features (B, F) of texts by the model's text network."""

    @abstractmethod
    def text_outputs(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the text tower gives, (B, K), in the method's own order.

        Args:
            **inputs: `bag` (B, D) uint8, `words` (B, T) int32, or `features` (B, F) float32, or the latter
                and `bag`, as the model reads them.
        """
