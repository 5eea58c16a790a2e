"""Nested codes: the loss of prefixes against the loss of codes that were short from the start."""

import json

import numpy as np
import pytest
import torch

from cmh import methods
from cmh.codes import hamming
from cmh.evaluation import metrics
from cmh.hashing import encoding
from cmh.hashing.code_memory import CodeMemory
from cmh.training import trainer
from cmh.training.checkpoint import State
from tests import tiny
from tests.cmh.methods.test_contract import K, batch, build, memory, pairs, started, with_phases

PREFIXES = {4: 0.5, 8: 2.0}


def nested_methods() -> list[str]:
    """Methods whose loss is one of codes alone."""
    return [name for name in with_phases() if "loss" in vars(methods.load(name))]


def cut(whole: CodeMemory, bits: int) -> CodeMemory:
    """A memory of its own that holds the first bits of `whole`."""
    short = CodeMemory(whole.labels_NL, bits, seed=1)
    short.load_state_dict({key: codes_NK[:, :bits] for key, codes_NK in whole.state_dict().items()})
    return short


@pytest.mark.parametrize("name", nested_methods())
def test_a_step_adds_the_losses_of_the_truncated_codes(name: str) -> None:
    """The terms add up to the loss of all bits and, weighed, those of codes and memory cut to each length."""
    method = started(build(name)).eval()
    for phase in method.phases:
        given, codes = batch(phase.reads, method), memory()
        method.prefixes = {}
        plain = sum(method(phase.name, given, codes).values()).item()
        method.prefixes = PREFIXES
        total = sum(method(phase.name, given, memory()).values()).item()
        u = method.codes(phase.name, given, codes).detach().clone()
        expected = plain + sum(
            weight
            * sum(method.loss(phase.name, u[..., :bits].clone(), given, cut(codes, bits)).values()).item()
            for bits, weight in PREFIXES.items()
        )
        assert total == pytest.approx(expected, rel=1e-4)
        assert abs(total - plain) > 1e-3


@pytest.mark.parametrize("name", nested_methods())
def test_the_loss_of_a_prefix_does_not_see_the_other_bits(name: str) -> None:
    """Its gradient is nonzero in the first bits and zero behind them."""
    method = started(build(name)).eval()
    for phase in method.phases:
        given, codes = batch(phase.reads, method), memory()
        u = method.codes(phase.name, given, codes).detach().clone().requires_grad_()
        sum(method.loss(phase.name, u[..., :8], given, codes.prefix(8)).values()).backward()
        assert u.grad is not None
        assert u.grad[..., :8].any()
        assert not u.grad[..., 8:].any()


def test_nested_training_gives_prefixes_that_find() -> None:
    """Half of the bits are learnt by heart as all are; bits keep their order; a stored state resumes."""
    method, states = build("dspah"), []
    config = trainer.Config(epochs=8, batch_size=8, prefixes={8: 1.0})
    whole = trainer.fit(method, pairs(), pairs(), config, on_epoch=lambda _, s: states.append(stored(s)))
    image, text = (
        hamming.pack_relaxed(encoding.relaxed_codes(method, pairs(), s), encoding.bit_order(method))
        for s in ("image", "text")
    )
    assert encoding.bit_order(method).tolist() == list(range(K))
    label = pairs().label
    for bits in (8, K):
        found = metrics.evaluate(hamming.prefix(image, bits), hamming.prefix(text, bits), label, label, bits)
        assert found.map > 0.9
    assert any(name.endswith("_8") for name in whole[0].terms)
    again = build("dspah")
    assert trainer.fit(again, pairs(), pairs(), config, state=states[4]) == whole
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), method.parameters(), strict=True))


def stored(state: State) -> State:
    """As a checkpoint on disk gives it back."""
    return State({k: v.clone() for k, v in state.tensors.items()}, json.loads(json.dumps(state.facts)))


def test_significance_does_not_reorder_nested_codes() -> None:
    """SCAHN ranks its bits, but not when training has put them in order."""
    method = build("scahn")
    assert not np.array_equal(encoding.bit_order(method), np.arange(K))
    method.prefixes = {8: 1.0}
    assert np.array_equal(encoding.bit_order(method), np.arange(K))
    assert encoding.bit_significance(method) is None


@pytest.mark.parametrize(
    ("name", "prefixes", "message"),
    [
        ("scahn", {16: 1.0}, "a prefix must have 1 to 15 of 16 bits, got 16"),
        ("scahn", {8: 0.0}, "the first 8 bits must weigh more than 0"),
    ],
)
def test_prefixes_that_cannot_be_trained_are_refused(
    name: str, prefixes: dict[int, float], message: str
) -> None:
    """Before training; the message says what is allowed."""
    with pytest.raises(ValueError, match=message):
        trainer.fit(build(name), pairs(), pairs(), trainer.Config(epochs=1, batch_size=8, prefixes=prefixes))


def test_a_method_without_a_loss_of_codes_is_refused() -> None:
    """A method with a step of its own cannot be asked for prefixes."""
    config = trainer.Config(epochs=1, batch_size=8, prefixes={8: 1.0})
    with pytest.raises(ValueError, match="Tiny has no loss of its codes alone"):
        trainer.fit(tiny.method(), tiny.items(32), tiny.items(16), config)
