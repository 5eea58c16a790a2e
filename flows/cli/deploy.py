"""`cmh deploy`: bring deployments to a Prefect server."""

import os
from pathlib import Path
from typing import Any

from flows import automations
from flows import deploy as deploying
from flows.cli.terminal import Json, say, show
from infra import reachable, stack_servers


def deploy(
    target: str | None = None,
    *,
    source: Path | None = None,
    collection: Path | None = None,
    model: str | None = None,
    pool: str = stack_servers.POOL,
    image: str | None = None,
    as_json: Json = False,
) -> None:
    """Deploy to the Prefect server at PREFECT_API_URL; its help is in `flows.cli.app`.

    Parameters
    ----------
    target
        METHOD/DATASET, or refresh-index/NAME with --source and --collection; by default all that there is:
        the papers' methods, each stage and a comparison on every dataset, verify-store and gc
    source
        of refresh-index: the folder of images, or the .txt file, as the workers see it
    collection
        of refresh-index: the folder of the collection, as the workers see it
    model
        of refresh-index: address of the model of a new collection; by default the newest in the store
    pool
        the work pool; made, for processes, if there is none of that name
    image
        of pools whose runs are containers: the image that they run
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise ValueError(
            "PREFECT_API_URL names no server to deploy to; `cmh up` starts one, or set it to yours, such as "
            "http://127.0.0.1:4200/api"
        )
    reachable.check_prefect()
    wanted = _wanted(target, source, collection, model)
    done = deploying.apply(wanted, pool, image)
    acted = automations.apply()
    if as_json:
        rows: list[dict[str, Any]] = [{"deployment": name, "state": "created"} for name in done.created]
        rows += [{"deployment": name, "state": "renewed"} for name in done.renewed]
        show([*rows, *({"automation": line} for line in acted)], as_json)
        return
    for name in done.created:
        say(f"created  {name}")
    if done.renewed:
        say(f"renewed  {len(done.renewed)} that were there; parameters, schedules and limits are left as set")
    for line in acted:
        say(line, style="dim")
    say(f"run one: prefect deployment run {wanted[0].full_name}")


def _wanted(
    target: str | None, source: Path | None, collection: Path | None, model: str | None
) -> list[deploying.Deployment]:
    if target is None:
        return deploying.everything()
    kind, _, name = target.partition("/")
    if not (kind and name):
        raise ValueError(
            f"{target!r} is not METHOD/DATASET, as in scm/wiki (`cmh methods` and `cmh catalog` list them), "
            "nor refresh-index/NAME"
        )
    if kind == "refresh-index":
        if source is None or collection is None:
            raise ValueError("refresh-index/NAME takes both --source PHOTOS and --collection FOLDER")
        return [deploying.refreshing(name, source, collection, model)]
    return [deploying.training(kind.removeprefix("train-").replace("-", "_"), name)]
