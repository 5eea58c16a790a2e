"""Targets of label-free methods: how similar two items are by features that hashing leaves alone.

DJSRH, JDSH and DGCPN learn codes whose cosines follow a matrix S of similarities, which they compute from the
features x of images, the average of the backbone's last stage, and the vectors y of texts.  A backbone that
learns would move its own targets; the features then come from a twin of it, which stays as it was.

Shape suffixes: B = global batch, N = training items, F = image features, D = text dimensions, K = bits,
T = a sample of training items.
"""

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh import distributed
from cmh.data.batches import Batch, Slice, Stages, batches
from cmh.data.items import Items
from cmh.data.sides import Side
from cmh.hashing import losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers, together
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks import image_heads

SAMPLE = 2048  # training items, evenly spaced, of which statistics of pairs are taken
ROWS = 256  # of the training set that the twin reads at once


class Features(NamedTuple):
    """What S is computed from, rows of the same items; no gradient."""

    image_BF: Tensor
    text_BD: Tensor


class AffinityTowers(Towers):
    """Two towers, codes u = tanh(slope f), and the features of which targets are made.

    A subclass builds `image_tower` and `text_tower`, which give f, and may let `slope` grow, as DJSRH and
    JDSH do; it is part of the model.
    """

    reads_labels = "never"
    slope: Tensor

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        learns = any(True for _ in backbone.parameters())
        self.twin = copy.deepcopy(backbone).requires_grad_(False) if learns else None
        self.register_buffer("slope", torch.ones(()))

    def train(self, mode: bool = True) -> "AffinityTowers":
        """Set training or evaluation mode; the twin is always in evaluation mode."""
        super().train(mode)
        if self.twin is not None:
            self.twin.eval()
        return self

    def code_of(self, side: Side, batch: Batch) -> Tensor:
        """Return u = tanh(slope f)."""
        return (self.slope * super().code_of(side, batch)).tanh()

    def encode_image(self, image: Stages) -> Tensor:
        """Return relaxed codes u = tanh(slope f) of images, (B, K)."""
        return (self.slope * super().encode_image(image)).tanh()

    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Return relaxed codes u = tanh(slope f) of texts, (B, K)."""
        return (self.slope * super().encode_text(text_BD)).tanh()

    @torch.no_grad()
    def features(self, batch: Batch) -> Features:
        """Return the features of the global batch."""
        local = self._features(batch)
        return Features(distributed.gather(local.image_BF), distributed.gather(local.text_BD))

    @torch.no_grad()
    def features_of(self, items: Items) -> Features:
        """Return the features of all items, on the method's device; the same on every worker."""
        device = self.slope.device
        rows = (np.arange(start, min(start + ROWS, len(items))) for start in range(0, len(items), ROWS))
        read = [self._features(b) for b in batches(items, (Slice(r, "both") for r in rows), device)]
        return Features(torch.cat([f.image_BF for f in read]), torch.cat([f.text_BD for f in read]))

    def _features(self, batch: Batch) -> Features:
        assert batch.image is not None
        assert batch.text_BD is not None
        with torch.autocast(self.slope.device.type, enabled=False):
            maps = (self.backbone if self.twin is None else self.twin)(*batch.image)
        return Features(maps[-1].mean((2, 3)), batch.text_BD)


class SlopedTowers(AffinityTowers):
    """The towers of DJSRH and JDSH, whose slope is sqrt(epoch + 1), and the scale of their cosines.

    Image: last stage, average, linear.  Text: linear, ReLU, linear.  `Config` has the fields `hidden`, width
    of the text tower, `calibrate`, and those of the optimiser.

    S_I = 2 cos(x_i, x_j) - 1 presumes features that are never negative, whose cosines spread over [0, 1].
    With `calibrate`, the cosines between training items are mapped so that their 1 % and 99 % quantiles
    become -1 and 1, and what is beyond them too: those of CLIP, for one, lie in a narrow band.
    """

    quantiles_22: Tensor  # low and high cosine, of images and of texts

    def __init__(self, config: Any, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        linear = nn.Linear(inputs.image_channels[-1], config.bits)
        self.image_tower = nn.Sequential(image_heads.LastStage(), linear)
        self.text_tower = nn.Sequential(
            nn.Linear(inputs.text_dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.bits)
        )
        self.register_buffer("quantiles_22", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, both towers moving."""
        c = self.config
        optimizer = Optimizer(
            kind=c.optimizer, lr=c.lr, momentum=0.9, weight_decay=c.weight_decay, decay=c.decay
        )
        return together(optimizer)

    def begin_epoch(self, epoch: int, train: Items, memory: CodeMemory) -> None:
        """Let the slope grow, and before the first epoch take the quantiles."""
        self.slope.fill_((epoch + 1) ** 0.5)
        if self.config.calibrate and epoch == 0:
            for number, x in enumerate(self.sample(train)):
                quantiles_2 = torch.quantile(off_diagonal(losses.cosine(x, x)), torch.tensor([0.01, 0.99]))
                self.quantiles_22[number].copy_(quantiles_2)

    def sample(self, train: Items) -> Features:
        """Return the features of evenly spaced training items, on the CPU, float32."""
        features = self.features_of(train.every(-(-len(train) // SAMPLE)))
        return Features(*(x.float().cpu() for x in features))

    def affinities(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return S_I and S_T (B, B) of images and of texts."""
        with torch.no_grad(), torch.autocast(features.image_BF.device.type, enabled=False):
            image_BB, text_BB = (
                affinity(x, *self.quantiles_22[number].to(x)) for number, x in enumerate(features)
            )
        return (image_BB.clamp(-1, 1), text_BB.clamp(-1, 1)) if self.config.calibrate else (image_BB, text_BB)


def affinity(x_BF: Tensor, low: Tensor | float = 0.0, high: Tensor | float = 1.0) -> Tensor:
    """Return S_ij = 2 (cos(x_i, x_j) - low) / (high - low) - 1, (B, B); rows of zeros have a cosine of 0."""
    return 2 * (losses.cosine(x_BF, x_BF) - low) / (high - low) - 1


def off_diagonal(s_TT: Tensor) -> Tensor:
    """Return the values off the diagonal, as one row."""
    return s_TT[~torch.eye(len(s_TT), dtype=torch.bool, device=s_TT.device)]


def mse(a_BB: Tensor, b_BB: Tensor | float) -> Tensor:
    """Return mean_ij (a_ij - b_ij)^2."""
    return (a_BB - b_BB).square().mean()


def unit_batch(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the codes (2, B, K) of images and texts of the global batch, each of unit length."""
    image_BK, text_BK = distributed.gather(codes.transpose(0, 1)).unbind(1)
    return functional.normalize(image_BK), functional.normalize(text_BK)
