"""Tuning: what is refused, what a recipe does to a run and a comparison, and a search from end to end."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from data_catalog import recipes
from data_catalog.recipes import Budget, Recipe
from flows import compare, tune
from flows.compare import Comparison
from flows.experiment import Experiment, TrainingSettings
from flows.resources import Resources
from flows.run import resolve
from flows.tune import Tuning
from infra import artifacts, stores
from tests.flows import feature_pairs
from tests.flows.command_line import cmh

WIKI = "features that the dataset brings"


def _recipe(method: str, settings: dict[str, Any], trials: int = 4, epochs: int | None = None) -> Recipe:
    return Recipe(
        method=method, images=WIKI, texts=WIKI, settings=settings, batch_size=epochs and 32,
        budget=Budget(trials=trials, epochs=epochs), bits=32, seed=0, validation=0.5, untuned=0.4, commit="a",
    )  # fmt: skip


def test_a_search_that_cannot_work_is_refused() -> None:
    """No validation items, no such method, no such setting: before any work."""
    with pytest.raises(ValueError, match="wiki has no validation items, by which trials are told apart"):
        tune.plan(Tuning(method="scm", dataset="wiki"), Resources())
    with pytest.raises(ValueError, match="method 'schan' unknown"):
        Tuning(method="schan")
    with pytest.raises(ValueError, match="scm has no setting rigde"):
        tune.plan(
            Tuning(method="scm", protocol="validation", dataset="wiki", settings={"rigde": 1}), Resources()
        )


def test_a_recipe_is_a_name_for_settings(tmp_path: Path) -> None:
    """The run is the one that the settings give; what the command line gives goes before."""
    file = tmp_path / "wiki.yaml"
    recipes.write(file, "wiki-validation", [_recipe("dcmh", {"lr": 2e-3, "eta": 0.3}, epochs=9)])
    common: dict[str, Any] = {"dataset": "wiki", "protocol": "validation", "method": "dcmh"}
    tuned = resolve(Experiment(**common, recipe=str(file), settings={"eta": 0.2}))
    assert tuned.experiment == Experiment(
        **common, settings={"lr": 2e-3, "eta": 0.2}, training=TrainingSettings(epochs=9, batch_size=32)
    )
    assert (tuned.config.lr, tuned.trainer_config.batch_size) == (2e-3, 32)
    assert tuned.recipe == "tuned, 4 trials of 9 epochs"
    longer = resolve(Experiment(**common, recipe=str(file), training=TrainingSettings(epochs=20)))
    assert (longer.trainer_config.epochs, longer.trainer_config.batch_size) == (20, 32)


def test_a_recipe_of_another_dataset_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, and wherever the recipe of a run is named."""
    file = tmp_path / "other.yaml"
    recipes.write(file, "photos", [_recipe("dcmh", {}, epochs=9)])
    run = resolve(Experiment(dataset="wiki", protocol="validation", method="dcmh", recipe=str(file)))
    assert run.recipe == "tuned on photos, 4 trials of 9 epochs"
    assert "tuned on photos; this run is on wiki-validation" in caplog.text


def test_the_projects_recipe_is_found_by_dataset() -> None:
    """`tuned` is the file that comes with the project, named after the dataset and its protocol."""
    (first, *_) = recipes.read(recipes.path("wiki-validation"))
    for noise in (None, 0.5):  # labels that are wrong on purpose need no search of their own
        wanted: dict[str, Any] = {"method": first.method, "recipe": "tuned", "label_noise": noise}
        run = resolve(Experiment(dataset="wiki", protocol="validation", **wanted))
        assert run.settings == run.settings | first.settings
        assert run.tuned is not None
        assert run.tuned.recipe == first


def test_a_recipe_that_is_not_there_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    """With what there is, and what to do."""
    common: dict[str, Any] = {"dataset": "wiki", "protocol": "validation"}
    file = tmp_path / "wiki.yaml"
    with pytest.raises(ValueError, match=r"short, paper, tuned, or a \.yaml file .* got 'best'"):
        Experiment(recipe="best")
    with pytest.raises(ValueError, match="no tuned recipes; `cmh tune scm"):
        resolve(Experiment(**common, method="scm", recipe=str(file)))
    for settings, message in (
        ({"rigde": 0.1}, "scm has no setting rigde"),
        ({"ridge": float("nan")}, "settings of scm: ridge must be a finite number, got nan"),
        ({"bits": 8}, "bits are no setting of the method but of the run"),
        ({"name": "cca"}, "scm has no setting name"),
    ):
        recipes.write(file, "wiki-validation", [_recipe("scm", settings)])
        with pytest.raises(ValueError, match=f"tuned recipe of scm: {message}"):
            resolve(Experiment(**common, method="scm", recipe=str(file)))


def test_a_comparison_takes_recipes_of_equal_budget_only(tmp_path: Path) -> None:
    """Methods without epochs have the same number of trials; no other difference counts."""
    file = tmp_path / "wiki.yaml"
    recipes.write(file, "wiki-validation", [_recipe("scm", {}), _recipe("dcmh", {}, epochs=9)])
    wanted = Comparison(
        methods=("scm", "dcmh"),
        datasets=("wiki",),
        protocol="validation",
        recipe=str(file),
        bits=(32,),
        seeds=1,
    )
    assert [one.run.recipe for one in compare.resolve(wanted).runs] == [
        "tuned, 4 trials", "tuned, 4 trials of 9 epochs"
    ]  # fmt: skip
    recipes.write(file, "wiki-validation", [_recipe("scm", {}, trials=5)])
    with pytest.raises(ValueError, match="their trials differ: scm with 5 on wiki-validation, dcmh with 4"):
        compare.resolve(wanted)


@pytest.mark.slow
def test_a_search_from_the_command_line(tmp_path: Path, cmh_home: Path, prefect_server: None) -> None:
    """The best of the trials is the recipe; a longer search trains what is new; a run takes the recipe."""
    entry = feature_pairs.entry(tmp_path) | {"split": {"published": True, "validation": 0.2}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(entry))
    store, file = stores.open_store(), tmp_path / "recipes.yaml"
    asked = ["--dataset", tmp_path / "small.yaml", "--bits", 16, "--threads", 1, "--to", file]
    asked += ["--training.epochs", 2]
    planned = cmh("tune", "scm", *asked, "--trials", 3, "--dry-run", "--json").rows
    assert [row["trial"] for row in planned] == [1, 2, 3]
    (found,) = cmh("tune", "scm", *asked, "--trials", 3, "--json").rows
    assert found["validation"] >= found["untuned"]
    assert found["budget"] == {"trials": 3, "epochs": None}
    assert len(artifacts.list_artifacts(store, "model")) == 3
    longer = cmh("tune", "scm", *asked, "--trials", 4)
    assert longer.status == 0, longer.err
    assert longer.out.count("was there") == 3
    assert (
        f"next: cmh run {tmp_path / 'small.yaml'} --bits 16 --evaluation.bits 16 --method=scm" in longer.out
    )
    assert len(artifacts.list_artifacts(store, "model")) == 4
    assert cmh("tune", "dcmh", *asked, "--trials", 2).status == 0
    assert {one.method for one in recipes.read(file)} == {"scm", "dcmh"}
    before = len(artifacts.list_artifacts(store, "model"))
    ran = cmh(
        "run", tmp_path / "small.yaml", "--method", "dcmh", "--bits", 16, "--recipe", file, "--threads", 1
    )
    assert ran.status == 0, ran.err
    assert len(artifacts.list_artifacts(store, "model")) == before  # that of the best trial
    assert not [kind for kind in ("codes", "report") if len(artifacts.list_artifacts(store, kind)) != 1]
