"""The ports of the servers of `infra.stack`: the usual ones, or the next that are free."""

from pydantic import BaseModel

from infra import processes


class Ports(BaseModel, frozen=True):
    """Where the servers listen."""

    prefect: int
    ray: int
    ray_dashboard: int
    ray_client: int
    ray_agent: int
    dask: int
    dask_dashboard: int
    s3: int
    s3_master: int
    s3_volume: int
    s3_filer: int
    metrics: int
    service: int


def choose() -> Ports:
    """Return ports of the loopback interface that are free now."""
    taken: set[int] = set()
    return Ports(
        prefect=processes.free_port(4200, taken),
        ray=processes.free_port(6379, taken),
        ray_dashboard=processes.free_port(8265, taken),
        ray_client=processes.free_port(9501, taken),  # below 10002 to 19999, which Ray gives its workers
        ray_agent=processes.free_port(52365, taken),
        metrics=processes.free_port(9464, taken),
        service=processes.free_port(8000, taken),
        dask=processes.free_port(8786, taken),
        dask_dashboard=processes.free_port(8787, taken),
        s3=processes.free_port(8333, taken, also=10_000),  # SeaweedFS takes those for gRPC
        s3_master=processes.free_port(9333, taken, also=10_000),
        s3_volume=processes.free_port(8080, taken, also=10_000),
        s3_filer=processes.free_port(8888, taken, also=10_000),
    )
