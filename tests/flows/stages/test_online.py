"""A model that learns online goes on from another: what is learnt, what is kept, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load
from scipy.io import loadmat, savemat

from cmh import model
from flows import preflight, start_models
from flows.experiment import Experiment
from flows.resources import Resources
from flows.run import resolve
from flows.stages import precomputed, train
from infra import artifacts
from infra.artifacts import Ref
from infra.storage import Store
from tests.flows import feature_pairs


def asked(folder: Path, name: str, items: slice, **settings: Any) -> Experiment:
    """An experiment on some of the training items, and on all queries."""
    fields = feature_pairs.entry(folder) | {"name": name}
    held = loadmat(folder / "small.mat")
    for key in ("I_tr", "T_tr", "L_tr"):
        held[key] = held[key][items]
    savemat(folder / f"{name}.mat", {key: held[key] for key in held if not key.startswith("__")})
    fields["sources"] = {"features": {"kind": "path", "path": str(folder / f"{name}.mat")}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(fields))
    return Experiment(dataset=str(folder / f"{name}.yaml"), method="lemon", bits=16, seed=4, **settings)


def made(store: Store, wanted: Experiment) -> Path:
    """The folder of the model that it gives, after all checks."""
    run = resolve(wanted)
    preflight.check_settings(run)
    features = precomputed.make_features.compute(store, precomputed.features_target(run.entry), run.entry).ref
    target = precomputed.dataset_target(features, run.entry)
    dataset: Ref = precomputed.make_dataset.compute(store, target, run.entry).ref
    preflight.check_dataset(store, dataset, run)
    target = train.target(run, dataset, features)
    ref = train.make.compute(store, target, run, dataset, features, Resources(threads=1)).ref
    return artifacts.open_artifact(store, ref).local()


def test_a_chunk_is_added_and_no_old_code_changes(local_store: Store, tmp_path: Path) -> None:
    """Two runs, the second on all items, give what one run in two chunks gives, bit for bit."""
    first = made(local_store, asked(tmp_path, "half", slice(75)))
    second = made(local_store, asked(tmp_path, "whole", slice(150), start_from=str(first)))
    once = made(local_store, asked(tmp_path, "whole", slice(150), settings={"chunks": 2}))
    old, new, both = (load((folder / "unified.safetensors").read_bytes()) for folder in (first, second, once))
    assert np.array_equal(new["code"][:75], old["code"])
    assert np.array_equal(new["code"], both["code"])
    assert np.array_equal(new["row"], both["row"])
    learnt, before = (pq.read_table(folder / start_models.LEARNT) for folder in (second, first))
    assert learnt["id"].to_pylist() == [f"tr-{row}" for row in range(150)]
    assert learnt.slice(0, 75).equals(before)
    added, whole = (model.load(folder).method.state_dict() for folder in (second, once))
    assert all(np.array_equal(added[name], whole[name]) for name in whole)


def test_what_cannot_be_added_is_refused(local_store: Store, tmp_path: Path) -> None:
    """Nothing new; other bases; a method without chunks; a model without a whole list of its items."""
    first = made(local_store, asked(tmp_path, "half", slice(75)))
    start = {"start_from": str(first)}
    with pytest.raises(ValueError, match=f"half has 0 training items that {re.escape(str(first))} has not"):
        made(local_store, asked(tmp_path, "half", slice(75), **start))
    with pytest.raises(ValueError, match=r"the model to go on from has a image.bases_MF"):
        made(local_store, asked(tmp_path, "whole", slice(150), settings={"bases": 30}, **start))
    with pytest.raises(
        ValueError, match=r"scm learns from all items at once, .* or lemon, which learns chunk"
    ):
        made(local_store, asked(tmp_path, "whole", slice(150), **start).model_copy(update={"method": "scm"}))
    (first / start_models.LEARNT).write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"learnt\.parquet is damaged"):
        made(local_store, asked(tmp_path, "whole", slice(150), **start))
    (first / start_models.LEARNT).unlink()
    with pytest.raises(ValueError, match=r"has no learnt\.parquet"):
        made(local_store, asked(tmp_path, "whole", slice(150), **start))


def test_a_query_that_was_learnt_is_refused(local_store: Store, tmp_path: Path) -> None:
    """As when a split is drawn again over more rows: its figure would be one of training."""
    wanted = asked(tmp_path, "drawn", slice(150))
    path = Path(wanted.dataset)
    fields = yaml.safe_load(path.read_text())
    held = loadmat(tmp_path / "drawn.mat")
    np.savez(tmp_path / "drawn.npz", image=held["I_tr"], text=held["T_tr"], labels=held["L_tr"])
    fields |= {"split": {"query": 0.2, "validation": 0.1, "train": 1.0}}
    fields |= {"reader": "features", "options": {}}
    fields["sources"] = {"features": {"kind": "path", "path": str(tmp_path / "drawn.npz")}}
    path.write_text(yaml.safe_dump(fields))
    first = made(local_store, wanted)
    fields["split"]["seed"] = 1
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(ValueError, match=r"queries of drawn are items that .* has learnt from"):
        made(local_store, wanted.model_copy(update={"start_from": str(first)}))
