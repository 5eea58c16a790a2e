"""When, where, by which code and in which run an artifact is made: what its manifest keeps beside it."""

import sys
from datetime import UTC, datetime
from typing import Any

from flows.resources import Resources
from infra import provenance


def of(arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Return the circumstances of a stage that begins now, by the arguments of its task.

    `threads` are those that it was given: with the seconds they make core-hours, as a batch system counts.
    """
    resources = next((one for one in arguments if isinstance(one, Resources)), None)
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "threads": resources.threads if resources else 1,
        **provenance.machine(),
        **_flow_run(),
    }


def _flow_run() -> dict[str, str]:
    """Return name and id of the flow run around; Prefect is not imported for it."""
    prefect = sys.modules.get("prefect.context")
    context = prefect.FlowRunContext.get() if prefect else None
    if context is None or context.flow_run is None:
        return {}
    return {"run": context.flow_run.name, "flow_run": str(context.flow_run.id)}
