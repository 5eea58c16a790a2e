"""DVSH: Deep Visual-Semantic Hashing, towers that imitate the joint code of an image and its sentence.

Source: Cao, Long, Wang, Yang and Yu, Deep Visual-Semantic Hashing for Cross-Modal Retrieval, KDD 2016.

A fusion network sees the image and reads the sentence with an LSTM: after word t it has the joint embedding
h_t = tanh(W_x f + W_y r_t + c), of the image's features f and the LSTM's state r_t, and h is their average
over the words.  Two terms make it a code: a hinge on the cosine of pairs, max(0, mu - s_ij cos(h_i, h_j)), s
in {-1, 1}; and one on each bit, max(0, delta - |h_ik|), that keeps it off zero.  Two hashing networks, one
on the image alone and one with an LSTM of its own on the sentence alone, learn to give the same code, by the
squared distance, which moves h as well.  Items are encoded by these two; the fusion network serves in
training only.

The paper was recalled, not at hand.  Recalled: the networks, the average over time, both hinges, the squared
loss, that all learn at once.  Not recalled, and chosen: the sum in h_t (the paper fuses in an LSTM of two
layers), the sizes, margins, weights, and the optimiser (the paper: SGD with momentum 0.9).  Deviations: one
image backbone for fusion and hashing, the paper's AlexNet replaced by whichever is given; sums over pairs,
items and bits are means.

Shape suffixes: B = batch, T = words, K = bits, D = words of the vocabulary, H = hidden units, L = labels.
`h` is the joint code, `u` a tower's, both in [-1, 1]; `s` is relevance in {0, 1}.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh import distributed
from cmh.data.batches import Batch, Stages
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from cmh.networks import image_heads
from cmh.networks.text_networks import WordSequence, mean_over_words


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of DVSH; see above for what is known of the paper's."""

    bits: int = 64  # the paper reports 16 to 128
    hidden: int = 1000  # of both LSTMs: those of LRCN, whose network the paper extends
    margin: float = 0.5  # mu, of the cosine: chosen
    bit_margin: float = 0.5  # delta, of |h|: chosen
    lambda_: float = 0.1  # weight of the hinge on bits: chosen
    beta: float = 1.0  # weight of the squared loss, of each tower: chosen
    relevant_weight: float = 1.0  # of relevant pairs in the hinge; ours, 1 is the paper
    lr: float = 3e-4  # ours, of Adam
    decay: float = 0.1  # ours, of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "relevant_weight", "lr", "decay")
        config_checks.not_negative(self, "margin", "bit_margin", "lambda_", "beta")


class DVSH(Method):
    """Image: last stage, average, linear, tanh.  Text: LSTM, linear and tanh after each word, average."""

    sequences = True
    # Made with a look at figures of emoji's queries; `cmh tune dvsh` chooses by validation.
    SHORT: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"hidden": 256, "margin": 0.2, "relevant_weight": 8.0, "lr": 2e-3}
    )

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.config = config
        self.bits = config.bits
        self.backbone = backbone
        self.fusion = Fusion(inputs, config.hidden, config.bits)
        self.image_tower = image_heads.linear_head(inputs.image_channels, config.bits)
        self.text_tower = SentenceCode(inputs.text_dim, config.hidden, config.bits)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs, all networks moving."""
        optimizer = Optimizer(kind="adam", lr=self.config.lr, decay=self.config.decay)
        modules = ("backbone", "fusion", "image_tower", "text_tower")
        return (Phase(name="pairs", modules=modules, reads="both", optimizer=optimizer),)

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return (3, B, K): the joint codes, those of the images and those of the texts."""
        assert batch.image is not None
        assert batch.text_BD is not None
        maps = self.backbone(*batch.image)
        joint_BK = self.fusion(maps, batch.text_BD)
        image_BK = self.image_tower(maps).tanh()
        text_BK = self.encode_text(batch.text_BD)
        memory.write("image", batch.index_B, image_BK)
        memory.write("text", batch.index_B, text_BK)
        return torch.stack([joint_BK, image_BK, text_BK])

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return `cosine`, over all pairs of the global batch, `bits`, `image` and `text`.

        The last two make the codes of each network like the joint ones.
        """
        config = self.config
        joint_BK, image_BK, text_BK = codes
        h_BK, labels_BL = distributed.gather(joint_BK), distributed.gather(batch.labels_BL)
        s_BB = losses.relevance(labels_BL, labels_BL)
        return {
            "cosine": cosine_hinge(h_BK, s_BB, config.margin, config.relevant_weight),
            "bits": config.lambda_ * functional.relu(config.bit_margin - joint_BK.abs()).mean(),
            "image": config.beta * losses.quantisation(image_BK, joint_BK),
            "text": config.beta * losses.quantisation(text_BK, joint_BK),
        }

    def encode_image(self, image: Stages) -> Tensor:
        f_BK: Tensor = self.image_tower(self.backbone(*image))
        return f_BK.tanh()

    def encode_text(self, text_BD: Tensor) -> Tensor:
        """Encode word numbers (B, T), as `cmh.data.texts.sequences` gives them."""
        u_BK: Tensor = self.text_tower(text_BD)
        return u_BK


class SentenceCode(nn.Module):
    """Words in their order (B, T) to (B, K): LSTM, linear and tanh after each word, average."""

    def __init__(self, dim: int, hidden: int, bits: int) -> None:
        super().__init__()
        self.words = WordSequence(dim, hidden)
        self.code = nn.Linear(hidden, bits)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        state_BTH, there_BT = self.words(tokens_BT)
        return mean_over_words(self.code(state_BTH).tanh(), there_BT)


class Fusion(nn.Module):
    """An image's stage maps and its text's words (B, T) to the joint code (B, K)."""

    def __init__(self, inputs: Inputs, hidden: int, bits: int) -> None:
        super().__init__()
        self.image = image_heads.linear_head(inputs.image_channels, bits)
        self.words = WordSequence(inputs.text_dim, hidden)
        self.code = nn.Linear(hidden, bits, bias=False)

    def forward(self, maps: Stages, tokens_BT: Tensor) -> Tensor:
        state_BTH, there_BT = self.words(tokens_BT)
        embedding_BTK = (self.image(maps)[:, None] + self.code(state_BTH)).tanh()
        return mean_over_words(embedding_BTK, there_BT)


def cosine_hinge(h_BK: Tensor, s_BB: Tensor, margin: float, relevant_weight: float = 1.0) -> Tensor:
    """Return L = mean_ij w_ij max(0, margin - (2 s_ij - 1) cos(h_i, h_j)).

    The weight w_ij is relevant_weight where s_ij = 1, else 1.
    """
    hinge_BB = functional.relu(margin - (2 * s_BB - 1) * losses.cosine(h_BK, h_BK))
    return (hinge_BB * losses.pair_weights(s_BB, relevant_weight)).mean()
