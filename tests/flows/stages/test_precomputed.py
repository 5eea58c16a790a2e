"""A dataset of features through the pipeline: what is kept, what models it gives, what is measured.

The source is a small .mat file; the figures are compared with those of the library on the same matrices.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from safetensors.numpy import load

from cmh import model
from cmh.codes import hamming
from cmh.data import schema
from cmh.data.items import Items
from cmh.evaluation import metrics, report, stable_metrics
from cmh.hashing import encoding
from cmh.training import solver
from flows import preflight, search
from flows.experiment import EvaluationSettings, Experiment, TrainingSettings
from flows.resources import Resources
from flows.run import read_entry, resolve
from flows.stages import encode, evaluate, precomputed, train
from infra import artifacts
from infra.artifacts import Ref
from infra.storage import Store
from tests.cmh.methods import shallow
from tests.flows import feature_pairs
from tests.flows.feature_pairs import QUERY, TRAIN


@pytest.fixture
def entry(tmp_path: Path) -> dict[str, Any]:
    return feature_pairs.entry(tmp_path)


def experiment(folder: Path, fields: dict[str, Any], method: str = "cmfh") -> Experiment:
    (folder / "small.yaml").write_text(yaml.safe_dump(fields))
    return Experiment(dataset=str(folder / "small.yaml"), method=method, bits=16, seed=4)


def prepared(store: Store, wanted: Experiment) -> tuple[Ref, Ref]:
    """Features and dataset."""
    entry = read_entry(wanted)
    features = precomputed.make_features.compute(store, precomputed.features_target(entry), entry).ref
    target = precomputed.dataset_target(features, entry)
    return features, precomputed.make_dataset.compute(store, target, entry).ref


def trained(store: Store, wanted: Experiment, dataset: Ref, features: Ref) -> Ref:
    run = resolve(wanted)
    target = train.target(run, dataset, features)
    return train.make.compute(store, target, run, dataset, features, Resources(threads=1)).ref


def test_the_dataset_is_the_publishers(local_store: Store, tmp_path: Path, entry: dict[str, Any]) -> None:
    """Features and texts as float32, rows in order, queries last; validation is drawn from the others."""
    entry["split"] = {"published": True, "validation": 0.2}
    features, dataset = prepared(local_store, experiment(tmp_path, entry))
    held = zarr.open_group(artifacts.open_artifact(local_store, dataset).zarr("dataset.zarr"), mode="r")
    assert np.array_equal(schema.array(held, "text")[:150], TRAIN.text)
    assert schema.array(held, "split/query")[:].tolist() == list(range(150, 180))
    train_rows, rest = (schema.array(held, f"split/{name}")[:] for name in ("train", "validation"))
    assert sorted([*train_rows, *rest]) == list(range(150))
    assert len(rest) == 30
    given = zarr.open_group(artifacts.open_artifact(local_store, features).zarr("features.zarr"), mode="r")
    assert np.array_equal(schema.array(given, "pooled/stage1")[:150], TRAIN.image[0][:, :, 0, 0])


def test_other_counts_than_the_catalogs_are_told(
    local_store: Store, tmp_path: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """180 items of 4 labels where the entry says 181; the dataset is made all the same."""
    told: list[str] = []
    monkeypatch.setattr(precomputed.sources._log, "warning", told.append)
    prepared(local_store, experiment(tmp_path, entry | {"counts": {"items": 180, "labels": 4}}))
    assert told == []
    prepared(local_store, experiment(tmp_path, entry | {"name": "b", "counts": {"items": 181, "labels": 4}}))
    assert told == ["b, unlike its catalog entry: 180 items in place of 181; are its sources whole?"]


def test_a_solved_model_is_the_librarys(local_store: Store, tmp_path: Path, entry: dict[str, Any]) -> None:
    """Codes and unified codes equal those of `solver.solve`; words and photos are refused, saying why."""
    wanted = experiment(tmp_path, entry)
    features, dataset = prepared(local_store, wanted)
    read = artifacts.open_artifact(local_store, trained(local_store, wanted, dataset, features))
    method = shallow.build("cmfh", TRAIN)
    unified = solver.fit(method, TRAIN, seed=4)
    kept = model.load(read.local())
    for side in ("image", "text"):
        assert np.array_equal(*(encoding.relaxed_codes(m, QUERY, side) for m in (method, kept.method)))
    held = load(read.read_bytes("unified.safetensors"))
    assert unified is not None
    assert np.array_equal(held["code"], hamming.pack(unified))
    assert held["row"].tolist() == list(range(150))
    with pytest.raises(ValueError, match="text features"):
        kept.encode_texts(["a word"])
    with pytest.raises(ValueError, match="cannot encode images"):
        kept.encode_images(np.zeros((1, 8, 8, 3), np.uint8))


def test_epochs_do_not_matter_to_a_method_without_them(
    local_store: Store, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """Another number of epochs names the same model; another seed does not."""
    wanted = experiment(tmp_path, entry)
    features, dataset = prepared(local_store, wanted)
    longer = wanted.model_copy(update={"training": wanted.training.model_copy(update={"epochs": 99})})
    other = wanted.model_copy(update={"seed": 5})
    first, second, third = (
        train.target(resolve(e), dataset, features).identity for e in (wanted, longer, other)
    )
    assert first == second != third


@pytest.mark.slow
def test_the_report_names_both_kinds_of_database_codes(
    local_store: Store, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """MAP per modality and unified, as the library computes them from the same matrices."""
    wanted = experiment(tmp_path, entry)
    features, dataset = prepared(local_store, wanted)
    made = trained(local_store, wanted, dataset, features)
    target = encode.target(made, dataset, features)
    resources = Resources(threads=1)
    codes = encode.make.compute(local_store, target, made, dataset, features, features, resources).ref
    aims = EvaluationSettings(bits=(16,))
    done = evaluate.make.compute(
        local_store, evaluate.target(codes, dataset, aims), codes, dataset, aims, resources
    ).ref
    table = artifacts.open_artifact(local_store, done).read_table("metrics.parquet")
    method = shallow.build("cmfh", TRAIN)
    unified = solver.fit(method, TRAIN, seed=4)
    asked, text = (
        hamming.pack(encoding.relaxed_codes(method, items, side))
        for items, side in ((QUERY, "image"), (TRAIN, "text"))
    )
    for direction, database in (("image_to_text", text), ("image_to_unified", hamming.pack(unified))):
        expected = metrics.evaluate(asked, database, QUERY.label, TRAIN.label, 16).map
        assert report.value(table, "map", direction, 16) == pytest.approx(expected)
    page = artifacts.open_artifact(local_store, done).read_bytes("README.md").decode()
    assert "image → unified" in page


@pytest.mark.slow
def test_real_valued_embeddings_go_all_the_way(
    local_store: Store, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """A method with phases trains on such data; the report is by cosine and says so; a search is refused."""
    entry["split"] = {"published": True, "validation": 0.2}
    wanted = experiment(tmp_path, entry, "acmr")
    wanted = wanted.model_copy(update={"training": TrainingSettings(epochs=4, batch_size=16)})
    features, dataset = prepared(local_store, wanted)
    made = trained(local_store, wanted, dataset, features)
    target = encode.target(made, dataset, features)
    resources = Resources(threads=1)
    codes = encode.make.compute(local_store, target, made, dataset, features, features, resources).ref
    aims = EvaluationSettings(bits=(8, 16))
    done = evaluate.make.compute(
        local_store, evaluate.target(codes, dataset, aims), codes, dataset, aims, resources
    ).ref
    method = model.load(artifacts.open_artifact(local_store, made).local()).method
    asked, text = (
        encoding.relaxed_codes(method, items, side) for items, side in ((QUERY, "image"), (TRAIN, "text"))
    )
    measures = {"map": stable_metrics.average_precision}
    expected = stable_metrics.evaluate_cosine(asked, text, QUERY.label, TRAIN.label, measures)["map"].mean()
    read = artifacts.open_artifact(local_store, done)
    table = read.read_table("metrics.parquet")
    assert report.value(table, "map", "image_to_text", 16) == pytest.approx(expected, abs=1e-4)
    assert set(table["bits"].to_pylist()) == {16}
    page = read.read_bytes("README.md").decode()
    assert "16 numbers, real-valued" in page
    assert "pr_curves.png" not in read.files
    with pytest.raises(ValueError, match="real-valued embeddings of acmr"):
        search.open_run(local_store, codes.address)


def test_shares_are_no_split_of_a_publisher(
    local_store: Store, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """Shares for a dataset with a split of its own are refused with what to write."""
    entry["split"] = {"query": 0.1, "validation": 0.1, "train": 1.0}
    with pytest.raises(ValueError, match="published: true"):
        prepared(local_store, experiment(tmp_path, entry))


def test_text_features_have_no_order_of_words(
    local_store: Store, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """A method that reads sequences is refused before anything is fetched."""
    with pytest.raises(ValueError, match="dvsh reads words in their order, and small brings text features"):
        preflight.check(resolve(experiment(tmp_path, entry, "dvsh")), Resources(threads=1))
    assert artifacts.list_artifacts(local_store) == []


def test_no_validation_items_is_said_before_training(
    local_store: Store, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """A method of epochs refuses a publisher's split that holds nothing to choose one by, or too little."""
    wanted = experiment(tmp_path, entry, method="dcmh")
    with pytest.raises(ValueError, match=r"small has no validation items.* add `validation: 0.1`"):
        preflight.check(resolve(wanted), Resources(threads=1))
    assert artifacts.list_artifacts(local_store) == []
    entry["split"] = {"published": True, "validation": 0.001}
    wanted = experiment(tmp_path, entry, method="dcmh")
    preflight.check(resolve(wanted), Resources(threads=1))
    _, dataset = prepared(local_store, wanted)
    with pytest.raises(ValueError, match=r"small has no validation items.* a larger share `validation`"):
        preflight.check_dataset(local_store, dataset, resolve(wanted))


def test_noise_is_in_the_labels_of_training_alone(
    local_store: Store, tmp_path: Path, entry: dict[str, Any]
) -> None:
    """Another dataset and model; queries, database and validation keep their labels; card and page say it."""
    entry["split"] = {"published": True, "validation": 0.2}
    clean = experiment(tmp_path, entry, "scm")
    noisy = clean.model_copy(update={"label_noise": 0.5})
    features, dataset = prepared(local_store, clean)
    same_features, other = prepared(local_store, noisy)
    assert same_features == features
    assert other.name == "small-noise50"
    held, changed = (
        zarr.open_group(artifacts.open_artifact(local_store, ref).zarr("dataset.zarr"), mode="r")
        for ref in (dataset, other)
    )
    label_NL, train_NL = schema.array(changed, "label")[:], schema.array(changed, "train_label")[:]
    assert np.array_equal(label_NL, schema.array(held, "label")[:])
    train_rows = schema.array(changed, "split/train")[:]
    differs = np.flatnonzero((label_NL != train_NL).any(axis=1))
    assert len(differs) == len(train_rows) // 2
    assert np.isin(differs, train_rows).all()
    read = artifacts.open_artifact(local_store, other)
    assert read.read_json("quality.json")["label_noise"]["items"] == len(differs)
    card = read.read_bytes("README.md").decode()
    assert f"{len(differs)} training items have a wrong label on purpose" in card

    made = trained(local_store, noisy, other, features)
    model_read = artifacts.open_artifact(local_store, made)
    assert "Trained on wrong labels on purpose" in model_read.read_bytes("README.md").decode()
    rows = Items((TRAIN.image[0][train_rows],), TRAIN.text[train_rows], train_NL[train_rows], train_rows)
    method = shallow.build("scm", rows)
    solver.fit(method, rows, seed=4)
    learnt = model.load(model_read.local()).method
    for name, expected in method.state_dict().items():
        np.testing.assert_allclose(learnt.state_dict()[name], expected, err_msg=name)
