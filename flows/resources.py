"""Where a run happens: engines, processes and threads; it never changes a result."""

import os
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from cmh.codes.threads import chosen_threads

HERE = "local"
"""An address of Ray or Dask: one that is started on this machine, for as long as it is needed."""


def _from_environment(name: str) -> str | None:
    """Return an address that the environment names, as that of `cmh up` does."""
    return os.environ.get(name) or None


class Resources(BaseModel):
    """Where a run happens.  None of it is part of any artifact's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(1, ge=1, description="training processes; the global batch is split over them")
    gpu: bool = Field(False, description="one GPU per training process")
    threads: int = Field(
        default_factory=partial(chosen_threads, None),
        ge=1,
        description="CPU threads of the machine where the run starts, for every engine; by default "
        "OMP_NUM_THREADS, or its cores",
    )
    ray: str | None = Field(
        default_factory=partial(_from_environment, "RAY_ADDRESS"),
        description="address of a Ray cluster that this machine is a node of, by default RAY_ADDRESS, or "
        "local: one that is started here, as for several workers or a GPU; without it, one worker trains in "
        "a process of its own",
    )
    dask: str | None = Field(
        default_factory=partial(_from_environment, "DASK_SCHEDULER_ADDRESS"),
        description="address of a Dask scheduler, whose workers see the same store and folders, by default "
        "DASK_SCHEDULER_ADDRESS, or local: one that is started here; without it, processes of this machine "
        "work on the shards",
    )

    @model_serializer(mode="wrap")
    def _as_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write what was set, and nothing of this machine: a deployment's form is filled in on another."""
        return {name: value for name, value in write(self).items() if name in self.model_fields_set}

    @property
    def trains_in_a_process(self) -> bool:
        """Return whether training needs no Ray: one worker on this machine, without a GPU."""
        return self.ray is None and self.workers == 1 and not self.gpu
