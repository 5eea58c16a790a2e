"""JOINT: its loss against slow loops, what it does without labels or groups, and that it learns both."""

from typing import Any

import numpy as np
import pytest
import torch

from cmh.data.items import Items
from cmh.hashing import losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs
from cmh.methods.joint import ALPHA, Config, Joint
from cmh.networks.backbones import Frozen
from cmh.training import trainer
from tests import synthetic

CHANNELS, D, L, K = (5, 6), 12, 3, 16


def build(**settings: Any) -> Joint:
    torch.manual_seed(0)
    inputs = Inputs(image_channels=CHANNELS, text_dim=D, labels=L)
    return Joint(Config(bits=K, hidden=256, **settings), inputs, Frozen(CHANNELS))


def test_contrastive_loss_by_a_slow_loop() -> None:
    """Both ways, the targets of a row spread over its group."""
    torch.manual_seed(1)
    u, v = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    group = [0, 1, 0, 2, 1]
    total = 0.0
    for a, b in ((u, v), (v, u)):
        for i in range(5):
            cosines = [float(a[i] @ b[j] / a[i].norm() / b[j].norm()) / 0.2 for j in range(5)]
            log_all = np.log(sum(np.exp(cosines)))
            mine = [j for j in range(5) if group[j] == group[i]]
            total -= sum(cosines[j] - log_all for j in mine) / len(mine) / 10
    assert losses.contrastive(u, v, torch.tensor(group), 0.2).item() == pytest.approx(total)


@pytest.mark.parametrize("relevant_weight", ["balanced", 1.0])
def test_label_term_by_a_slow_loop(relevant_weight: float | str) -> None:
    """Every code against both memories, relevant pairs weighing half of all pairs, or alike; 1 on average."""
    memory = synthetic.random_memory(9, K, L)
    batch = synthetic.random_batch(9, 4, words=D, channels=CHANNELS, labels=L, memory=memory)
    codes = torch.rand(2, 4, K, dtype=torch.float64) * 2 - 1
    terms = build(relevant_weight=relevant_weight).loss("pairs", codes, batch, memory)
    share, total = memory.relevant_share, 0.0
    of_relevant = (1 - share) / share if relevant_weight == "balanced" else 1.0
    for side in range(2):
        for stored in (memory.image_NK, memory.text_NK):
            for i in range(4):
                for j in range(9):
                    theta = float(codes[side, i] @ stored[j]) * ALPHA / K
                    s = float((batch.labels_BL[i] * memory.labels_NL[j]).sum() > 0)
                    weight = of_relevant if s else 1.0
                    total += weight * (np.log1p(np.exp(-abs(theta))) + max(theta, 0) - s * theta) / 36
    assert terms["labels"].item() == pytest.approx(total / (share * of_relevant + 1 - share))
    assert terms["quantisation"].item() == pytest.approx(0.03 * float((codes.abs() - 1).square().mean()))


def test_without_groups_only_the_own_pair_counts() -> None:
    """The ablation's contrastive loss is that of items which are each a group of their own."""
    memory = synthetic.random_memory(9, K, L)
    memory.group_N = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    batch = synthetic.random_batch(9, 4, words=D, channels=CHANNELS, labels=L, memory=memory)
    codes = torch.rand(2, 4, K, dtype=torch.float64)
    with_groups, without = (
        build(groups=groups).loss("pairs", codes, batch, memory)["pairs"].item() for groups in (True, False)
    )
    assert without == pytest.approx(0.3 * losses.contrastive(*codes, torch.arange(4), 0.15).item())
    assert with_groups != pytest.approx(without)


def test_without_labels_there_are_pairs_alone() -> None:
    """No label term where no item has any, or there are no labels at all."""
    for labels_NL in (torch.zeros(9, L).double(), torch.zeros(9, 0).double()):
        memory = CodeMemory(labels_NL, K, seed=0)
        batch = synthetic.random_batch(9, 4, words=D, channels=CHANNELS, labels=L, memory=memory)
        codes = torch.rand(2, 4, K, dtype=torch.float64)
        assert set(build().loss("pairs", codes, batch, memory)) == {"pairs", "quantisation"}


@pytest.mark.slow
def test_a_label_that_all_items_have_says_nothing() -> None:
    """There are pairs alone, as without labels, and no division by a weight of nothing."""
    memory = CodeMemory(torch.ones(9, 1), bits=K, seed=0)
    batch = synthetic.random_batch(9, 4, words=D, channels=CHANNELS, labels=1, memory=memory)
    terms = build().loss("pairs", torch.rand(2, 4, K), batch, memory)
    assert terms.keys() == {"quantisation", "pairs"}
    assert all(torch.isfinite(term) for term in terms.values())


def test_it_finds_pairs_that_no_label_tells_apart() -> None:
    """Trained without a label on pairs of noisy views of one vector: validation items find their own pair."""
    rng = np.random.default_rng(0)

    def items(count: int) -> Items:
        meaning = rng.normal(size=(count, 6))
        image = meaning @ np.random.default_rng(1).normal(size=(6, sum(CHANNELS)))
        text = (meaning @ np.random.default_rng(2).normal(size=(6, D))).astype(np.float32)
        parts = np.split(image.astype(np.float32), [CHANNELS[0]], axis=1)
        stages = tuple(part[:, :, None, None] for part in parts)
        return Items(stages, text, np.zeros((count, 0), np.uint8), np.arange(count))

    history = trainer.fit(build(dropout=0.0), items(800), items(60), trainer.Config(epochs=20, batch_size=50))
    found = trainer.best(history).validation
    assert set(found) == {"recall_image_to_text", "recall_text_to_image"}
    assert min(found.values()) > 0.5  # chance: .09
