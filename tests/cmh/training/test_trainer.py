"""The trainer: what a run computes, and that stopping, resuming and sharing it out change nothing.

Resumed runs are compared bit for bit.  Two workers take sums in another order than one, so their loss
curves are compared within float32 rounding (relative 1e-4 after 48 steps) and their codes exactly.
"""

from dataclasses import replace
from pathlib import Path
from time import process_time
from timeit import timeit

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cmh import distributed, methods
from cmh.data.batches import Batch
from cmh.data.items import Items
from cmh.hashing import encoding
from cmh.hashing.method import Inputs, Optimizer, Phase
from cmh.methods.scahn import SCAHN
from cmh.networks.backbones import Frozen
from cmh.training import checkpoint, schedule, trainer
from cmh.training.failures import CollapsedCodes, NonFiniteLoss
from tests import tiny

CONFIG = trainer.Config(epochs=3, batch_size=16, seed=5)
TRAIN, VALIDATION = tiny.items(128), tiny.items(40, seed=1)


def _fit(config=CONFIG, method=None, **kwargs):
    method = method or tiny.method()
    return method, trainer.fit(method, TRAIN, VALIDATION, config, **kwargs)


def _weights(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


def _scahn():
    torch.manual_seed(0)
    inputs = Inputs(image_channels=(2, tiny.CHANNELS - 2), text_dim=tiny.TEXT, labels=tiny.LABELS)
    config = methods.config("scahn", bits=32, stages=2, text="words")
    return SCAHN(config, inputs, Frozen(inputs.image_channels))


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_learns_and_ends_with_its_best_epoch():
    """MAP rises well above chance, and the weights at the end are those of the best epoch, not the last."""
    states, method = [], tiny.method()
    _, history = _fit(
        replace(CONFIG, epochs=6), method, on_epoch=lambda epoch, state: states.append(_weights(method))
    )
    best = trainer.best(history)
    assert best.score == max(epoch.score for epoch in history) > 0.6
    assert _same(_weights(method), states[best.number - 1])


def test_learning_rates_fall_geometrically_and_terms_are_named():
    """lr * decay^(epoch / epochs) per phase, and every loss term by phase."""
    _, history = _fit()
    assert [e.learning_rates["image"] for e in history] == pytest.approx([0.1 ** (e / 3) for e in range(3)])
    assert [e.learning_rates["text"] for e in history] == [0.05] * 3
    terms = {f"{phase}/{term}" for phase in ("image", "text") for term in ("inter", "pair", "quantization")}
    assert set(history[0].terms) == terms


def test_resumed_run_is_the_undisturbed_run(tmp_path: Path):
    """Stopped after any epoch, saved, loaded and resumed: same weights and same history, bit for bit."""
    config = replace(CONFIG, epochs=4)

    def keep(epoch, state):
        folder = tmp_path / str(epoch.number)
        folder.mkdir()
        checkpoint.save(state, folder)

    method, history = _fit(config, on_epoch=keep)
    for done in (1, 3, 4):
        torch.manual_seed(done * 1000)  # a resumed run finds torch's generator anywhere
        again, resumed = _fit(config, tiny.method(seed=7), state=checkpoint.load(tmp_path / str(done)))
        assert resumed == history
        assert _same(_weights(again), _weights(method))


def test_a_nested_run_resumes_from_a_file(tmp_path: Path):
    """Lengths of one and of two digits, which JSON keeps as text and sorts otherwise than numbers."""
    config = replace(CONFIG, epochs=2, prefixes={8: 1.0, 16: 0.5})
    states = []

    def keep(epoch, state):
        states.append(tmp_path / str(epoch.number))
        states[-1].mkdir()
        checkpoint.save(state, states[-1])

    method, _ = _fit(config, _scahn(), on_epoch=keep)
    again, _ = _fit(config, _scahn(), state=checkpoint.load(states[0]))
    assert _same(_weights(again), _weights(method))


def test_state_of_other_settings_is_refused(tmp_path: Path):
    """Resuming with another seed is an error that shows both settings."""
    _, _ = _fit(replace(CONFIG, epochs=1), on_epoch=lambda epoch, state: checkpoint.save(state, tmp_path))
    with pytest.raises(ValueError, match=r"'seed': 5.*'seed': 6.*same settings"):
        _fit(replace(CONFIG, epochs=1, seed=6), state=checkpoint.load(tmp_path))


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
    with pytest.raises(CollapsedCodes, match="same text code after epoch 1; lower the learning rate"):
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


def _worker(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    states = {}
    method, history = _fit(on_epoch=lambda epoch, state: states.update({epoch.number: state}))
    if rank == 0:
        torch.save([history, _codes(method)], f"{folder}/found.pt")
    resumed, again = _fit(
        method=tiny.method(seed=rank), state=None
    )  # other starts: the first worker's counts
    if rank == 0:
        assert _same(_weights(resumed), _weights(method))
        assert again == history
    with pytest.raises(ValueError, match=f"batch of 15 cannot be split evenly over {workers} workers; use"):
        _fit(replace(CONFIG, batch_size=15))
    dist.destroy_process_group()


def _codes(method):
    return [
        encoding.pack_codes(encoding.relaxed_codes(method, VALIDATION, side), encoding.bit_order(method))
        for side in ("image", "text")
    ]


@pytest.mark.slow
def test_workers_train_the_same_model(tmp_path: Path):
    """1 and 2 workers: the same loss curve within float32 rounding, and exactly the same codes."""
    mp.spawn(_worker, (2, str(tmp_path)), nprocs=2)
    found, found_codes = torch.load(tmp_path / "found.pt", weights_only=False)
    method, expected = _fit()
    for a, b in zip(found, expected, strict=True):
        assert a.terms == pytest.approx(b.terms, rel=1e-4)
        assert (a.map_image_to_text, a.map_text_to_image) == (b.map_image_to_text, b.map_text_to_image)
    assert all(np.array_equal(a, b) for a, b in zip(found_codes, _codes(method), strict=True))
    assert distributed.world_size() == 1


@pytest.mark.slow
def test_costs_little_over_a_bare_loop():
    """A pass of SCAHN takes at most 1/0.9 of the processor time of a plain loop over the same model and
    batches, at the sizes of frozen EfficientNet-lite0 features."""
    rng, channels, count = np.random.default_rng(0), (24, 40, 112, 1280), 2048
    data = Items(
        tuple(rng.standard_normal((count, c, 1, 1), np.float32) for c in channels),
        rng.integers(0, 2, (count, 30), np.uint8),
        rng.integers(0, 2, (count, 20), np.uint8),
        np.arange(count),
    )
    inputs = Inputs(image_channels=channels, text_dim=30, labels=20)
    method = SCAHN(methods.config("scahn", bits=64), inputs, Frozen(channels))
    run = trainer._Run(method, data, data, replace(CONFIG, batch_size=128))
    steps = schedule.plan(run.method.phases, len(data), 128, seed=0, epoch=0)[0]
    order = torch.from_numpy(np.concatenate([step.rows_B for step in steps]))
    stages, labels = [torch.from_numpy(stage) for stage in data.image], torch.from_numpy(data.label).float()

    def bare():
        optimizer = run.optimizers["image"]
        for rows in order.split(128):
            optimizer.zero_grad()
            batch = Batch(rows, tuple(stage[rows] for stage in stages), None, labels[rows])
            sum(run.method("image", batch, run.memory).values()).backward()
            optimizer.step()

    def seconds(work):
        return timeit(work, number=1, timer=process_time)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ratios = [seconds(bare) / seconds(lambda: run._pass(steps, 1)) for _ in range(7)]
    torch.set_num_threads(threads)
    assert sorted(ratios)[3] > 0.9, ratios
