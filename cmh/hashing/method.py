"""The one abstract class a hashing method implements, and the values it exchanges with the trainer.

A method is two towers that turn an image and a text into relaxed codes of the same K bits, and the loss
terms that train them.  Training runs in *phases*, because the published methods alternate: SCAHN moves the
image tower against the memory of text codes and then the other way round, ADAH plays attention against
hashing.  One phase moves some submodules, reads one modality or both, and has an optimiser of its own.

A method without gradients has no phases: it *solves* for its hash functions from all training items at once,
and keeps them in float64 buffers, so that a model is saved, loaded and encoded with like any other.

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L = labels, C, H, W = image,
F = image features.
`u` is a relaxed code in [-1, 1]; `b` is a code in {-1, +1}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cmh.data.batches import Batch, Stages
from cmh.hashing.bit_order import Criterion

if TYPE_CHECKING:
    from cmh.hashing.code_memory import CodeMemory


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How one phase's parameters move.  The learning rate falls geometrically: lr decay^(epoch / epochs)."""

    kind: Literal["sgd", "adam"] = "sgd"
    lr: float
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of each epoch in which only `modules` (names of direct submodules) move.

    Every phase reads labels; `reads` "labels": nothing else.

    `steps` None: one full pass over the training set, then the next phase begins.
    `steps` k: k batches, then the next phase takes its k, in turn, until every item was seen once:
    consecutive phases with `steps` share one pass over the training set.
    """

    name: str
    modules: tuple[str, ...]
    reads: Literal["image", "text", "both", "labels"]
    optimizer: Optimizer
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Sizes a method needs to build its towers: channels of each image stage, text dimensions, labels."""

    image_channels: tuple[int, ...]
    text_dim: int
    labels: int


class Method(nn.Module, ABC):
    """A hashing method.  Each `cmh/methods/<name>.py` holds one subclass and its frozen dataclass `Config`.

    `Config` has at least `bits: int`.  `REVISION` is raised whenever a change alters what training gives;
    it is part of the identity of every model artifact.
    """

    REVISION: ClassVar[int] = 1
    SHORT: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Fields of `Config` that do well in few epochs on frozen features; the defaults are the paper's."""
    VARIANTS: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    """Ablations by name: fields of `Config`, put over those of the recipe."""
    sequences: ClassVar[bool] = False  # reads words in their order: `transforms.sequences`, not bags of words
    real_valued: ClassVar[bool] = False  # no codes: embeddings of `bits` numbers, ranked by cosine
    bits: int
    keep: Criterion = "most"  # which bits a short code keeps, of a method with `significance`
    stages: tuple[int, ...] = (-1,)  # which of the backbone's stages a method without phases reads
    prefixes: Mapping[int, float] = MappingProxyType({})  # nested codes: length → weight, set by the trainer

    @abstractmethod
    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        """Build the towers.  `backbone` maps `Stages` to stage maps (see `cmh.networks.backbones`)."""
        super().__init__()

    @classmethod
    def reads_maps(cls, config: Any) -> bool:
        """Return whether the method looks at places of an image.

        If so, frozen features are stage maps, else averages.
        """
        return False

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of one epoch, in order; none where the method implements `solve`, not `forward`."""
        return ()

    def forward(self, phase: str, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return weighted loss terms by name, scalars; the trainer adds them.

        By default `loss` of `codes`, and of each of `prefixes` once more, times its weight: *nested* codes,
        whose first bits are trained to be good codes by themselves (Kusupati et al., Matryoshka
        Representation Learning, NeurIPS 2022, for real-valued ones).

        torch's generator is seeded before each call by (seed, epoch, pass, step), alike on all workers; what
        must not depend on their number is drawn for the global batch and cut, `[rank() :: world_size()]`.
        Each term is a mean over the *global* batch: a mean over the local rows for terms that are sums over
        items (the gradients are averaged over workers), and computed on `cmh.distributed.gather(...)`ed codes
        for terms over pairs within the batch.  The method writes its current codes to `memory`.
        """
        codes = self.codes(phase, batch, memory)
        terms = self.loss(phase, codes, batch, memory)
        for bits, weight in self.prefixes.items():
            shorter = self.loss(phase, codes[..., :bits], batch, memory.prefix(bits))
            terms |= {f"{name}_{bits}": weight * term for name, term in shorter.items()}
        return terms

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return what the phase's towers make of the batch, (..., B, K), written to the memory.

        Bit k must not depend on how many bits follow it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no phases; train it with cmh.training.solver.fit"
        )

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the weighted terms of `codes` (..., B, K) against a memory of as many bits.

        `K` may be below `bits`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no phases; train it with cmh.training.solver.fit"
        )

    def solve(
        self,
        image_NF: NDArray[np.float64],
        text_ND: NDArray[np.float64],
        labels_NL: NDArray[np.bool_],
        seed: int,
    ) -> NDArray[np.int8] | None:
        """Learn the hash functions from all training items and keep them in float64 buffers.

        image_NF: what `cmh.hashing.projections.pooled` makes of `stages` of a frozen backbone, or of features
        that the dataset brings.
        Returns: the codes {-1, +1} of the training items, (N, K), where the method learns one code for both
        modalities of an item (*unified* codes); else None.
        """
        raise NotImplementedError(f"{type(self).__name__} has phases; train it with cmh.training.trainer.fit")

    @abstractmethod
    def encode_image(self, image: Stages) -> Tensor:
        """Return relaxed codes u_BK of images, in [-1, 1].

        Of a method without phases they are any numbers; their signs count.
        """

    @abstractmethod
    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return relaxed codes u_BK, as of `encode_image`."""

    def attended(self, image: Stages) -> Tensor | None:
        """Return how much each place of the images counts, (B, H, W) in [0, 1].

        Methods that choose no places return None.
        """
        return None

    def significance(self) -> Tensor | None:
        """Return how much each bit weighs, (K,) float, for methods whose codes can be shortened.

        Other methods return None.
        """
        return None


def check_prefixes(method: type[Method], bits: int, prefixes: Mapping[int, float]) -> None:
    """Refuse with a ValueError lengths and weights that cannot be trained for."""
    if prefixes and method.loss is Method.loss:
        raise ValueError(
            f"{method.__name__} has no loss of its codes alone; it cannot train prefixes of them"
        )
    for length, weight in prefixes.items():
        if not 0 < length < bits:
            raise ValueError(f"a prefix must have 1 to {bits - 1} of {bits} bits, got {length}")
        if weight <= 0:
            raise ValueError(f"the loss of the first {length} bits must weigh more than 0, got {weight}")
