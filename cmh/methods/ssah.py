"""SSAH: Self-Supervised Adversarial Hashing, a network on the labels that teaches those on images and texts.

Source: Li, Deng, Li, Liu, Gao and Tao, CVPR 2018, 4242-4251.

Three networks of one form give 512 semantic features F, and of these a code H = tanh(.) and the labels.  The
label network learns by itself, from pairs of labels; the image and the text network learn to have its
features and codes where items are relevant.  For each of them a discriminator learns to tell its features
from the label network's, and it learns to deceive the discriminator: in its phase the gradient goes through
the discriminator, which stands still, into the encoder.  (In the published code the discriminator reads a
placeholder there, and no gradient arrives.)  Each network in turn takes one pass, as each discriminator.

With t = half the inner product over the pairs of a batch, per network:

$$ α nll(s, F_{label} Fᵀ) + γ nll(s, H_{label} Hᵀ) + η ‖sign(H) - H‖² + β ‖labels - given‖² $$

Differences from the paper: the loss of its text, the likelihood, where the published code has a square;
means over pairs, items, bits and labels in place of sums; pairs within a batch in place of batch by training
set; the encoder moves D(F) towards the label network's target instead of away from its own, for the latter
has no end.  Paper silent: F is linear; batch norm in place of local response norm, without
which all texts of a few words start with nearly one code; Adam's rates fall geometrically, to a tenth.
By the published settings the discriminators must learn faster than the encoders: else the cheapest way to
deceive them, a shift of all features alike, gives all texts one code.  With relevant pairs weighed, as in
`SHORT`, they may learn as fast.

Shape suffixes: B = batch, K = bits, F = features, D = text dimensions, L = labels.
`h` is a relaxed code in [-1, 1]; `s` is relevance in {0, 1}.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.data.sides import Side
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from cmh.networks import image_heads, text_networks

ALPHA = 2  # of the likelihoods: the paper's theta is half the inner product


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of SSAH; weights and widths are those of the authors' code."""

    bits: int = 64  # the paper reports 16, 32, 64
    hidden: int = 4096  # of the label and the text network
    features: int = 512
    alpha: float = 1.0  # weight of the pairs of features
    gamma: float = 1.0  # weight of the pairs of codes
    eta: float = 0.01  # ours, weight of the quantisation: 1 fixes codes before pairs have moved them
    beta: float = 1.0  # weight of the predicted labels
    delta: float = 1.0  # weight of the adversarial term; 0 is the paper's ablation
    lr_label: float = 1e-3  # ours; the authors' 1e-2 makes the features explode after batch norm
    lr_image: float = 10**-3.5  # ours, as the text network; authors' code: 10^-4.5, for a whole CNN-F
    lr_text: float = 10**-3.5  # authors' code
    lr_discriminator: float = 1e-3  # authors' code
    decay: float = 0.1  # ours, of all rates over all epochs
    relevant_weight: float | Literal["balanced"] = 1.0  # ours; 1 is the published loss

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "features", "decay")
        config_checks.positive(self, "relevant_weight", "lr_label", "lr_image", "lr_text", "lr_discriminator")
        config_checks.not_negative(self, "alpha", "gamma", "eta", "beta", "delta")


class Semantics(NamedTuple):
    """What a network says of a batch."""

    features_BF: Tensor
    h_BK: Tensor
    labels_BL: Tensor  # in [0, 1]


class SSAH(Method):
    """Label, image and text network, and a discriminator for each of the latter."""

    REVISION = 2  # 2: no dead scales of texts
    # Relevant pairs are rare where labels are many: unweighted, longer codes are the worse for it.
    SHORT = MappingProxyType(
        {"hidden": 1024, "relevant_weight": "balanced", "lr_image": 1e-3, "lr_text": 1e-3}
    )
    VARIANTS = MappingProxyType({"without_adversary": {"delta": 0.0}})

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.config = config
        self.bits = config.bits
        self.backbone = backbone
        features, hidden = config.features, config.hidden
        image = image_heads.linear_head(inputs.image_channels, features)
        labels, words = (
            nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, features))
            for first in (
                nn.Linear(inputs.labels, hidden, bias=False),
                text_networks.MultiScaleLinear(inputs.text_dim, hidden, bias=False),
            )
        )
        self.label_tower = Network(labels, features, config.bits, inputs.labels)
        self.image_tower = Network(image, features, config.bits, inputs.labels)
        self.text_tower = Network(words, features, config.bits, inputs.labels)
        self.image_discriminator = discriminator(features)
        self.text_discriminator = discriminator(features)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """A pass for the label network; then for each modality one for its discriminator, one for itself."""
        c = self.config
        label, image, text, adversary = (
            Optimizer(kind="adam", lr=lr, decay=c.decay)
            for lr in (c.lr_label, c.lr_image, c.lr_text, c.lr_discriminator)
        )
        return (
            Phase(name="label", modules=("label_tower",), reads="labels", optimizer=label),
            Phase(
                name="image_discriminator",
                modules=("image_discriminator",),
                reads="image",
                optimizer=adversary,
            ),
            Phase(name="image", modules=("backbone", "image_tower"), reads="image", optimizer=image),
            Phase(
                name="text_discriminator", modules=("text_discriminator",), reads="text", optimizer=adversary
            ),
            Phase(name="text", modules=("text_tower",), reads="text", optimizer=text),
        )

    def forward(self, phase: str, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the weighted terms of a network, or of a discriminator.

        A network has `features`, `codes`, `quantisation`, `labels` and, but for the label network,
        `adversarial`; a discriminator has `discrimination`.

        discrimination = 1/2 mean_i ((D(F_label) - 1)^2 + D(F)^2); adversarial = delta mean_i (D(F) - 1)^2.
        """
        if phase == "label":
            taught: Semantics = self.label_tower(batch.labels_BL)
            return self._lessons(taught, taught, batch, memory)
        with torch.no_grad():
            teacher: Semantics = self.label_tower(batch.labels_BL)
        side: Side = "image" if phase.startswith("image") else "text"
        adversary = self.image_discriminator if side == "image" else self.text_discriminator
        with torch.set_grad_enabled(phase == side):
            taught = self._semantics(side, batch)
        memory.write(side, batch.index_B, taught.h_BK)
        judged_B1: Tensor = adversary(taught.features_BF)
        if phase != side:
            true_B1: Tensor = adversary(teacher.features_BF)
            return {"discrimination": ((true_B1 - 1).square().mean() + judged_B1.square().mean()) / 2}
        terms = self._lessons(taught, teacher, batch, memory)
        return terms | {"adversarial": self.config.delta * (judged_B1 - 1).square().mean()}

    def encode_image(self, image: Stages) -> Tensor:
        semantics: Semantics = self.image_tower(self.backbone(*image))
        return semantics.h_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        semantics: Semantics = self.text_tower(text_BD)
        return semantics.h_BK

    def _semantics(self, side: Side, batch: Batch) -> Semantics:
        if side == "image":
            assert batch.image is not None
            taught: Semantics = self.image_tower(self.backbone(*batch.image))
        else:
            assert batch.text_BD is not None
            taught = self.text_tower(batch.text_BD)
        return taught

    def _lessons(
        self, taught: Semantics, teacher: Semantics, batch: Batch, memory: CodeMemory
    ) -> dict[str, Tensor]:
        c = self.config
        labels_BL = distributed.gather(batch.labels_BL)
        s_BB = losses.relevance(labels_BL, labels_BL)
        weight = memory.weight_of_relevant(c.relevant_weight)

        def pairs(teaching: Tensor, learning: Tensor) -> Tensor:
            u_BX, v_BX = distributed.gather(teaching), distributed.gather(learning)
            return losses.pairwise_nll(u_BX, v_BX, s_BB, ALPHA, weight)

        sign_BK = torch.where(taught.h_BK >= 0, 1.0, -1.0).to(taught.h_BK.dtype)
        return {
            "features": c.alpha * pairs(teacher.features_BF, taught.features_BF),
            "codes": c.gamma * pairs(teacher.h_BK, taught.h_BK),
            "quantisation": c.eta * losses.quantisation(taught.h_BK, sign_BK),
            "labels": c.beta * (taught.labels_BL - batch.labels_BL).square().mean(),
        }


class Network(nn.Module):
    """A trunk that gives features, and two heads on these: code and labels."""

    def __init__(self, trunk: nn.Module, features: int, bits: int, labels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.code = nn.Linear(features, bits)
        self.labels = nn.Linear(features, labels)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)  # else all codes start, and may stay, alike

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Semantics:
        features_BF: Tensor = self.trunk(x)
        return Semantics(features_BF, self.code(features_BF).tanh(), self.labels(features_BF).sigmoid())


def discriminator(features: int) -> nn.Sequential:
    """Return a network from features (B, F) to (B, 1); 1 means the label network's.

    Its widths are F and F / 2, as in the authors' code.
    """
    half = max(1, features // 2)
    return nn.Sequential(
        nn.Linear(features, features), nn.ReLU(), nn.Linear(features, half), nn.ReLU(), nn.Linear(half, 1)
    )
