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
from cmh.codes import hamming
from cmh.data.batches import Batch
from cmh.data.items import Items
from cmh.hashing import encoding
from cmh.hashing.method import Inputs
from cmh.methods.scahn import SCAHN
from cmh.networks.backbones import Frozen
from cmh.training import checkpoint, schedule, trainer
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


def test_a_trained_start_is_kept_where_no_epoch_is_better(monkeypatch: pytest.MonkeyPatch):
    """Its weights count as epoch 0; a run that spoils them ends with them, one that gains does not."""
    method, _ = _fit(replace(CONFIG, epochs=6))
    start = _weights(method)
    wild = tuple(replace(p, optimizer=replace(p.optimizer, lr=30.0)) for p in method.phases)
    with monkeypatch.context() as patch:
        patch.setattr(type(method), "phases", wild)
        _, history = _fit(method=method, trained=True)
    assert [epoch.number for epoch in history] == [0, 1, 2, 3]
    assert trainer.best(history).number == 0
    assert (history[0].terms, history[0].learning_rates) == ({}, {})
    assert _same(_weights(method), start)
    fresh = tiny.method()
    _, history = _fit(method=fresh, trained=True)
    assert trainer.best(history).number > 0
    assert not _same(_weights(fresh), start)


def test_a_run_from_a_trained_start_resumes(tmp_path: Path):
    """Broken off after its first epoch, it ends as the undisturbed one, epoch 0 included."""
    whole, history = _fit(trained=True)

    def first(epoch, state):
        checkpoint.save(state, tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fit(on_epoch=first, trained=True)
    resumed, again = _fit(state=checkpoint.load(tmp_path), trained=True)
    assert [epoch.number for epoch in again] == [0, 1, 2, 3]
    assert [epoch.score for epoch in again] == [epoch.score for epoch in history]
    assert _same(_weights(resumed), _weights(whole))


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
        hamming.pack_relaxed(encoding.relaxed_codes(method, VALIDATION, side), encoding.bit_order(method))
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
        assert a.validation == b.validation
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
