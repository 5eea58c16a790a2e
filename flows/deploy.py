"""Which flows are deployed on what, and how they are brought to the Prefect server at PREFECT_API_URL.

Nothing is listed by hand: the deployments follow from the catalog and the methods.  A deployment names its
flow by its module, so that each worker runs the code that is installed where it is: the wheel, the image or
the checkout, never the folder of whoever deployed.  Its version is the commit; a worker with other code says
so in the log of the run.

Deploying again renews flow, form, version and description.  Parameters, schedules, limits, tags, and whether
a deployment is paused, belong to the operator once the deployment is there.  `prefect deployment delete`
gives them up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound

from data_catalog import catalog
from data_catalog.catalog import Manual
from flows import deployments, preflight
from flows.experiment import Experiment
from flows.run import resolve
from infra import bucket, stack_servers

PAPERS = ("scahn", "dspah", "adah")
"""The methods that this project began with; they are deployed on every dataset that they can read."""

SHALLOW = ("scm", "cca")
"""Deployed where none of those can be: on features without validation items."""

STAGES = {
    "preprocess": "Fetch the sources, render the images, make texts, labels and the split",
    "features": "Cache the features of the frozen backbone",
    "texts": "Cache the features of a frozen text network",
    "encode": "Encode every image and text with the trained model",
    "evaluate": "Measure retrieval in all four directions",
}
"""Flows of one stage, with all that it needs, and what it does."""

HEARTBEAT = 60  # seconds; a run without one for three times as long is taken for dead
NIGHTLY = {"train": "0 3 * * *", "refresh-index": "0 2 * * *", "verify-store": "0 4 * * *", "gc": "0 5 * * *"}


@dataclass(frozen=True)
class Deployment:
    """One flow with parameters, as it is to be deployed."""

    attribute: str  # of flows.deployments
    name: str
    parameters: dict[str, Any]
    tags: tuple[str, ...]
    description: str = ""
    cron: str | None = None  # declared, and paused
    collision: ConcurrencyLimitStrategy = ConcurrencyLimitStrategy.ENQUEUE  # of two runs of it at once

    @property
    def flow(self) -> Flow[Any, Any]:
        flow: Flow[Any, Any] = getattr(deployments, self.attribute)
        return flow

    @property
    def full_name(self) -> str:
        """As `prefect deployment run` takes it."""
        return f"{self.flow.name}/{self.name}"


@dataclass
class Deployed:
    """What was brought to the server."""

    created: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)


def everything() -> list[Deployment]:
    """Return the deployments that follow from the catalog: what `cmh deploy` deploys."""
    every = [one for dataset in catalog.available() for one in _of_dataset(dataset)]
    return [*every, *_care()]


def training(method: str, dataset: str) -> Deployment:
    """Return the deployment of a method on a dataset.

    Raises:
        ValueError: there is no such method or dataset, or they do not go together.
    """
    run = resolve(Experiment(method=method, dataset=dataset))
    preflight.check_settings(run)
    return Deployment(
        f"train_{method}",
        run.entry.name,
        {"dataset": dataset},
        (method, run.entry.name, "train"),
        _about(f"{method}, from the sources to the report", run.entry),
        NIGHTLY["train"],
    )


def refreshing(name: str, source: Path, collection: Path, model: str | None = None) -> Deployment:
    """Return the deployment that keeps a collection in step with a folder.

    Raises:
        ValueError: there is no such folder.
    """
    if not source.exists():
        raise ValueError(
            f"--source {bucket.as_written(source)} is no folder or file of this machine; give a folder of "
            "images, or a .txt file of texts"
        )
    parameters = {"source": str(source.absolute()), "collection": str(collection.absolute()), "model": model}
    return Deployment(
        "refresh_index",
        name,
        parameters,
        (name, "index"),
        f"Keep {collection} in step with {source}: add what is new, renew what changed, remove what is gone.",
        NIGHTLY["refresh-index"],
        ConcurrencyLimitStrategy.CANCEL_NEW,
    )


def _of_dataset(dataset: str) -> Iterator[Deployment]:
    methods = _fitting(PAPERS, dataset) or _fitting(SHALLOW, dataset)
    for method in dict.fromkeys([*methods, *_fitting([Experiment().method], dataset)]):
        yield training(method, dataset)
    entry = catalog.load(dataset)
    for stage, what in STAGES.items():
        settings: dict[str, Any] = {"dataset": dataset, "method": methods[0]}
        if stage == "texts":
            settings |= {"method": "joint", "text": {"name": "minilm_l6_v2"}}
            if not _fits(Experiment.model_validate(settings)):
                continue  # the dataset brings features of its texts
        yield Deployment(stage, dataset, {"experiment": settings}, (dataset, stage), _about(what, entry))
    compared = {"comparison": {"datasets": [dataset], "methods": methods[:2]}}
    if entry.split.validation:
        tuned = {"wanted": {"method": methods[0], "dataset": dataset}}
        yield Deployment("tune", dataset, tuned, (dataset, "tune"), _about("Tune a method", entry))
    yield Deployment("compare", dataset, compared, (dataset, "compare"), _about("Compare methods", entry))


def _fitting(methods: Sequence[str], dataset: str) -> list[str]:
    return [one for one in methods if _fits(Experiment(method=one, dataset=dataset))]


def _fits(experiment: Experiment) -> bool:
    try:
        preflight.check_settings(resolve(experiment))
    except ValueError:
        return False
    return True


def _about(what: str, entry: catalog.Entry) -> str:
    """Return a description, with what an operator brings first, as nothing fetches it by itself."""
    own = [source for source in entry.sources.values() if isinstance(source, Manual)]
    if not own:
        return f"{what}: {entry.title}."
    lines = "\n".join(f"* `{source.path}` from {source.where}" for source in own)
    return (
        f"{what}: {entry.title}.\n\nIt reads these files below `$CMH_HOME/downloads`; put them there first:"
        f"\n\n{lines}"
    )


def _care() -> list[Deployment]:
    new = ConcurrencyLimitStrategy.CANCEL_NEW
    return [
        Deployment(
            "verify_store", "nightly", {}, ("store",),
            "Compare every file of every artifact with its checksum.", NIGHTLY["verify-store"], new,
        ),
        Deployment(
            "gc", "nightly", {}, ("store",),
            "Remove what unfinished runs left behind.", NIGHTLY["gc"], new,
        ),
    ]  # fmt: skip


def apply(wanted: list[Deployment], pool: str = stack_servers.POOL, image: str | None = None) -> Deployed:
    """Bring deployments to the server; the pool is made if there is none of that name.

    Args:
        wanted: the deployments.
        pool: name of the work pool; a new one runs processes, one run at a time, as each takes every core.
        image: for pools whose runs are containers.

    Raises:
        PrefectHTTPStatusError: the server refuses one.
    """
    done = Deployed()
    with get_client(sync_client=True) as client:
        _ensure_pool(client, pool)
        for one in wanted:
            (done.created if _apply(client, one, pool, image) else done.renewed).append(one.full_name)
    return done


def _ensure_pool(client: SyncPrefectClient, pool: str) -> None:
    try:
        client.read_work_pool(pool)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", concurrency_limit=1))


def _apply(client: SyncPrefectClient, one: Deployment, pool: str, image: str | None) -> bool:
    """Create or renew a deployment; whether it was created."""
    schema = one.flow.parameters.model_dump_for_openapi()
    entrypoint = f"{deployments.__name__}.{one.attribute}"
    try:
        there = client.read_deployment_by_name(one.full_name)
    except ObjectNotFound:
        variables: dict[str, Any] = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}}
        schedules = [
            DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone="UTC"), active=False)
            for cron in [one.cron]
            if cron
        ]
        client.create_deployment(
            flow_id=client.create_flow(one.flow),
            name=one.name,
            version=deployments.VERSION,
            schedules=schedules,
            concurrency_limit=1,
            concurrency_options=ConcurrencyOptions(collision_strategy=one.collision),
            parameters=one.parameters,
            description=one.description,
            work_pool_name=pool,
            tags=["cmh", *one.tags],
            entrypoint=entrypoint,
            pull_steps=[],
            parameter_openapi_schema=schema,
            job_variables=variables | ({"image": image} if image else {}),
            enforce_parameter_schema=True,
        )
        return True
    renewed = DeploymentUpdate(
        version=deployments.VERSION,
        description=one.description,
        entrypoint=entrypoint,
        path=None,
        pull_steps=[],
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        **({"job_variables": there.job_variables | {"image": image}} if image else {}),
    )
    client.update_deployment(there.id, renewed)
    return False
