"""The one abstract class a hashing method implements, and the values it exchanges with the trainer.

A method is two towers that turn an image and a text into relaxed codes of the same K bits, and the loss
terms that train them.  Training runs in *phases*, because the published methods alternate: SCAHN moves the
image tower against the memory of text codes and then the other way round, ADAH plays attention against
hashing.  One phase moves some submodules, reads one modality or both, and has an optimiser of its own.

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L = labels, C, H, W = image.
`u` is a relaxed code in [-1, 1]; `b` is a code in {-1, +1}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from cmh.memory import CodeMemory

Stages = tuple[Tensor, ...]
"""What an image tower reads: either one uint8 image batch (B, 3, H, W), which a trainable backbone turns into
stage maps, or the stage maps (B, C_s, H_s, W_s) of a frozen backbone, float32 (H_s = W_s = 1 where pooled)."""


class Batch(NamedTuple):
    """One worker's slice of a global batch.  A modality that the phase does not read is None."""

    index_B: Tensor  # int64, row in the training split (not in the dataset)
    image: Stages | None
    text_BD: Tensor | None  # float32 bag of words
    labels_BL: Tensor  # float32 multi-hot


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How one phase's parameters move.  The learning rate falls geometrically, lr * decay^(epoch / epochs)."""

    kind: Literal["sgd", "adam"] = "sgd"
    lr: float
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of each epoch in which only `modules` (names of direct submodules) move.

    `steps` None: one full pass over the training set, then the next phase begins.
    `steps` k: k batches, then the next phase takes its k, in turn, until every item was seen once.
    """

    name: str
    modules: tuple[str, ...]
    reads: Literal["image", "text", "both"]
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
    bits: int

    @abstractmethod
    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        """Build the towers.  `backbone` maps `Stages` to stage maps (see `cmh.backbones`)."""
        super().__init__()

    @property
    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The phases of one epoch, in order."""

    @abstractmethod
    def forward(self, phase: str, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Weighted loss terms by name, scalars; the trainer adds them.

        Called through DistributedDataParallel, so every use of a parameter in training happens in here.
        Each term is a mean over the *global* batch: a mean over the local rows for terms that are sums over
        items (the gradients are averaged over workers), and computed on `cmh.parallel.gather(...)`ed codes
        for terms over pairs within the batch.  The method writes its current codes to `memory`.
        """

    @abstractmethod
    def encode_image(self, image: Stages) -> Tensor:
        """Relaxed codes u_BK in [-1, 1]."""

    @abstractmethod
    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Relaxed codes u_BK in [-1, 1]."""

    def significance(self) -> Tensor | None:
        """(K,) float: how much each bit weighs, for methods whose codes can be shortened; else None."""
        return None
