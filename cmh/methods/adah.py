"""ADAH: attention-aware deep adversarial hashing for cross-modal retrieval.

Source: Zhang, Lai and Feng, Attention-aware Deep Adversarial Hashing for Cross-Modal Retrieval, ECCV 2018,
with equation numbers of the paper.

An attention module cuts the features of each modality into attended and unattended ones, by a mask of zeros
and ones.  The hashing module learns to rank by both; the attention module learns to make ranking by the
unattended ones fail, so that what matters must be attended.  Codes are those of the attended features.

Where the paper is silent or contradicts itself:

- The margin of the triplets is not stated: `margin` times sqrt(K), as distances grow with sqrt(K).
- The rate is given as "ADAM (2e-4, beta1 .5)" and as .005 divided by 10 every 20 epochs; we take the former.
- The threshold of the text mask: `text_threshold` over the number of features, as that of images is 1 over
  that of places.  The adversary narrows the mask: from 1, to an eighth of the features on emoji, and codes
  suffer; from 0.01, to nine tenths.

Deviations: losses are means over triplets in place of sums.  fc6 reads the masked map averaged to `pool` x
`pool` places; the paper's VGG-19 reads 7 x 7, with weights learnt on ImageNet, here it starts afresh.

Shape suffixes: B = batch, K = bits, D = text dimensions, F = text features, L = labels, C, H, W = stage map.
`u` is a relaxed code in [-1, 1]; `s` is relevance in {0, 1}; `d` is Euclidean distance.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from cmh.data.batches import Batch, Stages
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import whole_batch
from cmh.hashing.method import Inputs, Method, Optimizer, Phase
from cmh.networks import text_networks
from cmh.networks.pooling import GridPool

IMAGE, TEXT, IMAGE_UNATTENDED, TEXT_UNATTENDED = range(4)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of ADAH; the defaults are the paper's unless said otherwise."""

    bits: int = 64  # the paper reports 16 to 64
    attention: Literal["both", "image", "text", "none"] = "both"  # others: ablations of table 4
    adversarial: bool = (
        True  # ours; False: ablation, attention learns with the rest, from attended codes only
    )
    margin: float = 0.3  # ours, times sqrt(bits): on 558 emoji better than .5 and 1
    stage: int = -1  # of the backbone's maps: conv5_4 is VGG-19's last here
    pool: int = 1  # ours: places a side that fc6 reads; paper: 7
    hidden: int = 4096  # of fc6 and fc7: VGG
    text_hidden: int = 8192
    text_features: int = 1000
    text_threshold: float = 1.0  # ours, see above
    lr: float = 2e-4  # Adam
    beta1: float = 0.5
    decay: float = 1.0  # of lr over all epochs, see above
    hash_steps: int = 4  # batches of features and hashing for each of attention

    def __post_init__(self) -> None:
        config_checks.positive(
            self,
            *("bits", "margin", "pool", "hidden", "text_hidden", "text_features", "text_threshold"),
            *("lr", "decay", "hash_steps"),
        )
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"beta1 must be at least 0 and below 1, got {self.beta1}")


class ADAH(Method):
    """Attention finds what to hash by trying to make hashing of the rest fail."""

    # Narrow layers: an epoch of the published widths takes 14 times as long on a CPU.
    SHORT = MappingProxyType(
        {"lr": 1e-3, "decay": 0.03, "hidden": 512, "text_hidden": 1024, "text_threshold": 0.01}
    )
    VARIANTS = MappingProxyType(
        {
            "image_attention": {"attention": "image"},
            "text_attention": {"attention": "text"},
            "without_attention": {"attention": "none"},
            "without_adversary": {"adversarial": False},
        }
    )

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        there = len(inputs.image_channels)
        if not -there <= config.stage < there:
            raise ValueError(f"stage must be {-there} to {there - 1}, got {config.stage}")
        self.config = config
        self.bits = config.bits
        self.backbone = backbone
        channels, width, bits = inputs.image_channels[config.stage], config.hidden, config.bits
        self.text_features = text_networks.mlp(inputs.text_dim, config.text_hidden, config.text_features)
        if self._attends(IMAGE):
            self.image_attention = nn.Conv2d(channels, 1, 1)
        if self._attends(TEXT):
            self.text_attention = _gaussian(nn.Linear(config.text_features, config.text_features))
        self.image_hash = nn.Sequential(
            nn.Linear(channels * config.pool**2, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, bits),
            nn.Tanh(),
        )
        self.text_hash = nn.Sequential(_gaussian(nn.Linear(config.text_features, bits)), nn.Tanh())

    @classmethod
    def reads_maps(cls, config: Config) -> bool:
        return config.attention in ("both", "image") or config.pool > 1

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Four steps of features and hashing (eq. 8), one of attention (eq. 9), in turn.

        Without an adversary, attention moves with the rest.
        """
        c = self.config
        adam = Optimizer(kind="adam", lr=c.lr, betas=(c.beta1, 0.999), decay=c.decay)
        hashing = ("backbone", "text_features", "image_hash", "text_hash")
        attention = tuple(n for n in ("image_attention", "text_attention") if hasattr(self, n))
        if not (c.adversarial and attention):
            return (Phase(name="hash", modules=hashing + attention, reads="both", optimizer=adam),)
        return (
            Phase(name="hash", modules=hashing, reads="both", optimizer=adam, steps=c.hash_steps),
            Phase(name="attention", modules=attention, reads="both", optimizer=adam, steps=1),
        )

    def codes(self, phase: str, batch: Batch, memory: CodeMemory) -> Tensor:
        """Return u (4, B, K): image, text, unattended image, unattended text."""
        assert batch.image is not None
        assert batch.text_BD is not None
        map_BCHW, text_BF = self._map(batch.image), self.text_features(batch.text_BD)
        image_mask, text_mask = self._image_mask(map_BCHW), self._text_mask(text_BF)
        codes = torch.stack(
            [
                self._hash_image(map_BCHW * image_mask),
                self.text_hash(text_BF * text_mask),
                self._hash_image(map_BCHW * (1 - image_mask)),
                self.text_hash(text_BF * (1 - text_mask)),
            ]
        )
        memory.write("image", batch.index_B, codes[IMAGE])
        memory.write("text", batch.index_B, codes[TEXT])
        return codes

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return all six ranking losses (eq. 8), or minus the two of unattended codes (eq. 9)."""
        everyone, s_BB = whole_batch(codes, batch)
        margin = self.config.margin * math.sqrt(codes.shape[-1])

        def ranking(query: int, database: int) -> Tensor:
            return triplet_ranking(everyone[query], everyone[database], s_BB, margin)

        unattended = {}
        if self.config.adversarial and self._attends(IMAGE):
            unattended["text_to_unattended_image"] = ranking(TEXT, IMAGE_UNATTENDED)
        if self.config.adversarial and self._attends(TEXT):
            unattended["image_to_unattended_text"] = ranking(IMAGE, TEXT_UNATTENDED)
        if phase == "attention":
            return {name: -term for name, term in unattended.items()}
        return unattended | {
            "text_to_image": ranking(TEXT, IMAGE),
            "image_to_text": ranking(IMAGE, TEXT),
            "image_to_image": ranking(IMAGE, IMAGE),
            "text_to_text": ranking(TEXT, TEXT),
        }

    def encode_image(self, image: Stages) -> Tensor:
        map_BCHW = self._map(image)
        return self._hash_image(map_BCHW * self._image_mask(map_BCHW))

    def encode_text(self, text_BD: Tensor) -> Tensor:
        text_BF = self.text_features(text_BD)
        u_BK: Tensor = self.text_hash(text_BF * self._text_mask(text_BF))
        return u_BK

    def attended(self, image: Stages) -> Tensor | None:
        """Return (B, H, W) float32, 1 at the attended places of the stage map: the paper's figure 6."""
        if not self._attends(IMAGE):
            return None
        map_BCHW = self._map(image)
        return self._image_mask(map_BCHW).detach()[:, 0].expand(-1, *map_BCHW.shape[2:])

    def _attends(self, side: int) -> bool:
        return self.config.attention in ("both", "image" if side == IMAGE else "text")

    def _map(self, image: Stages) -> Tensor:
        maps: tuple[Tensor, ...] = self.backbone(*image)
        map_BCHW = maps[self.config.stage]
        if self._attends(IMAGE) and map_BCHW.shape[2:] == (1, 1):
            raise ValueError(
                "ADAH attends to places of an image, but its features are pooled to one place; give stage "
                'maps, larger images, an earlier stage, or set attention="text"'
            )
        return map_BCHW

    def _image_mask(self, map_BCHW: Tensor) -> Tensor:
        """Return (B, 1, H, W), eq. 1; all 1 where images are not attended to."""
        if not self._attends(IMAGE):
            return torch.ones_like(map_BCHW[:1, :1, :1, :1])
        score = self.image_attention(map_BCHW)
        return above(score.flatten(1).softmax(1), 1 / score[0].numel()).view_as(score)

    def _text_mask(self, text_BF: Tensor) -> Tensor:
        """Return (B, F), eq. 3; all 1 where texts are not attended to."""
        if not self._attends(TEXT):
            return torch.ones_like(text_BF)
        return above(self.text_attention(text_BF).softmax(1), self.config.text_threshold / text_BF.shape[1])

    def _hash_image(self, map_BCHW: Tensor) -> Tensor:
        u_BK: Tensor = self.image_hash(GridPool(self.config.pool)(map_BCHW).flatten(1))
        return u_BK


def above(p: Tensor, threshold: float) -> Tensor:
    """Return 1 where p >= threshold, else 0; the gradient passes as if it were p.

    Source: eq. 1 with the straight-through estimator.
    """
    return (p >= threshold).to(p.dtype) + (p - p.detach())


def triplet_ranking(query_BK: Tensor, database_BK: Tensor, s_BB: Tensor, margin: float) -> Tensor:
    """Return `losses.triplet_margin` of Euclidean distances.

    Source: eq. 5.  Deviation: the mean over triplets in place of the sum.
    """
    # not by matrix products, which lose the digits of small distances
    d_BB = torch.cdist(query_BK, database_BK, compute_mode="donot_use_mm_for_euclid_dist")
    return losses.triplet_margin(d_BB, s_BB, margin)


def _gaussian(linear: nn.Linear) -> nn.Linear:
    """Return weights N(0, .01), biases 0: the paper's for text."""
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear
