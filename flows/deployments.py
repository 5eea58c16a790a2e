"""The flows that deployments run: one per method, one per stage, a comparison, and the care of what is kept.

`flows.deploy` says which of them are deployed on what.  The flow of a method is made when it is asked for,
`flows.deployments.train_scahn`: a new method needs no line here.
"""

import dataclasses
import logging
from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, Field, create_model

from cmh import __version__, methods
from data_catalog import recipes
from flows import compare as comparing
from flows import index, index_sources, pipeline
from flows import tune as tuning
from flows.experiment import BackboneSettings, EvaluationSettings, Experiment, TextSettings, TrainingSettings
from flows.index_sources import Added
from flows.pipeline import Done
from flows.resources import Resources
from flows.retries import while_it_may_pass
from flows.run import name_of, read_entry
from infra import artifacts, provenance, tags, transfer
from infra.stores import open_store

VERSION = provenance.commit() or __version__
"""The version of every flow and deployment."""

_FIELDS = Experiment.model_fields
_DAY = 24 * 3600

# Seconds after which a run is ended: far more than any has taken, so that none stays for ever.
_TIMEOUTS = {"train": 14 * _DAY, "compare": 30 * _DAY, "stage": 7 * _DAY, "care": _DAY}

_log = logging.getLogger(__name__)


def __getattr__(name: str) -> Flow[Any, Any]:
    """Return the flow of a method, `train_<method>`."""
    method = name.removeprefix("train_")
    if method == name or method not in methods.available():
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return method_flow(method)


def _settings_model(method: str) -> type[BaseModel]:
    """Return the fields of a method's Config as a form in which each may be left empty."""
    paper, short = methods.config(method, bits=64), methods.load(method).SHORT
    hints = get_type_hints(type(paper), include_extras=True)
    fields: dict[str, Any] = {}
    for one in dataclasses.fields(paper):
        if one.name != "bits":
            defaults = f"the paper's: {getattr(paper, one.name)}"
            if one.name in short:
                defaults += f"; the short recipe's: {short[one.name]}"
            fields[one.name] = (hints[one.name] | None, Field(None, description=defaults))
    model: type[BaseModel] = create_model(
        f"{method}_settings", __config__=ConfigDict(extra="forbid", frozen=True), **fields
    )
    return model


@cache
def method_flow(method: str) -> Flow[Any, Any]:
    """Return the flow `train-<method>`; its parameters, fields of an experiment, are the form in the UI."""
    settings_model = _settings_model(method)

    def train_method(
        dataset: str = "emoji",
        bits: Annotated[int, _FIELDS["bits"]] = 64,
        seed: Annotated[int, _FIELDS["seed"]] = 0,
        recipe: Annotated[str, _FIELDS["recipe"]] = "short",
        settings: settings_model | None = None,  # type: ignore[valid-type]
        limit: Annotated[int | None, _FIELDS["limit"]] = None,
        protocol: Annotated[str | None, _FIELDS["protocol"]] = None,
        label_noise: Annotated[float | None, _FIELDS["label_noise"]] = None,
        start_from: Annotated[str | None, _FIELDS["start_from"]] = None,
        backbone: BackboneSettings = BackboneSettings(),  # noqa: B008 - frozen
        text: TextSettings = TextSettings(),  # noqa: B008 - frozen
        training: TrainingSettings = TrainingSettings(),  # noqa: B008 - frozen
        evaluation: EvaluationSettings = EvaluationSettings(),  # noqa: B008 - frozen
        resources: Resources = Resources(),  # noqa: B008 - frozen
    ) -> State[None]:
        chosen = _chosen(settings)
        experiment = Experiment(
            dataset=dataset, method=method, bits=bits, seed=seed, recipe=recipe, settings=chosen,
            limit=limit, protocol=protocol, label_noise=label_noise, start_from=start_from,
            backbone=backbone, text=text, training=training, evaluation=evaluation,
        )  # fmt: skip
        return _made(experiment, resources, "report")

    def name() -> str:
        given = {key: value for key, value in flow_run.parameters.items() if key != "resources"}
        settings = given.get("settings")  # perhaps not validated yet
        chosen = _chosen(settings_model.model_validate(settings) if settings else None)
        return _run_name({**given, "settings": chosen, "method": method})

    # Prefect's form takes limits from the annotations, and descriptions from the docstring; a group of
    # fields describes itself.
    about = {
        name: _FIELDS[name].description for name in signature(train_method).parameters if name in _FIELDS
    }
    lines = [f"    {name}: {what}" for name, what in about.items() if what]
    train_method.__doc__ = "\n".join(["Train and measure the method.", "", "Args:", *lines])
    return flow(
        name=f"train-{method}",
        version=VERSION,
        description=methods.load(method).__doc__,
        flow_run_name=name,
        timeout_seconds=_TIMEOUTS["train"],
        persist_result=False,
    )(train_method)


def _chosen(settings: BaseModel | None) -> dict[str, Any]:
    """Return the settings of a method that are not left empty."""
    return settings.model_dump(exclude_none=True, mode="json") if settings else {}


def _run_name(experiment: Experiment | dict[str, Any]) -> str:
    """Return a run's name; one that cannot work is named all the same, so that it can say why."""
    try:
        known = Experiment.model_validate(experiment)
        return name_of(known, read_entry(known))
    except (ValueError, OSError):
        return "refused"


def _made(experiment: Experiment, resources: Resources, until: str) -> State[None]:
    """Run the pipeline; the state of the flow run says what there was to do."""
    _say_if_other_code()
    done = while_it_may_pass(lambda: pipeline.run_within_flow(experiment, resources, until))
    return _state(done)


def _state(done: list[Done]) -> State[None]:
    computed = [one.ref.kind for one in done if one.state == "computed"]
    last = done[-1].ref.address
    if not computed:
        message = f"nothing to compute: all {len(done)} artifacts were there, up to {last}"
        return Completed(name="Cached", message=message)
    return Completed(message=f"{len(computed)} of {len(done)} computed: {', '.join(computed)}; {last}")


def _say_if_other_code() -> None:
    """Warn if the worker has other code than the deployment was made from."""
    context = FlowRunContext.get()
    deployed = context.flow_run.deployment_version if context and context.flow_run else None
    here = provenance.commit()
    if deployed and here and deployed != here:
        _log.warning("deployed from %s, and this worker has %s: update it, or deploy again", deployed, here)


def _stage_flow(name: str, until: str) -> Flow[Any, Any]:
    """Return a flow that runs the pipeline as far as one stage."""

    def run_name() -> str:
        return f"{name}-{_run_name(flow_run.parameters['experiment'])}"

    def stage(experiment: Experiment = Experiment(), resources: Resources = Resources()) -> State[None]:  # noqa: B008
        return _made(experiment, resources, until)

    stage.__doc__ = f"Run the pipeline as far as its stage {until}."
    return flow(
        name=name,
        version=VERSION,
        flow_run_name=run_name,
        timeout_seconds=_TIMEOUTS["stage"],
        persist_result=False,
    )(stage)


preprocess = _stage_flow("preprocess", "dataset")
features = _stage_flow("features", "features")
texts = _stage_flow("texts", "texts")
encode = _stage_flow("encode", "codes")
evaluate = _stage_flow("evaluate", "report")


def _care(name: str) -> Callable[[Callable[..., Any]], Flow[Any, Any]]:
    """Return a decorator for flows that look after what is kept."""

    def decorate(work: Callable[..., Any]) -> Flow[Any, Any]:
        return flow(name=name, version=VERSION, timeout_seconds=_TIMEOUTS["care"], persist_result=False)(work)

    return decorate


@flow(name="compare", version=VERSION, timeout_seconds=_TIMEOUTS["compare"], persist_result=False)
def compare(
    comparison: comparing.Comparison = comparing.Comparison(),  # noqa: B008 - frozen
    resources: Resources = Resources(),  # noqa: B008 - frozen
) -> State[None]:
    """Run every method on every dataset at every length, with every seed, and set them beside each other."""
    _say_if_other_code()
    ref = while_it_may_pass(lambda: comparing.compare.fn(comparison, resources, _log.info))
    return Completed(message=ref.address)


@flow(name="tune", version=VERSION, timeout_seconds=_TIMEOUTS["compare"], persist_result=False)
def tune(wanted: tuning.Tuning, resources: Resources = Resources()) -> State[None]:  # noqa: B008 - frozen
    """Find settings of a method for a dataset by its validation items; the state's message is the recipe."""
    _say_if_other_code()
    tuned = while_it_may_pass(lambda: tuning.tune.fn(wanted, resources, _log.info))
    return Completed(message=recipes.text(tuned.dataset, [tuned.recipe]))


@_care("refresh-index")
def refresh_index(
    source: Path,
    collection: Path,
    model: str | None = None,
    resources: Resources = Resources(),  # noqa: B008
) -> State[None]:
    """Bring a collection up to date: add new images of a folder, encode changed ones again, remove gone ones.

    Args:
        source: folder of images, tars or Parquet files, one of these files, or a file of texts
        collection: folder of the collection that `cmh index` made; a new one is made
        model: address or tag of the model of a new collection; by default the newest in the store
        resources: where it happens
    """  # fmt: skip
    prune, store = index_sources.holds_images(source), open_store()

    def refresh() -> Added:
        chosen = model and tags.resolve(store, model)
        return index.add(store, source, collection, chosen, resources, prune=prune)

    done = while_it_may_pass(refresh)
    gone = len(done.gone) if prune else 0
    for name, reason in done.rejected.items():
        _log.warning("%s is not in the collection: %s", name, reason)
    if not (done.items or gone):
        return Completed(name="Cached", message=f"nothing to do: {done.known} were there and are unchanged")
    return Completed(
        message=f"{done.items} encoded, {done.changed} of them as they had changed; {gone} removed; "
        f"{len(done.rejected)} rejected"
    )


@_care("verify-store")
def verify_store() -> State[None]:
    """Compare every file of every artifact with its checksum; fails if any is damaged, and names all."""
    store = open_store()
    addresses = while_it_may_pass(lambda: artifacts.published(store))
    problems = [
        f"{problem.path} {problem.what}"
        for address in addresses
        for problem in while_it_may_pass(partial(artifacts.verify, store, address))
    ]
    for problem in problems:
        _log.error(problem)
    if problems:
        raise ValueError(
            f"{len(problems)} files of {len(addresses)} artifacts are damaged, such as {problems[0]}; delete "
            "these artifacts (`cmh rm ADDRESS`), then pull or compute them again"
        )
    return Completed(message=f"{len(addresses)} artifacts are whole")


@_care("gc")
def gc(
    older_than: Annotated[float, Field(ge=1)] = 24.0, keep_last: Annotated[int | None, Field(ge=1)] = None
) -> State[None]:
    """Remove what unfinished runs left behind and, if asked for, all but the last artifacts of each name.

    Args:
        older_than: hours since anything was written to it
        keep_last: how many artifacts of each kind and name stay, with all that they were made from and all
            that have a tag; empty: every finished artifact stays
    """
    found = transfer.gc(open_store(), grace=older_than * 3600, keep_last=keep_last, dry_run=False)
    for one in found:
        _log.info("removed %s: %d bytes", one.path, one.size)
    if not found:
        return Completed(name="Cached", message="nothing to remove")
    return Completed(message=f"{len(found)} removed, {sum(one.size for one in found)} bytes")
