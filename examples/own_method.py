"""Write a hashing method in one file, train it, and measure it: MAP against chance, in a few seconds.

python examples/own_method.py

The method is a linear layer per modality; its loss pulls codes of items that share a label together and
pushes the others apart.  In the project the class would be `cmh/methods/<name>.py`.

Shape suffixes: B = batch, K = bits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cmh.codes import hamming
from cmh.data.batches import Batch
from cmh.data.items import Items
from cmh.evaluation import metrics
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.deep import Towers, together, whole_batch
from cmh.hashing.encoding import relaxed_codes
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.networks.backbones import Frozen
from cmh.networks.image_heads import linear_head
from cmh.training import trainer


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the method."""

    bits: int = 32
    lr: float = 1e-2


class Linear(Towers):
    """One linear layer per modality, on features and on words; codes are tanh of it."""

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.image_tower = nn.Sequential(linear_head(inputs.image_channels, config.bits), nn.Tanh())
        self.text_tower = nn.Sequential(nn.Linear(inputs.text_dim, config.bits), nn.Tanh())

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs per epoch, both layers learning."""
        return together(Optimizer(kind="adam", lr=self.config.lr))

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return the negative log likelihood of the pairs of the global batch, as a mean over them.

        L = mean_ij [log(1 + exp t_ij) - s_ij t_ij],   t = u_image u_text^T / 2
        """
        (image_BK, text_BK), relevant_BB = whole_batch(codes, batch)
        return {"pairs": binary_cross_entropy_with_logits(image_BK @ text_BK.T / 2, relevant_BB)}


def synthetic(count: int, seed: int) -> Items:
    """Draw items of five classes: features and words that know their class, in noise."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    label = np.eye(5, dtype=np.uint8)[rng.integers(5, size=count)]
    image = label @ fixed.normal(size=(5, 16)) + rng.normal(size=(count, 16))
    text = rng.random((count, 40)) < label @ fixed.uniform(0, 0.5, size=(5, 40)) + 0.05
    stages = (image[:, :, None, None].astype(np.float32),)
    return Items(stages, text.astype(np.uint8), label, np.arange(count))


def main() -> None:
    """Train on 1,000 items, and search 1,000 others with 200 queries, all of them new to the method."""
    torch.manual_seed(0)
    inputs = Inputs(image_channels=(16,), text_dim=40, labels=5)
    method = Linear(Config(), inputs, Frozen((16,)))
    trainer.fit(method, synthetic(1000, 1), synthetic(200, 2), trainer.Config(epochs=5, batch_size=50))
    database, query = synthetic(1000, 3), synthetic(200, 4)
    for asking, answering in (("image", "text"), ("text", "image")):
        scores = metrics.evaluate(
            hamming.pack(relaxed_codes(method, query, asking)),
            hamming.pack(relaxed_codes(method, database, answering)),
            query.label,
            database.label,
            bits=method.bits,
        )
        print(f"{asking} → {answering}: MAP {scores.map:.3f}, chance {scores.chance:.3f}")


if __name__ == "__main__":
    main()
