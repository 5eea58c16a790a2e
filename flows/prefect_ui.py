"""What a run shows in the Prefect UI: progress, the MAP table, the figures, and where everything lies.

Stages import this, and so do workers: Prefect itself is imported where it is used.
"""

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import INFO, NOTSET, LogRecord, getLogger

from cmh.evaluation.report_page import map_table, pair_table
from infra import artifacts, logging
from infra.artifacts import Ref
from infra.logging import Advance
from infra.storage import Store

_log = getLogger(__name__)
_EVERY = 2.0  # seconds between updates of a progress artifact; each is a request to the server
_AFTER_FAILURE = 60.0  # seconds until the next, where the server did not answer


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show the progress of a long stage on the terminal and, within a run, in the Prefect UI."""
    from httpx import HTTPError
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.context import FlowRunContext, TaskRunContext

    with logging.progress(description, total) as advance:
        if TaskRunContext.get() is None and FlowRunContext.get() is None:
            yield advance
            return
        shown = None
        with _if_it_answers():
            shown = create_progress_artifact(progress=0.0, description=description)
        if shown is None:
            yield advance
            return
        done, next_one = 0, time.monotonic() + _EVERY

        def both(count: int) -> None:
            nonlocal done, next_one
            advance(count)
            done += count
            if done < total and time.monotonic() < next_one:
                return
            next_one = time.monotonic() + _EVERY
            try:
                update_progress_artifact(artifact_id=shown, progress=100.0 * done / max(total, 1))  # type: ignore[arg-type]
            except HTTPError as error:  # the work is not lost with the page that shows it
                _log.debug("the server does not take the progress: %s", error)
                next_one = time.monotonic() + _AFTER_FAILURE

        yield both


def note_flow_run() -> dict[str, str]:
    """Remember how to look at the flow run of this process, and send log lines to it.

    Returns: its id as `flow_run`, for log lines; nothing outside of a flow run.
    """
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return {}
    flow_run = str(context.flow_run.id)
    logging.note_place("Prefect", f"prefect flow-run inspect {flow_run}")
    _send_logs(flow_run)
    return {"flow_run": flow_run}


def server() -> str | None:
    """Return the address of the server that this process works for; None for one of its own."""
    from prefect.settings import PREFECT_API_URL

    address: str | None = PREFECT_API_URL.value()
    return address


def _send_logs(flow_run: str) -> None:
    """Send the project's own log lines to the flow run's Logs tab, from all threads of this process."""
    from prefect.logging.handlers import APILogHandler

    handler = APILogHandler()
    handler.setFormatter(logging.formatter())

    def add_run(record: LogRecord) -> bool:
        record.flow_run_id = getattr(record, "flow_run_id", None) or flow_run
        return True

    handler.addFilter(add_run)
    deployed = getLogger(logging.OWN[0]).level == NOTSET  # no command line has set up logs
    if deployed and logging.is_json():
        logging.set_up_worker()  # else Prefect prints them, as text
    for name in logging.OWN:
        logger = getLogger(name)
        if deployed:
            logger.setLevel(INFO)
        for old in [one for one in logger.handlers if isinstance(one, APILogHandler)]:
            logger.removeHandler(old)  # of an earlier flow run of this process
        logger.addHandler(handler)


def report(store: Store, ref: Ref) -> None:
    """Show the MAP table, the figures and the page of a report, as artifacts of the run."""
    from prefect.artifacts import create_image_artifact, create_table_artifact

    reading = artifacts.open_artifact(store, ref)
    key = ref.name.lower().replace("_", "-").replace(".", "-")  # Prefect allows a-z, 0-9 and -
    metrics = reading.read_table("metrics.parquet")
    tables = {"MAP@all": map_table(metrics), "recall of pairs": pair_table(metrics)}
    with _if_it_answers():
        for (what, rows), end in zip(tables.items(), ("map", "pairs"), strict=True):
            if rows:
                create_table_artifact(rows, key=f"{key}-{end}", description=what)
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
    from prefect.artifacts import create_markdown_artifact

    rows = "\n".join(f"| {r.kind} | `{store.url}/{r.address}` | `cmh pull {r.address}` |" for r in refs)
    with _if_it_answers():
        create_markdown_artifact(
            f"| artifact | where | bring it here |\n|---|---|---|\n{rows}\n",
            key="artifacts",
            description="Artifacts",
        )


@contextmanager
def _if_it_answers() -> Iterator[None]:
    """Go on without what the block shows, if the server is away: the work is not lost with its page."""
    from httpx import HTTPError

    try:
        yield
    except HTTPError as error:
        _log.warning("Prefect's server does not take what the run shows: %s", error)
