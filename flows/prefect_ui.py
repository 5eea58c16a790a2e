"""What a run shows in the Prefect UI: progress, the MAP table, the figures, and where everything lies."""

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import INFO, NOTSET, LogRecord, getLogger

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from cmh.evaluation.report_page import map_table
from infra import artifacts, logging
from infra.artifacts import Ref
from infra.logging import Advance
from infra.storage import Store

_EVERY = 2.0  # seconds between updates of a progress artifact; each is a request to the server


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show the progress of a long stage on the terminal and, within a run, in the Prefect UI."""
    with logging.progress(description, total) as advance:
        if TaskRunContext.get() is None and FlowRunContext.get() is None:
            yield advance
            return
        shown = create_progress_artifact(progress=0.0, description=description)
        done, told = 0, time.monotonic()

        def both(count: int) -> None:
            nonlocal done, told
            advance(count)
            done += count
            if done >= total or time.monotonic() - told > _EVERY:
                update_progress_artifact(artifact_id=shown, progress=100.0 * done / max(total, 1))  # type: ignore[arg-type]
                told = time.monotonic()

        yield both


def note_flow_run() -> None:
    """Remember how to look at the flow run of this process, and send log lines to it."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        logging.note_place("Prefect", f"prefect flow-run inspect {context.flow_run.id}")
        _send_logs(str(context.flow_run.id))


def _send_logs(flow_run: str) -> None:
    """Send the project's own log lines to the flow run's Logs tab, from all threads of this process."""
    handler = APILogHandler()
    handler.setFormatter(logging.formatter())

    def add_run(record: LogRecord) -> bool:
        record.flow_run_id = getattr(record, "flow_run_id", None) or flow_run
        return True

    handler.addFilter(add_run)
    for name in logging.OWN:
        logger = getLogger(name)
        for old in [one for one in logger.handlers if isinstance(one, APILogHandler)]:
            logger.removeHandler(old)  # of an earlier flow run of this process
        logger.addHandler(handler)
        if logger.level == NOTSET:  # a deployment: no command line has set up logs
            logger.setLevel(INFO)


def report(store: Store, ref: Ref) -> None:
    """Show the MAP table, the figures and the page of a report, as artifacts of the run."""
    reading = artifacts.open_artifact(store, ref)
    key = ref.name.lower().replace("_", "-").replace(".", "-")  # Prefect allows a-z, 0-9 and -
    create_table_artifact(
        map_table(reading.read_table("metrics.parquet")), key=f"{key}-map", description="MAP@all"
    )
    for name in sorted(name for name in reading.files if name.endswith(".png")):
        # The picture itself, not a link: the browser may not see the store.
        picture = base64.b64encode(reading.read_bytes(name)).decode()
        create_image_artifact(
            image_url=f"data:image/png;base64,{picture}",
            key=f"{key}-{name.removesuffix('.png').replace('_', '-')}",
            description=name,
        )


def links(store: Store, refs: Sequence[Ref]) -> None:
    """Show where the artifacts of the run lie, and the command that brings each to one's own machine."""
    rows = "\n".join(f"| {r.kind} | `{store.url}/{r.address}` | `cmh pull {r.address}` |" for r in refs)
    create_markdown_artifact(
        f"| artifact | where | bring it here |\n|---|---|---|\n{rows}\n",
        key="artifacts",
        description="Artifacts",
    )
