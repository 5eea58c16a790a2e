"""The pipeline: from the sources of a dataset to a report, one artifact after the other.

`steps` is the whole of it, top to bottom.  Every `yield` asks for one artifact; who drives it either computes
it (`start`, and through it every flow) or only looks it up (`plan`).  What is in the store is not made again.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

import zarr
from prefect import Flow, flow

from cmh import methods
from cmh.data import readers, schema
from flows import encode, evaluate, feasible, features, preprocess, publish, texts, train, vectors
from flows.experiments import Backbone, Evaluation, Experiment, Resources, Text, Training
from infra import artifacts
from infra.artifacts import Ref, Target
from infra.storage import Store, open_store


@dataclass(frozen=True)
class Step:
    """One artifact of the pipeline: what is asked for, and how to make it."""

    target: Target
    make: Callable[[], Ref]


@dataclass(frozen=True)
class Done:
    """A step that was run."""

    ref: Ref
    state: str  # computed, or cached
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A step that was looked up."""

    stage: str
    state: str
    address: str | None = None
    size: int | None = None  # bytes in the store


def steps(store: Store, experiment: Experiment, resources: Resources) -> Generator[Step, Ref, None]:
    """Preprocess, extract features, train, encode and evaluate, in this order."""
    feasible.check(experiment, resources)
    images, dataset, source = yield from _data(store, experiment, resources)

    wanted_model = train.target(experiment, dataset, source)
    model = yield Step(
        wanted_model, lambda: train.train(store, wanted_model, experiment, dataset, source, resources)
    )

    wanted_codes = encode.target(model, dataset, source)
    codes = yield Step(
        wanted_codes, lambda: encode.encode(store, wanted_codes, model, dataset, images, source, resources)
    )

    wanted_report = evaluate.target(codes, dataset, experiment.evaluation)
    yield Step(
        wanted_report,
        lambda: evaluate.evaluate(store, wanted_report, codes, dataset, experiment.evaluation, resources),
    )


def _data(
    store: Store, experiment: Experiment, resources: Resources
) -> Generator[Step, Ref, tuple[Ref, Ref, Ref]]:
    """Images, dataset, and what training reads of the images: themselves, or features of them."""
    entry, backbone = experiment.entry, experiment.backbone
    if readers.brings_features(entry.reader):
        given = vectors.features_target(entry)
        source = yield Step(given, lambda: vectors.features(store, given, entry))
        described = vectors.dataset_target(source, entry)
        dataset = yield Step(described, lambda: vectors.dataset(store, described, entry))
        _check(store, dataset, experiment)
        return source, dataset, source

    wanted = preprocess.images_target(entry, experiment.limit)
    images = yield Step(wanted, lambda: preprocess.images(store, wanted, entry, experiment.limit, resources))

    wanted_dataset = preprocess.dataset_target(images, entry, experiment.limit)
    dataset = yield Step(
        wanted_dataset,
        lambda: preprocess.dataset(store, wanted_dataset, images, entry, experiment.limit),
    )
    _check(store, dataset, experiment)
    if experiment.text.is_network:
        worded, wanted_texts = dataset, texts.target(dataset, experiment.text)
        dataset = yield Step(
            wanted_texts, lambda: texts.texts(store, wanted_texts, worded, experiment.text, resources)
        )
    if not backbone.frozen:
        return images, dataset, images

    grid = experiment.grid
    wanted_features = features.target(images, backbone, grid)
    source = yield Step(
        wanted_features,
        lambda: features.features(store, wanted_features, images, backbone, resources, grid),
    )
    return images, dataset, source


def stages(experiment: Experiment) -> list[str]:
    """The kinds of artifacts that `steps` makes, in its order."""
    if readers.brings_features(experiment.entry.reader):
        return ["features", "dataset", "model", "codes", "report"]
    frozen = {"texts": experiment.text.is_network, "features": experiment.backbone.frozen}
    of_networks = [stage for stage, is_made in frozen.items() if is_made]
    return ["images", "dataset", *of_networks, "model", "codes", "report"]


def _check_stage(experiment: Experiment, until: str) -> None:
    if until not in (there := stages(experiment)):
        raise ValueError(
            f"this run has no stage {until}: its backbone is trained along, and no features of it are kept; "
            f"it has {', '.join(there)}"
        )


def _check(store: Store, dataset: Ref, experiment: Experiment) -> None:
    """What training would refuse, before features are computed for it."""
    group = zarr.open_group(artifacts.open_artifact(store, dataset).zarr("dataset.zarr"), mode="r")
    items = schema.array(group, "split/train").shape[0]
    solved = methods.is_shallow(experiment.method)
    if not solved and not schema.array(group, "split/validation").shape[0]:
        raise ValueError(
            f"{dataset.name} has no validation items, by which {experiment.method} chooses its best epoch; "
            "give more items, or a larger share `validation` of its split"
        )
    batch = 1 if solved else experiment.training.batch_size
    needed = max(experiment.bits, batch)
    if items < needed:
        raise ValueError(
            f"{dataset.name} has {items} training items, and {experiment.bits} bits in batches of "
            f"{batch} need at least {needed}; give more items, or lower "
            "--bits and --training.batch-size"
        )


def start(experiment: Experiment, resources: Resources, until: str = "report") -> list[Done]:
    """Run the pipeline as far as `until`, as the Prefect flow `cross-modal-hashing`."""
    _check_stage(experiment, until)
    feasible.check(experiment, resources)  # as `steps`; here, before Prefect's server is started for the run
    done: list[Done] = _chain.with_options(flow_run_name=f"{experiment.method}-{experiment.entry.name}")(
        experiment, resources, until
    )
    return done


@flow(name="cross-modal-hashing", persist_result=False, validate_parameters=False)
def _chain(experiment: Experiment, resources: Resources, until: str) -> list[Done]:
    _check_stage(experiment, until)
    store = open_store()
    done: list[Done] = []
    going = steps(store, experiment, resources)
    step = next(going)
    while True:
        began = time.perf_counter()
        cached = artifacts.lookup(store, step.target) is not None
        ref = step.make()
        done.append(Done(ref, "cached" if cached else "computed", time.perf_counter() - began))
        if ref.kind == "report":
            publish.report(store, ref)
        if ref.kind == until:
            break
        step = going.send(ref)
    publish.links(store, [one.ref for one in done])
    return done


def plan(experiment: Experiment, resources: Resources, until: str = "report") -> list[Planned]:
    """Look every step up and compute nothing.  The address of a step is known once the one before is done."""
    _check_stage(experiment, until)
    store = open_store()
    wanted = stages(experiment)
    wanted = wanted[: wanted.index(until) + 1]
    planned: list[Planned] = []
    going = steps(store, experiment, resources)
    step = next(going)
    for stage in wanted:
        ref = artifacts.lookup(store, step.target)
        if ref is None:
            planned.append(Planned(stage, "to compute", step.target.address))
            break
        files = artifacts.open_artifact(store, ref).files
        planned.append(Planned(stage, "cached", ref.address, sum(file.size for file in files.values())))
        if stage != wanted[-1]:
            step = going.send(ref)
    return planned + [Planned(stage, "to compute") for stage in wanted[len(planned) :]]


def _method_flow(method: str) -> Flow[Any, Any]:
    """The flow `train-<method>`: its parameters are the fields of an experiment, the form in the UI."""

    def train_method(
        dataset: str = "emoji",
        bits: int = 64,
        seed: int = 0,
        recipe: Literal["short", "paper"] = "short",
        settings: dict[str, Any] | None = None,
        limit: int | None = None,
        backbone: Backbone = Backbone(),  # noqa: B008 - frozen
        text: Text = Text(),  # noqa: B008 - frozen
        training: Training = Training(),  # noqa: B008 - frozen
        evaluation: Evaluation = Evaluation(),  # noqa: B008 - frozen
        resources: Resources = Resources(),  # noqa: B008 - frozen
    ) -> None:
        experiment = Experiment(
            dataset=dataset, method=method, bits=bits, seed=seed, recipe=recipe, settings=settings or {},
            limit=limit, backbone=backbone, text=text, training=training, evaluation=evaluation,
        )  # fmt: skip
        _chain.fn(experiment, resources, "report")

    return flow(name=f"train-{method}", description=methods.load(method).__doc__, persist_result=False)(
        train_method
    )


def _stage_flow(name: str, until: str) -> Flow[Any, Any]:
    """A flow that runs the pipeline as far as one stage."""

    def stage(experiment: Experiment = Experiment(), resources: Resources = Resources()) -> None:  # noqa: B008
        _chain.fn(experiment, resources, until)

    return flow(name=name, persist_result=False)(stage)


# One flow per method, `flows/pipeline.py:train_<method>` in prefect.yaml: a new method needs no line here.
globals().update({f"train_{method}": _method_flow(method) for method in methods.available()})

preprocess_flow = _stage_flow("preprocess", "dataset")
features_flow = _stage_flow("features", "features")
encode_flow = _stage_flow("encode", "codes")
evaluate_flow = _stage_flow("evaluate", "report")
