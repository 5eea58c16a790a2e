"""ITQ: iterative quantisation of embeddings that both modalities share, such as CLIP's.

Source: Gong and Lazebnik, CVPR 2011 (see `cmh.hashing.rotation`).  Here as the control for label-free
methods: what is there without training a network.

Image and text embeddings have the same dimensions, as those of CLIP do (`--backbone.name clip_vit_b32
--text.name clip_vit_b32`).  One map serves both: PCA to K directions of all embeddings together, then a
rotation.  Labels are not read.  Features of other backbones and bags of words have no common space: for
these there is `cca_itq`.

Differences from the paper, which has one modality: each modality is centred by its own mean, for images and
texts of CLIP lie in separate regions, and a common mean would spend a bit on which modality an item has; rows
have unit length before (`unit`), since CLIP's embeddings are compared by cosine.

Without texts of one's own (`cmh index photos/ --model clip_vit_b32`) the map is that of the images, and
texts are centred by the mean of some neutral ones (`cmh.untrained`).

Time O(N F² + N K²), memory O(N F); at most F bits.

Shape suffixes: N = training set, F = image features and text dimensions, L = labels, K = bits.
"""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cmh.data.batches import Stages
from cmh.hashing import config_checks
from cmh.hashing.projections import Matrix, pooled, unit_rows
from cmh.hashing.rotation import leading_directions, rotation
from cmh.hashing.shallow import LinearHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    steps: int = 50  # turns of the rotation: section 2.2; 0: the random rotation that it starts from
    unit: bool = True  # ours: rows of unit length
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits")
        config_checks.not_negative(self, "steps")


class ITQ(LinearHashing):
    """One linear map from embeddings of either modality to codes."""

    reads_labels = "never"
    config: Config
    VARIANTS = MappingProxyType({"random_rotation": {"steps": 0}})

    def solve(self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int) -> None:
        if image_NF.shape[1] != text_ND.shape[1]:
            raise ValueError(
                f"itq needs image and text embeddings of the same size, got {image_NF.shape[1]} and "
                f"{text_ND.shape[1]} numbers; take CLIP for both (--backbone.name clip_vit_b32 --text.name "
                "clip_vit_b32), or the method cca_itq"
            )
        sides = [self._unit(x) for x in (image_NF, text_ND)]
        self._learn(sides, [x.mean(axis=0) for x in sides], seed)

    def solve_from_images(self, image_NF: Matrix, neutral_MF: Matrix, seed: int) -> None:
        """Learn the hash functions from images alone.

        Args:
            image_NF: embeddings of N images.
            neutral_MF: embeddings of M texts of any kind, in place of those of the images: of them only the
                mean counts, by which texts are centred.
            seed: seed of the first rotation.
        """
        image_NF = self._unit(image_NF)
        self._learn([image_NF], [image_NF.mean(axis=0), self._unit(neutral_MF).mean(axis=0)], seed)

    def _learn(self, sides: list[Matrix], means: list[Matrix], seed: int) -> None:
        """Learn the map from embeddings, each side less its mean, and keep it with the means of both."""
        centred = np.concatenate([x - mean_F for x, mean_F in zip(sides, means, strict=False)])
        w_FK = leading_directions(centred.T @ centred, self.bits)
        w_FK = w_FK @ rotation(centred @ w_FK, self.config.steps, seed)
        for side, mean_F in zip((self.image, self.text), means, strict=True):
            side.keep(mean_F, w_FK)

    def _unit(self, x_NF: Matrix) -> Matrix:
        return unit_rows(x_NF) if self.config.unit else x_NF

    def encode_image(self, image: Stages) -> Tensor:
        """Return real-valued codes u_BK of images; their signs are the codes."""
        u_BK: Tensor = self.image(self._scaled(pooled(self.backbone(*image), self.stages)))
        return u_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return real-valued codes u_BK of texts; their signs are the codes."""
        u_BK: Tensor = self.text(self._scaled(text_BD.double()))
        return u_BK

    def _scaled(self, x_BF: Tensor) -> Tensor:
        return functional.normalize(x_BF) if self.config.unit else x_BF
