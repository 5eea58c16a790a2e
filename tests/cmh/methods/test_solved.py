"""What every method without phases must do, whatever its paper: learn a signal, repeat itself, keep.

Held-out MAP is compared with chance (0.25 for four classes); repeated runs are compared bit for bit.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cmh import methods
from cmh.hashing import encoding
from cmh.hashing.method import Method
from cmh.training import solver
from cmh.training.failures import CollapsedCodes
from tests.cmh.methods import shallow

SOLVED = [name for name in methods.available() if methods.load(name).phases is Method.phases]


@pytest.mark.parametrize("name", SOLVED)
def test_a_linear_signal_is_found(name: str) -> None:
    """New pairs find the training pairs of their class far above chance, both ways."""
    assert min(shallow.signal(name)) > 0.4


@pytest.mark.parametrize("name", SOLVED)
def test_a_seed_decides_everything_and_a_file_keeps_it(name: str, tmp_path: Path) -> None:
    """Two runs of one seed end bit for bit alike; loaded from safetensors the method gives the same codes."""
    items = shallow.pairs(60, method=name)
    first, second, loaded = (shallow.build(name, items) for _ in range(3))
    unified = [solver.fit(method, items, seed=3) for method in (first, second)]
    assert np.array_equal(*unified) if unified[0] is not None else unified[1] is None
    save_file(first.state_dict(), tmp_path / "a.safetensors")
    save_file(second.state_dict(), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded.load_state_dict(load_file(tmp_path / "a.safetensors"))
    for side in ("image", "text"):
        u_NK = encoding.relaxed_codes(first, items, side)
        assert np.array_equal(u_NK, encoding.relaxed_codes(loaded, items, side))
        assert len(np.unique(u_NK > 0, axis=0)) > 1


@pytest.mark.parametrize("name", [name for name in SOLVED if methods.load(name).reads_labels == "never"])
def test_methods_that_ignore_labels_do(name: str) -> None:
    """With the labels of other items, the hash functions are the same bit for bit."""
    items = shallow.pairs(60, method=name)
    shuffled = replace(items, label=items.label[np.random.default_rng(5).permutation(60)])
    first, second = (shallow.build(name, items) for _ in range(2))
    for method, given in ((first, items), (second, shuffled)):
        solver.fit(method, given, seed=3)
    state, again = first.state_dict(), second.state_dict()
    assert all(torch.equal(state[key], again[key]) for key in state)


@pytest.mark.parametrize("name", SOLVED)
def test_unified_codes_are_signs_in_training_order(name: str) -> None:
    """(N, K) int8 of -1 and +1, nearer to the item's own codes than to those of the item beside it."""
    items = shallow.pairs(80, method=name)
    method = shallow.build(name, items)
    codes_NK = solver.fit(method, items, seed=0)
    if codes_NK is None:
        return
    assert codes_NK.shape == (80, 16)
    assert codes_NK.dtype == np.int8
    assert set(np.unique(codes_NK)) == {-1, 1}
    own_NK = np.where(encoding.relaxed_codes(method, items, "text") >= 0, 1, -1)
    assert (codes_NK * own_NK).mean() > (np.roll(codes_NK, 1, axis=0) * own_NK).mean() + 0.1


@pytest.mark.parametrize("name", SOLVED)
def test_fewer_items_than_a_method_likes_are_enough(name: str) -> None:
    """Twenty items, fewer than any number of bases, give finite hash functions."""
    items = shallow.pairs(20, method=name)
    method = shallow.build(name, items, bits=8)
    solver.fit(method, items, seed=0)
    assert np.isfinite(encoding.relaxed_codes(method, shallow.pairs(5, method=name), "image")).all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("dch", {"bases": 0}, "bases must be positive, got 0"),
        ("cmfh", {"image_weight": 2.0}, "image_weight must lie between 0 and 1, got 2.0"),
        ("seph", {"learning_rate": -5.0}, "learning_rate must be positive"),
        ("scm", {"ridge": -1.0}, "ridge must not be negative"),
        ("stmh", {"image_weight": 1.0}, "image_weight must lie between 0 and 1"),
        ("cmssh", {"bits": 0}, "bits must be positive"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, settings: dict, message: str) -> None:
    """Before anything is solved."""
    with pytest.raises(ValueError, match=message):
        methods.config(name, **{"bits": 16, **settings})


@pytest.mark.parametrize("name", ["cvh", "dch"])
def test_codes_that_tell_nothing_apart_stop(name: str) -> None:
    """Texts that are all the same have one code, which no search could use."""
    items = shallow.pairs(60)
    alike = replace(items, text=np.ones_like(items.text))
    with pytest.raises(CollapsedCodes, match="all 60 training items have the same text code"):
        solver.fit(shallow.build(name, items), alike, seed=0)
