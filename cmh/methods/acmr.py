"""ACMR: real-valued embeddings that tell classes and hide modalities; no codes, for comparison with them.

Source: Wang, Yang, Xu, Hanjalic and Shen, Adversarial Cross-Modal Retrieval, ACM Multimedia 2017, 154-162.

Retrieval is by the cosine of the embeddings, 32 times as large as codes of as many bits.  `bits` is how many
numbers one has.

Two towers of three layers end in one space.  A linear classifier that both share reads the classes there, the
embeddings of relevant pairs are to be near and of others apart, and a modality classifier learns which tower
an embedding came from: through a layer that reverses its gradient, the towers learn to leave it guessing.

$$ β L_{class} + mean_{relevant} ‖v_i - t_j‖ + λ mean_{others} max(0, μ - ‖v_i - t_j‖) + L_{modality} $$

Where the paper is silent, or its tuned weights are not told, the defaults are the authors' code's.

Differences from the paper:
- Classes: where items have several labels, the softmax is held against all of them in equal parts, ours.  A
  sigmoid for each does not do: to call most labels absent, which most are, the towers saturate into one point
  before they learn anything (Flickr8k, 32 numbers: .18 / .18, chance; in equal parts .53 / .60).
- Pairs are all of the batch, in place of sampled triplets, and their sums are means.
- No norm of the weights, as in the authors' code, which also takes the pairs of one item alone as relevant.
- Reversed gradients count in full from the start; the authors' weight rises from 0, and is .9 after 30 % of
  the epochs.  ReLU between the modality classifier's layers, ours: without it, three layers are one.
- The image features are normalised over the batch first, ours: those of some datasets are a hundredth of what
  weights are made for.

Shape suffixes: B = batch, K = numbers of an embedding, D = text dimensions, L = labels.
`v` is the embedding of an image, `t` of a text, in [-1, 1].
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from cmh.networks import image_heads, text_networks


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of ACMR; the defaults are those of the authors' code for Wiki unless said otherwise."""

    bits: int = 40  # numbers of an embedding
    image_hidden: int = 512  # first layer of the image tower
    text_hidden: int = 40  # first layer of the text tower
    middle: int = 100  # second layer of both
    beta: float = 100.0  # weight of the classes
    lambda_: float = 0.02  # weight of the pairs that are not relevant
    mu: float = 0.1  # distance that these are to keep
    lr: float = 1e-4  # Adam
    beta1: float = 0.5
    decay: float = 1.0  # of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "image_hidden", "text_hidden", "middle", "lr", "decay")
        config_checks.not_negative(self, "beta", "lambda_", "mu")
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"beta1 must be at least 0 and below 1, got {self.beta1}")


class ACMR(Method):
    """Image: last stage, average, three layers with tanh.  Text: three layers with tanh."""

    REVISION = 2
    real_valued = True
    SHORT = MappingProxyType({"text_hidden": 512, "beta": 10.0, "lr": 1e-3})

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.config = config
        self.bits = config.bits
        self.backbone = backbone
        channels = inputs.image_channels[-1]
        self.image_tower = nn.Sequential(
            image_heads.LastStage(),
            nn.BatchNorm1d(channels, affine=False),
            _xavier(nn.Linear(channels, config.image_hidden)),
            *_upper(config.image_hidden, config),
        )
        std = (2 / (inputs.text_dim + config.text_hidden)) ** 0.5  # Xavier's
        self.text_tower = nn.Sequential(
            text_networks.WordLinear(inputs.text_dim, config.text_hidden, std),
            *_upper(config.text_hidden, config),
        )
        self.classifier = _xavier(nn.Linear(config.bits, inputs.labels))
        half, quarter = max(1, config.bits // 2), max(1, config.bits // 4)
        self.discriminator = nn.Sequential(
            _xavier(nn.Linear(config.bits, half)),
            nn.ReLU(),
            _xavier(nn.Linear(half, quarter)),
            nn.ReLU(),
            _xavier(nn.Linear(quarter, 1)),
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, in which all move.

        The reversed gradient sets the two sides against each other.
        """
        c = self.config
        adam = Optimizer(kind="adam", lr=c.lr, betas=(c.beta1, 0.999), decay=c.decay)
        modules = ("backbone", "image_tower", "text_tower", "classifier", "discriminator")
        return (Phase(name="pairs", modules=modules, reads="both", optimizer=adam),)

    def forward(self, phase: str, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `classes`, `relevant`, `others` and `modality`, each with its weight.

        The towers maximise the last one, through its reversed gradient.
        """
        assert batch.image is not None
        assert batch.text_BD is not None
        c = self.config
        v_BK, t_BK = self.encode_image(batch.image), self.encode_text(batch.text_BD)
        memory.write("image", batch.index_B, v_BK)
        memory.write("text", batch.index_B, t_BK)
        labels_BL = distributed.gather(batch.labels_BL)
        s_BB = losses.relevance(labels_BL, labels_BL)
        relevant, others = pairs(distributed.gather(v_BK), distributed.gather(t_BK), s_BB, c.mu)
        classes = sum(classification(self.classifier(x), batch.labels_BL) for x in (v_BK, t_BK))
        return {
            "classes": c.beta * torch.as_tensor(classes),
            "relevant": relevant,
            "others": c.lambda_ * others,
            "modality": self._modality(v_BK, t_BK),
        }

    def encode_image(self, image: Stages) -> Tensor:
        v_BK: Tensor = self.image_tower(self.backbone(*image))
        return v_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        t_BK: Tensor = self.text_tower(text_BD)
        return t_BK

    def _modality(self, v_BK: Tensor, t_BK: Tensor) -> Tensor:
        """Return - mean_i (log D(v_i) + log(1 - D(t_i))), the gradient reversed towards the towers."""
        image_B1, text_B1 = (self.discriminator(reverse(x)) for x in (v_BK, t_BK))
        return (functional.softplus(-image_B1) + functional.softplus(text_B1)).mean()


def pairs(v_BK: Tensor, t_BK: Tensor, s_BB: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Return the mean distance of relevant pairs, and mean max(0, margin - distance) of the others.

    A mean over no pairs is 0.

    Source: the invariance loss of the paper, section 3.3, over pairs in place of triplets.
    """
    # not by matrix products, which lose the digits of small distances
    d_BB = torch.cdist(v_BK, t_BK, compute_mode="donot_use_mm_for_euclid_dist")
    relevant = (d_BB * s_BB).sum() / s_BB.sum().clamp(min=1)
    others = ((margin - d_BB).clamp(min=0) * (1 - s_BB)).sum() / (1 - s_BB).sum().clamp(min=1)
    return relevant, others


def classification(score_BL: Tensor, labels_BL: Tensor) -> Tensor:
    """Return the mean over items of the cross-entropy of their labels, in equal parts.

    An item without labels adds 0.
    """
    share_BL = labels_BL / labels_BL.sum(1, keepdim=True).clamp(min=1)
    return functional.cross_entropy(score_BL, share_BL)


def reverse(x: Tensor) -> Tensor:
    """Return x; its gradient is multiplied by -1.

    Source: Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015.
    """
    reversed_x: Tensor = _Reverse.apply(x)
    return reversed_x


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def _upper(width: int, config: Config) -> tuple[nn.Module, ...]:
    """Return the second and third layer of a tower, on a first one of this width."""
    second, third = nn.Linear(width, config.middle), nn.Linear(config.middle, config.bits)
    return nn.Tanh(), _xavier(second), nn.Tanh(), _xavier(third), nn.Tanh()


def _xavier(linear: nn.Linear) -> nn.Linear:
    """Return Glorot's uniform weights, biases 0: what the authors' library does unasked."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
