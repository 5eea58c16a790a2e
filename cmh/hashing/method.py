"""The abstract class that every hashing method implements, and the values it exchanges with the trainer.

A method consists of two towers, which turn an image and a text into relaxed codes of the same K bits, and of
the loss terms that train them.  Training runs in *phases*, because the published methods train their networks
in turn: SCAHN trains the image tower against the memory of text codes and then the text tower against that of
image codes; ADAH trains attention and hashing against each other.  A phase trains some of the submodules,
reads one modality or both, and has an optimiser of its own.

A method without gradients has no phases.  It *solves* for its hash functions from all training items at once,
and keeps them in float64 buffers, so that its model is saved, loaded and used for encoding like any other.

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
from cmh.data.items import Items
from cmh.hashing.bit_order import Criterion

if TYPE_CHECKING:
    from cmh.hashing.code_memory import CodeMemory


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The optimiser of one phase; its learning rate falls geometrically, lr decay^(epoch / epochs)."""

    kind: Literal["sgd", "adam"] = "sgd"
    lr: float  # in the first epoch
    momentum: float = 0.0  # of "sgd"
    betas: tuple[float, float] = (0.9, 0.999)  # of "adam"
    weight_decay: float = 0.0
    decay: float = 1.0  # factor of the learning rate over the whole training


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of each epoch that trains some of the method's submodules.

    Attributes:
        name: name of the phase, which the loss terms and learning rates in the logs carry.
        modules: names of the direct submodules that the phase trains; all others stay constant.
        reads: modalities in the batches.  Every phase reads labels; "labels" means nothing else.
        optimizer: the optimiser of the phase.
        steps: None for one full pass over the training set before the next phase begins.  Consecutive phases
            with a number share one pass: each in turn takes as many batches as its `steps`, until every item
            was read once.
    """

    name: str
    modules: tuple[str, ...]
    reads: Literal["image", "text", "both", "labels"]
    optimizer: Optimizer
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The sizes of the data that a method needs to build its towers."""

    image_channels: tuple[int, ...]  # of each stage of the backbone
    text_dim: int  # D
    labels: int  # L


class Method(nn.Module, ABC):
    """A hashing method.  Each `cmh/methods/<name>.py` holds one subclass and its frozen dataclass `Config`.

    `Config` has at least the field `bits: int`.  Raise `REVISION` with every change that alters the result of
    training; it is part of the identity of every model artifact.
    """

    REVISION: ClassVar[int] = 1
    SHORT: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Fields of `Config` that work well for few epochs on frozen features; the defaults are the paper's."""
    VARIANTS: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    """Ablations by name: fields of `Config` that override those of the recipe."""
    sequences: ClassVar[bool] = False  # whether texts are words in their order, not bags of words
    reads_labels: ClassVar[Literal["always", "where given", "never"]] = "always"
    """Whether training reads labels.  By those of the validation items the best epoch is chosen, too."""
    texts: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """What it is made to read of a text, fields of `flows.experiment.TextSettings`; none: bags of words."""
    real_valued: ClassVar[bool] = False  # whether it gives embeddings of `bits` numbers, ranked by cosine
    bits: int
    keep: Criterion = "most"  # bits that a short code keeps, of a method with `significance`
    stages: tuple[int, ...] = (-1,)  # of the backbone, those that a method without phases reads
    prefixes: Mapping[int, float] = MappingProxyType({})  # nested codes: length → weight, set by the trainer

    @abstractmethod
    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        """Build the towers.

        Args:
            config: the subclass's `Config`.
            inputs: sizes of the data.
            backbone: from `Stages` to stage maps, see `cmh.networks.backbones`.
        """
        super().__init__()

    @classmethod
    def reads_maps(cls, config: Any) -> bool:
        """Return whether the method reads positions of an image.

        If so, frozen features are stage maps, otherwise averages over the positions.
        """
        return False

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of one epoch, in order; none for methods that implement `solve`, not `forward`."""
        return ()

    def forward(self, phase: str, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the weighted loss terms of a batch by name, scalars; the trainer adds them up.

        By default these are the terms of `loss` of `codes`, and for each entry of `prefixes` the terms of its
        first bits, times its weight.  The latter train *nested* codes, whose first bits are good codes by
        themselves (Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022, for real-valued ones).

        The trainer seeds torch's generator before each call by (seed, epoch, pass, step), with the same seed
        on all workers.  To make random numbers independent of the number of workers, draw them for the global
        batch and take this worker's rows, `[rank() :: world_size()]`.

        Each term is a mean over the *global* batch.  For a sum over items, that is the mean over the local
        rows, because gradients are averaged over workers; a term over pairs within the batch must be computed
        on codes from `cmh.distributed.gather(...)`.  The method writes its current codes to `memory`.

        Args:
            phase: name of the current phase.
            batch: this worker's rows of the batch.
            memory: codes of all training items.
        """
        codes = self.codes(phase, batch, memory)
        terms = self.loss(phase, codes, batch, memory)
        for bits, weight in self.prefixes.items():
            shorter = self.loss(phase, codes[..., :bits], batch, memory.prefix(bits))
            terms |= {f"{name}_{bits}": weight * term for name, term in shorter.items()}
        return terms

    def begin_epoch(self, epoch: int, train: Items, memory: CodeMemory) -> None:
        """Prepare for an epoch: a schedule, statistics of the training set, a choice of items.

        The trainer calls this on every worker before the first phase of each epoch, also of the one with
        which a resumed run goes on.  What it sets must follow from the arguments and the method's state dict
        alone, and be the same on every worker.  By default it does nothing.

        Args:
            epoch: number of the epoch, from 0.
            train: all training items.
            memory: codes of all training items.
        """

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return the codes (..., B, K) of the phase's towers for the batch, and write them to the memory.

        Bit k must not depend on the number of bits after it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no phases; train it with cmh.training.solver.fit"
        )

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the weighted loss terms of `codes` (..., B, K) against a memory of K bits.

        K is smaller than `bits` for the prefixes of nested codes.
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
        """Learn the hash functions from all training items and store them in float64 buffers.

        Args:
            image_NF: image features, the result of `cmh.hashing.projections.pooled` for `stages` of a frozen
                backbone or for features that the dataset includes.
            text_ND: bags of words, or text features.
            labels_NL: multi-hot labels.
            seed: seed of all random numbers.

        Returns:
            The codes {-1, +1} of the training items, (N, K), where the method learns one code for both
            modalities of an item (*unified* codes); otherwise None.
        """
        raise NotImplementedError(f"{type(self).__name__} has phases; train it with cmh.training.trainer.fit")

    def go_on_from(self, before: Method) -> None:
        """Take over what a model of this method has learnt, so that `solve` adds the items that it is given.

        Only a method that learns *online* has this: its codes of the items before stay as they are.

        Args:
            before: the model; its labels are the first of this one's.

        Raises:
            ValueError: it reads other features, or has other settings.
        """
        raise NotImplementedError(f"{type(self).__name__} learns from all items at once, and adds none later")

    @abstractmethod
    def encode_image(self, image: Stages) -> Tensor:
        """Return relaxed codes u_BK of images, in [-1, 1].

        Methods without phases return any real numbers, of which only the signs matter.
        """

    @abstractmethod
    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return relaxed codes u_BK of texts, with the same range as those of `encode_image`."""

    def attended(self, image: Stages) -> Tensor | None:
        """Return the attention weight of each position of the images, (B, H, W) in [0, 1].

        Methods without attention return None.
        """
        return None

    def significance(self) -> Tensor | None:
        """Return the weight of each bit, float (K,), by which shortened codes choose their bits.

        Methods that do not rank their bits return None.
        """
        return None


def check_prefixes(method: type[Method], bits: int, prefixes: Mapping[int, float]) -> None:
    """Refuse nested codes that cannot be trained.

    Args:
        method: class of the method.
        bits: length of the whole code.
        prefixes: shorter length → weight of its loss.

    Raises:
        ValueError: a method without `loss`, a length outside 1 to bits - 1, or a weight of zero or less.
    """
    if prefixes and method.loss is Method.loss:
        raise ValueError(
            f"{method.__name__} has no loss of its codes alone; it cannot train prefixes of them"
        )
    for length, weight in prefixes.items():
        if not 0 < length < bits:
            raise ValueError(f"a prefix must have 1 to {bits - 1} of {bits} bits, got {length}")
        if weight <= 0:
            raise ValueError(f"the loss of the first {length} bits must weigh more than 0, got {weight}")
