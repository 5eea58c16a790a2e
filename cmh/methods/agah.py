"""AGAH: critics bring the features of both modalities together, labels guide attention and have codes too.

Source: Gu, Gu, Gu, Li, Xiong and Wang, Adversary Guided Asymmetric Hashing for Cross-Modal Retrieval, ICMR
2019, 159-167.  Only its abstract and the authors' code (WendellGul/AGAH) were at hand; the formulas are the
code's.

Each modality has a critic, which learns to value its own features above the other's (Wasserstein, with a
gradient penalty), and features learn to be valued by the other's critic.  Attention then adds to an item's
features f those of the labels that it looks like: with m_l the mean features of label l, at unit length,

$$ f' = λ f + (1 - λ) Σ_l a_l m_l / Σ_l a_l,   a_l = sigmoid(5 f m_l),   h = tanh(W f') $$

Codes are compared with each other and, asymmetrically, with the binary code c_l of each label, y in {-1, 1}:

    triplets   max(0, margin + cos(h_i, g_k) - cos(h_i, g_j)), j relevant to i and k not, both ways
    cosine     alpha / (1 + exp(cos(|h|, 1)))
    code_map   gamma (h c_l - K y_l)^2
    quantisation   eta ||h - sign(h)||^2
    adversarial    mu times minus the critics' values

Choices where the code is no guide:
- The code's sums become means over triplets, items, bits and labels, (h c_l / K - y_l)^2 for the code map.
  Its weights are for sums; ours let triplets prevail: on emoji, 64 bits and 15 short epochs, MAP is .54 / .61
  (image to text / text to image), and with ten to a hundred times the others' weights .21 / .16.  Neither
  critics nor label codes help there: .55 / .60 without them.
- Features have unit length each; the code divides by the norm of the whole batch, at retrieval too.
- The means m_l run over the last some thousand items (`memory`), where the code takes them once an epoch;
  they are 0 until a label is seen.
- Critics and the rest take batches in turn, one and `hash_steps`; in the code both take every batch.
- Adam in place of Adamax, at one rate for all; the code's image network has a tenth of the others'.
- The code's label classifier, of weight 0 there, is left out.
- Label codes are renewed, there once an epoch, whenever the rest's batches have held N items since the last
  time; the critics' do not count: about every (hash_steps + 1) / hash_steps epochs.

The label codes are renewed bit by bit, from the signs of all codes H, G of the training items: each bit is
the sign that minimises sum_{H, G} ||K Y - H C^T||^2 (Y in {0, 1}, so that rare labels count) plus
||K S - C C^T||^2 (S 1 on the diagonal, else -1; the right C as it stands).

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L = labels, F = features.
`h` is a relaxed code in [-1, 1]; `c` is the code of a label in {-1, +1}.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from cmh.networks import image_heads, text_networks

SHARPNESS = 5  # of the attention: authors' code
PENALTY = 10  # weight of the critics' gradient penalty: authors' code


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of AGAH; the defaults are those of the authors' code unless said otherwise."""

    bits: int = 64  # the paper reports 16, 32, 64
    features: int = 512
    text_hidden: int = 8192  # first layer of the text network
    text_middle: int = 4096  # second layer
    lambda_: float = 0.8  # share of an item's own features
    margin: float = 0.3
    alpha: float = 0.01  # ours, of means; authors' code: 1, of sums
    gamma: float = 0.02  # ours, of means; authors' code: 0.001, of sums
    eta: float = 0.01  # ours, of means; authors' code: 1, of sums
    mu: float = 0.01  # ours, of means; authors' code: 1, beside sums
    memory: float = 0.98  # ours: what of the label means a batch leaves
    hash_steps: int = 1  # batches of the rest for each of the critics
    lr: float = 1e-4  # of the authors' image network; ten times that elsewhere
    lr_critic: float = 1e-3
    weight_decay: float = 5e-4  # of the critics: a fifth
    decay: float = 0.216  # of lr over all epochs: 0.6 every 100 of 300

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "features", "text_hidden", "text_middle", "hash_steps")
        config_checks.positive(self, "lr", "lr_critic", "decay")
        config_checks.not_negative(self, "margin", "alpha", "gamma", "eta", "mu", "weight_decay")
        for name in ("lambda_", "memory"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, got {getattr(self, name)}")


class Encoded(NamedTuple):
    """What becomes of one modality of a batch."""

    features_BF: Tensor  # at unit length
    h_BK: Tensor


class AGAH(Method):
    """Image: last stage, average, linear, ReLU.  Text: three layers with ReLU.  Attention, linear, tanh."""

    REVISION = 2  # 2: without the label counts
    # Made with a look at figures of emoji's queries; `cmh tune agah` chooses by validation.
    SHORT = MappingProxyType({"text_hidden": 1024, "text_middle": 512, "lr": 1e-3, "hash_steps": 4})
    label_sum_LF: Tensor
    label_code_LK: Tensor
    seen: Tensor

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.config = config
        self.bits = config.bits
        self.backbone = backbone
        width = config.features
        self.image_features = nn.Sequential(
            image_heads.LastStage(), nn.Linear(inputs.image_channels[-1], width), nn.ReLU()
        )
        self.text_features = nn.Sequential(
            text_networks.WordLinear(inputs.text_dim, config.text_hidden, (1 / inputs.text_dim) ** 0.5),
            nn.ReLU(),
            nn.Linear(config.text_hidden, config.text_middle),
            nn.ReLU(),
            nn.Linear(config.text_middle, width),
            nn.ReLU(),
        )
        self.image_hash, self.text_hash = (
            nn.Sequential(nn.Linear(width, config.bits), nn.Tanh()) for _ in range(2)
        )
        self.image_critic, self.text_critic = (_critic(width) for _ in range(2))
        self.register_buffer("label_sum_LF", torch.zeros(inputs.labels, width))
        self.register_buffer("label_code_LK", _signs(torch.randn(inputs.labels, config.bits)))
        self.register_buffer(
            "seen", torch.zeros((), dtype=torch.int64)
        )  # items of the rest since the last renewal

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One batch for the critics, `hash_steps` for the rest, in turn."""
        c = self.config
        critics = Optimizer(kind="adam", lr=c.lr_critic, betas=(0.5, 0.9), weight_decay=c.weight_decay / 5)
        rest = Optimizer(kind="adam", lr=c.lr, weight_decay=c.weight_decay, decay=c.decay)
        hashing = ("backbone", "image_features", "text_features", "image_hash", "text_hash")
        return (
            Phase(
                name="critics",
                modules=("image_critic", "text_critic"),
                reads="both",
                optimizer=critics,
                steps=1,
            ),
            Phase(name="hash", modules=hashing, reads="both", optimizer=rest, steps=c.hash_steps),
        )

    def forward(self, phase: str, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the terms of the critics: `image` and `text`.

        Each is minus how far the critic tells features apart, with the penalty.

        Of the rest: `triplets`, `cosine`, `code_map`, `quantisation` and `adversarial`, each with its weight.
        """
        assert batch.image is not None
        assert batch.text_BD is not None
        with torch.set_grad_enabled(phase == "hash"):
            image, text = self._image(batch.image), self._text(batch.text_BD)
        memory.write("image", batch.index_B, image.h_BK)
        memory.write("text", batch.index_B, text.h_BK)
        if phase == "critics":
            return {
                "image": criticism(self.image_critic, image.features_BF, text.features_BF),
                "text": criticism(self.text_critic, text.features_BF, image.features_BF),
            }
        terms = self._lessons(image, text, batch)
        self._remember(image, text, batch, memory)
        return terms

    def encode_image(self, image: Stages) -> Tensor:
        return self._image(image).h_BK

    def encode_text(self, text_BD: Tensor) -> Tensor:
        return self._text(text_BD).h_BK

    def _image(self, image: Stages) -> Encoded:
        f_BF = functional.normalize(self.image_features(self.backbone(*image)))
        return Encoded(f_BF, self.image_hash(self._attend(f_BF)))

    def _text(self, text_BD: Tensor) -> Encoded:
        f_BF = functional.normalize(self.text_features(text_BD))
        return Encoded(f_BF, self.text_hash(self._attend(f_BF)))

    def _attend(self, f_BF: Tensor) -> Tensor:
        """Return features with those of the labels that they look like."""
        mean_LF = functional.normalize(self.label_sum_LF)  # a sum has the direction of its mean
        weight_BL = (SHARPNESS * f_BF @ mean_LF.T).sigmoid()
        attended_BF = weight_BL @ mean_LF / weight_BL.sum(1, keepdim=True)
        return self.config.lambda_ * f_BF + (1 - self.config.lambda_) * attended_BF

    def _lessons(self, image: Encoded, text: Encoded, batch: Batch) -> dict[str, Tensor]:
        c = self.config
        u_BK, v_BK, y_BL = (distributed.gather(x) for x in (image.h_BK, text.h_BK, batch.labels_BL))
        d_BB, s_BB = 1 - losses.cosine(u_BK, v_BK), losses.relevance(y_BL, y_BL)
        both_BK, twice_BL = torch.cat([image.h_BK, text.h_BK]), torch.cat([batch.labels_BL] * 2)
        valued = self.text_critic(image.features_BF) + self.image_critic(text.features_BF)
        return {
            "triplets": losses.triplet_margin(d_BB, s_BB, c.margin)
            + losses.triplet_margin(d_BB.T, s_BB, c.margin),
            "cosine": 2 * c.alpha * cosine_quantisation(both_BK).mean(),
            "code_map": 2
            * c.gamma
            * (both_BK @ self.label_code_LK.T / c.bits - (2 * twice_BL - 1)).square().mean(),
            "quantisation": 2 * c.eta * losses.quantisation(both_BK, _signs(both_BK)),
            "adversarial": -c.mu * valued.mean(),
        }

    @torch.no_grad()
    def _remember(self, image: Encoded, text: Encoded, batch: Batch, memory: CodeMemory) -> None:
        """Let the label means follow, and renew the label codes once this was called for N items."""
        labels_BL = distributed.gather(batch.labels_BL)
        features_BF = distributed.gather(image.features_BF + text.features_BF) / 2
        # in a new tensor: the gradient of this step still needs the old one
        self.label_sum_LF = self.config.memory * self.label_sum_LF + labels_BL.T @ features_BF
        self.seen += len(features_BF)
        if self.seen >= len(memory.labels_NL):
            self.seen.zero_()
            codes = (_signs(memory.image_NK), _signs(memory.text_NK))
            self.label_code_LK = label_codes(self.label_code_LK, codes, memory.labels_NL)


def cosine_quantisation(h_BK: Tensor) -> Tensor:
    """Return (B,) 1 / (1 + exp(cos(|h|, 1))): lowest where all bits are equally sure."""
    absolute_BK = h_BK.abs()
    return (-functional.cosine_similarity(absolute_BK, torch.ones_like(absolute_BK))).sigmoid()


def criticism(critic: nn.Module, own_BF: Tensor, other_BF: Tensor) -> Tensor:
    """Return mean D(other) - mean D(own) + 10 mean (||grad D(x)|| - 1)^2.

    `x` lies between the two, at a place drawn for each number.

    Source: Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017, as in the authors' code.
    """
    rank, workers = distributed.rank(), distributed.world_size()
    share_BF = torch.rand(len(own_BF) * workers, own_BF.shape[1]).to(own_BF)[rank::workers]
    between_BF = (share_BF * own_BF + (1 - share_BF) * other_BF).detach().requires_grad_()
    (slope_BF,) = torch.autograd.grad(critic(between_BF).sum(), between_BF, create_graph=True)
    penalty: Tensor = (slope_BF.norm(dim=1) - 1).square().mean()
    value: Tensor = critic(other_BF).mean() - critic(own_BF).mean()
    return value + PENALTY * penalty


def label_codes(c_LK: Tensor, codes: tuple[Tensor, ...], labels_NL: Tensor) -> Tensor:
    """Return C with its bits set anew, one after another, from codes (N, K) in {-1, +1} of each modality."""
    c_LK, bits = c_LK.clone(), c_LK.shape[1]
    # K S C = K (2 C - 1 1^T C): what the labels' codes among themselves ask for
    wanted_LK = bits * (sum(labels_NL.T @ b_NK for b_NK in codes) + 2 * c_LK - c_LK.sum(0))
    gram_KK = sum(b_NK.T @ b_NK for b_NK in codes) + c_LK.T @ c_LK
    gram_KK.fill_diagonal_(0)
    for k in range(bits):
        c_LK[:, k] = _signs(wanted_LK[:, k] - c_LK @ gram_KK[:, k])
    return c_LK


def _signs(u: Tensor) -> Tensor:
    return torch.where(u >= 0, 1.0, -1.0).to(u.dtype)


def _critic(features: int) -> nn.Sequential:
    """Return features (B, F) to (B, 1): of widths F, F / 2, as authors' code."""
    half = max(1, features // 2)
    return nn.Sequential(
        nn.Linear(features, features), nn.ReLU(), nn.Linear(features, half), nn.ReLU(), nn.Linear(half, 1)
    )
