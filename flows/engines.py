"""Who computes: processes of this machine for parts, or Dask where the resources name one.

Dask and Ray are imported where they are asked for: a run on one machine needs neither, nor their extra.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from flows.resources import HERE, Resources
from infra import process_pool
from infra.workers import Workers

_IMPORTS = [f"flows.stages.{name}" for name in ("images", "features", "texts", "encode", "train_worker")]
_NAMES = {"ray": "Ray", "distributed": "Dask"}


def check_installed(package: str, reason: str) -> None:
    """Refuse what needs an engine that is not installed.

    Args:
        package: "ray" or "distributed".
        reason: what asks for it, such as an option with its value.

    Raises:
        ValueError: the package is not installed; names the extra that brings it.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"{reason} needs {_NAMES[package]}, which is not installed; pip install 'cmh[engines]', or leave "
            "that out: one worker on this machine's CPU needs neither Ray nor Dask"
        )


def prepare(resources: Resources) -> None:
    """Have what the stages import loaded beside this process, if processes of this machine will need it."""
    if resources.dask is None or resources.trains_in_a_process:
        process_pool.prepare(_IMPORTS)


@contextmanager
def workers(resources: Resources) -> Iterator[Workers]:
    """Yield the processes that make the parts of a stage, one thread each."""
    if resources.dask is None:
        with process_pool.start(resources.threads) as pool:
            yield pool
        return
    from infra import dask_cluster

    address = None if resources.dask == HERE else resources.dask
    with dask_cluster.connect(address, workers=resources.threads, threads=1) as client:
        yield dask_cluster.DaskWorkers(client)
