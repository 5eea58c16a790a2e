"""What every method must do, whatever its paper: one run of each over the same 32 pairs.

Methods with phases are trained by the trainer itself; those without are held to what all share.
Repeated runs are compared bit for bit.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cmh import methods
from cmh.codes import hamming
from cmh.data.batches import Batch, to_text
from cmh.data.items import Items
from cmh.hashing import encoding
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.method import Inputs, Method
from cmh.networks import backbones
from cmh.networks.backbones import Frozen
from cmh.training import trainer
from cmh.training.validation import mean_average_precision
from tests import synthetic

N, D, L, K, CHANNELS = 32, 60, 4, 16, (6, 8, 10, 12)
INPUTS = Inputs(image_channels=CHANNELS, text_dim=D, labels=L)
SMALLER: dict[str, dict[str, float]] = {  # to save time
    "acmr": {"lr": 1e-2},
    "agah": {"features": 64, "text_hidden": 128, "text_middle": 64, "lr": 4e-3, "hash_steps": 3},
    "adah": {"hidden": 128, "text_hidden": 128, "text_features": 64, "lr": 2e-3, "hash_steps": 2},
    "dgcpn": {"hidden": 128},
    "dchmt": {"width": 64, "lr": 3e-3},
    "djsrh": {"hidden": 512},
    "dsph": {"lr": 1e-2},
    "dvsh": {"hidden": 64, "lr": 4e-3},
    "jdsh": {"hidden": 512},
    "mlsph": {"hidden": 64, "features": 32},
    "ucch": {"hidden": 256, "lr": 1e-3, "negatives": 64},
    "nrch": {"hidden": 256, "lr": 1e-3},
    "tdh": {"hidden": 512, "lr": 4e-3},
    "ssah": {"hidden": 128, "features": 64, "lr_image": 2e-3, "lr_text": 2e-3},
} | {name: {"hidden": 512, "lr": 2e-3} for name in ("dcmh", "prdh", "chn", "cmhh")}


def with_phases() -> list[str]:
    """Methods that the trainer trains."""
    return [name for name in methods.available() if methods.load(name).phases is not Method.phases]


LONG = {"acmr", "adah", "agah", "dchmt", "dspah", "dvsh", "mlsph", "scahn"}  # that take seconds to train
TRAINED = [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in with_phases()]


def build(name: str, backbone: nn.Module | None = None, inputs: Inputs = INPUTS) -> Method:
    torch.manual_seed(0)
    return methods.load(name)(
        methods.config(name, bits=K, **SMALLER.get(name, {})), inputs, backbone or Frozen(CHANNELS)
    )


def pairs(method: Method | None = None) -> Items:
    """The 32 pairs, with words in their order if the method reads those."""
    sequences = method is not None and method.sequences
    return synthetic.wordy(N, labels=L, words=D, channels=CHANNELS, sequences=sequences)


def batch(reads: str, method: Method | None = None, image: tuple[Tensor, ...] | None = None) -> Batch:
    """The first half of the pairs as phase and method ask for them."""
    items, rows = pairs(method), slice(0, N // 2)
    given = image or tuple(torch.from_numpy(stage[rows]) for stage in items.image)
    return Batch(
        torch.arange(N)[rows],
        None if reads == "text" else given,
        None if reads == "image" else to_text(items.text[rows], torch.device("cpu")),
        torch.from_numpy(items.label[rows]).float(),
    )


def memory() -> CodeMemory:
    return CodeMemory(torch.from_numpy(pairs().label).float(), K, seed=0)


def started(method: Method, image: tuple[Tensor, ...] | None = None) -> Method:
    """The method at the beginning of its first epoch; on images if these are given."""
    train = pairs(method)
    if image is not None and image[0].dtype == torch.uint8:
        pictures = image[0].permute(0, 2, 3, 1).repeat(2, 1, 1, 1).numpy()
        train = replace(train, image=(pictures,))
    method.begin_epoch(0, train, memory())
    return method


def gradients(method: Method, phase: str, given: Batch) -> set[str]:
    """Names of the direct submodules that one step of the trainer reaches, after checking its loss."""
    started(method, given.image)
    (moving,) = (p.modules for p in method.phases if p.name == phase)
    method.requires_grad_(False)
    for module in moving:
        method.get_submodule(module).requires_grad_(True)
    terms = method(phase, given, memory())
    assert all(term.shape == () and math.isfinite(term.item()) for term in terms.values())
    method.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    reached = {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
    return reached


@pytest.mark.parametrize("name", methods.available())
def test_codes_have_their_shape_and_become_signs(name: str) -> None:
    """float (B, K) in [-1, 1] for both modalities in evaluation; their signs pack and unpack to -1 and +1."""
    method = build(name).eval()
    given = batch("both", method)
    assert method.bits == K
    for u_BK in (method.encode_image(given.image), method.encode_text(given.text_BD)):
        assert u_BK.shape == (N // 2, K)
        assert u_BK.abs().max() <= 1
        packed = hamming.pack_relaxed(u_BK.detach().float().numpy(), np.arange(K))
        codes = hamming.unpack(packed, K)
        assert set(np.unique(codes)) <= {-1, 1}
        assert np.array_equal(codes > 0, u_BK.detach().numpy() >= 0)


@pytest.mark.parametrize("name", methods.available())
def test_significance_is_one_number_a_bit(name: str) -> None:
    """(K,) finite numbers, or None for methods whose codes are not to be shortened."""
    significance = build(name).significance()
    assert significance is None or (significance.shape == (K,) and bool(significance.isfinite().all()))


@pytest.mark.parametrize("name", with_phases())
def test_a_step_moves_exactly_the_modules_of_its_phase(name: str) -> None:
    """Loss terms are finite scalars; gradients reach all modules of the phase that learn."""
    method = build(name)
    learning = {n.split(".")[0] for n, _ in method.named_parameters()}
    for phase in method.phases:
        assert gradients(method, phase.name, batch(phase.reads, method)) == set(phase.modules) & learning


@pytest.mark.parametrize("name", TRAINED)
def test_a_trainable_backbone_learns_with_the_images(name: str) -> None:
    """From uint8 images, the same code reaches the backbone in the phases that move it, and in no other."""
    backbone = backbones.load("resnet18", "none")
    inputs = Inputs(image_channels=backbone.channels, text_dim=D, labels=L)
    method = build(name, backbone, inputs)
    side = 64 if method.reads_maps(method.config) else 32  # the last stage's map is a 32nd of it
    images = (torch.randint(0, 256, (N // 2, 3, side, side), dtype=torch.uint8),)
    for phase in method.phases:
        assert gradients(method, phase.name, batch(phase.reads, method, images)) == set(phase.modules)


@pytest.mark.parametrize("name", with_phases())
def test_the_memory_holds_the_codes_of_the_step(name: str) -> None:
    """The rows of the batch are written, in the modality that the phase reads; all others stay."""
    method = started(build(name))
    for phase in method.phases:
        before, after = memory(), memory()
        method(phase.name, batch(phase.reads, method), after)
        for side in ("image", "text"):
            old, new = (getattr(m, f"{side}_NK") for m in (before, after))
            written = (old != new).any(1)
            assert not written[N // 2 :].any()
            assert phase.reads not in (side, "both") or written[: N // 2].all()


def trained(name: str, epochs: int, items: Items | None = None) -> Method:
    method = build(name)
    items = items or pairs(method)
    trainer.fit(method, items, items, trainer.Config(epochs=epochs, batch_size=8, seed=1))
    return method


@pytest.mark.parametrize("name", TRAINED)
def test_32_pairs_are_learnt_by_heart(name: str) -> None:
    """MAP above 0.95 both ways on the pairs themselves, by cosine where there are no codes."""
    method = trained(name, epochs=40)
    image, text = (encoding.relaxed_codes(method, pairs(method), side) for side in ("image", "text"))
    label = pairs().label
    assert mean_average_precision(method, image, text, label, label) > 0.95
    assert mean_average_precision(method, text, image, label, label) > 0.95


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_seed_gives_the_same_method_and_a_file_keeps_it(name: str, tmp_path: Path) -> None:
    """Two runs end with the same state bit for bit; loaded from safetensors it gives the same codes."""
    first, second, loaded = trained(name, epochs=2), trained(name, epochs=2), build(name)
    state, again = first.state_dict(), second.state_dict()
    assert all(torch.equal(state[key], again[key]) for key in state)
    save_file(state, tmp_path / "model.safetensors")
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    for side in ("image", "text"):
        u_NK, kept_NK = (encoding.relaxed_codes(method, pairs(method), side) for method in (first, loaded))
        assert np.array_equal(u_NK, kept_NK)
        assert len(np.unique(u_NK, axis=0)) > 1


@pytest.mark.parametrize(
    "name", [name for name in with_phases() if methods.load(name).reads_labels == "never"]
)
def test_methods_that_ignore_labels_do(name: str) -> None:
    """With the labels of other items the same method is trained, bit for bit."""
    items = pairs(build(name))
    shuffled = replace(items, label=np.roll(items.label, 5, axis=0))
    assert not np.array_equal(items.label, shuffled.label)
    state, again = (trained(name, 2, given).state_dict() for given in (items, shuffled))
    assert all(torch.equal(state[key], again[key]) for key in state)
