"""Phases of a training, and what ends it: patience, losses that diverge, codes that collapse, settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmh.hashing.method import Optimizer, Phase
from cmh.training import schedule, trainer
from cmh.training.failures import CollapsedCodes, NonFiniteLoss
from tests import tiny
from tests.cmh.training.test_trainer import CONFIG, TRAIN, VALIDATION, _fit, _weights


def test_only_the_phase_moves():
    """A step of one phase leaves the other tower, and what the caller froze, as they were."""
    method = tiny.method()
    method.image_tower[1].weight.requires_grad_(False)
    before = _weights(method)
    seen = []
    forward = method.forward

    def watched(phase, batch, memory):
        seen.append((phase, {name for name, p in method.named_parameters() if p.requires_grad}))
        return forward(phase, batch, memory)

    method.forward = watched
    _fit(replace(CONFIG, epochs=1), method)
    moving = {
        "image": {"image_tower.0.weight", "image_tower.0.bias", "image_tower.1.bias"},
        "text": {"text_tower.0.weight", "text_tower.1.weight", "text_tower.1.bias"},
    }
    assert all(names == moving[phase] for phase, names in seen)
    assert [phase for phase, _ in seen] == ["image"] * 8 + ["text"] * 8
    assert torch.equal(method.image_tower[1].weight, before["image_tower.1.weight"])
    assert {n for n, p in method.named_parameters() if not p.requires_grad} == {"image_tower.1.weight"}


def test_phases_with_steps_share_a_pass():
    """k batches each in turn, every item once; phases without steps have a pass and an order of their own."""
    sgd = Optimizer(lr=1)

    def phase(name, steps=None):
        return Phase(name=name, modules=(), reads="both", optimizer=sgd, steps=steps)

    plan = schedule.plan((phase("a"), phase("b", 3), phase("c", 1), phase("d")), 23, 2, seed=0, epoch=0)
    assert ["".join(step.phase.name for step in steps) for steps in plan] == [
        "a" * 11,
        "bbbcbbbcbbb",
        "d" * 11,
    ]
    orders = [np.concatenate([step.rows_B for step in steps]) for steps in plan]
    assert all(len(set(order.tolist())) == 22 for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    again = schedule.plan((phase("a"),), 23, 2, seed=0, epoch=1)
    assert not np.array_equal(orders[0], np.concatenate([step.rows_B for step in again[0]]))


def test_stops_early_when_patience_is_out():
    """With a learning rate of nothing no epoch beats the first, so patience 2 ends after epoch 3."""
    method = tiny.method(lr=0.0)
    method.image_tower[0].momentum = method.text_tower[1].momentum = 0.0
    _, history = _fit(replace(CONFIG, epochs=9, patience=2), method)
    assert [epoch.number for epoch in history] == [1, 2, 3]


def test_non_finite_loss_names_its_place():
    """The error says phase, step, epoch and terms, and the state of the epoch before was handed out."""
    method, kept = tiny.method(), []
    forward, calls = method.forward, []

    def poisoned(phase, batch, memory):
        calls.append(phase)
        terms = forward(phase, batch, memory)
        return terms | ({"pair": terms["pair"] * float("nan")} if len(calls) == 16 + 8 + 4 else {})

    method.forward = poisoned
    with pytest.raises(NonFiniteLoss, match=r"pair = nan.* in phase 'text', step 3 of epoch 2") as caught:
        _fit(method=method, on_epoch=lambda epoch, state: kept.append(epoch.number))
    assert (caught.value.phase, caught.value.step, caught.value.epoch) == ("text", 3, 2)
    assert "the checkpoint of the epoch before is good" in str(caught.value)
    assert "checkpoint" not in str(NonFiniteLoss("text", 3, 1, {"pair": float("nan")}))
    assert kept == [1]


def test_collapsed_codes_stop_with_advice():
    """A tower that gives everyone the same code ends the run with a message that says what to try."""
    method = tiny.method()
    torch.nn.init.zeros_(method.text_tower[1].weight)
    method.text_tower[1].requires_grad_(False)
    with pytest.raises(CollapsedCodes, match=r"same text code after epoch 1; .* lower the learning rate"):
        _fit(method=method)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(CONFIG, batch_size=129), "128 training items are fewer than one batch of 129"),
        (replace(CONFIG, precision="bfloat16"), "bfloat16 needs a GPU"),
        (replace(CONFIG, epochs=0), "epochs must be positive, got 0"),
        (replace(CONFIG, batch_size=-1), "batch_size must be positive, got -1"),
    ],
)
def test_impossible_settings_are_refused_before_training(config, message):
    """Each says what was given and what to do."""
    with pytest.raises(ValueError, match=message):
        _fit(config, on_epoch=lambda epoch, state: pytest.fail("trained"))


def test_too_few_batches_for_all_phases_are_refused():
    """Phases that take turns of 1 + 8 batches never reach the second with 8 batches an epoch."""
    method = tiny.method()
    image, text = method.phases
    turns = (replace(image, steps=8), replace(text, steps=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(method), "phases", turns)
        with pytest.raises(ValueError, match=r"turns of 9 batches, .* make 8 of 16: .* batch_size to 14"):
            _fit(method=method)
        _fit(replace(CONFIG, batch_size=14, epochs=1), method)


def test_too_few_items_are_refused():
    """Fewer items than bits, and no validation items."""
    with pytest.raises(ValueError, match="128 training items are fewer than the 256 bits"):
        _fit(method=tiny.method(bits=256))
    with pytest.raises(ValueError, match="no validation items"):
        trainer.fit(tiny.method(), TRAIN, VALIDATION.every(1, 40), CONFIG)
