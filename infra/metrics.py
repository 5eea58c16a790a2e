"""What the runs of this machine do, in numbers, in the form that Prometheus reads.

A run ends before anybody has asked it twice, so no run has a port of its own: all of them add to one file,
`{CMH_HOME}/metrics/cmh.prom`, whose counters go on from run to run.  `cmh metrics` serves it; the textfile
collector of a node exporter reads its folder as well.  A run keeps its numbers for EVERY seconds and then
adds them in one step.  That they cannot be written is no reason for a run to fail, nor to wait for long.
"""

import atexit
import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from infra.logging import plain
from infra.stores import home

EVERY = 2.0  # seconds between two writes of a run
_PATIENCE = 2.0  # seconds for others that write at the same time, where a stage ends
_MODEL = ("method", "dataset", "bits")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """One metric; the name of a counter ends in _total."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def is_counter(self) -> bool:
        """Return whether it only grows."""
        return self.name.endswith("_total")


STAGES = Metric("cmh_stages_total", "Stages that ended: computed, cached or failed.", ("stage", "result"))
SECONDS = Metric("cmh_stage_seconds_total", "Seconds of stages that were computed or failed.", ("stage",))
ITEMS = Metric("cmh_items_total", "Items that a stage has done.", ("stage",))
BYTES = Metric("cmh_artifact_bytes_total", "Bytes of the artifacts that were made.", ("stage",))
REJECTED = Metric("cmh_rejected_items_total", "Items that were left out.", ("dataset",))
RETRIES = Metric(
    "cmh_retries_total", "Repetitions: of a run after an outage, of parts of a lost process.", ("of",)
)
EPOCHS = Metric("cmh_epochs_total", "Epochs of training.", _MODEL)
EPOCH_SECONDS = Metric("cmh_epoch_seconds_total", "Seconds of these epochs.", _MODEL)
EPOCH = Metric("cmh_epoch", "The last epoch of the last training.", _MODEL)
LOSS = Metric("cmh_loss", "Training loss of that epoch: the sum of its terms.", _MODEL)
VALIDATION = Metric("cmh_validation", "Figure of the validation items after that epoch.", (*_MODEL, "figure"))
CHANGED = Metric("cmh_last_change_timestamp_seconds", "When a run last wrote here.")
METRICS = (
    *(STAGES, SECONDS, ITEMS, BYTES, REJECTED, RETRIES),
    *(EPOCHS, EPOCH_SECONDS, EPOCH, LOSS, VALIDATION, CHANGED),
)
_BY_NAME = {metric.name: metric for metric in METRICS}

Values = dict[tuple[Metric, tuple[str, ...]], float]

_lock = threading.Lock()
_added: Values = {}  # since the last write
_set: Values = {}
_written = 0.0


def file() -> Path:
    """Return where the metrics of this machine are kept."""
    return home() / "metrics" / "cmh.prom"


def add(metric: Metric, amount: float = 1.0, **labels: object) -> None:
    """Add to a counter; 0 makes it known."""
    assert metric.is_counter
    key = _key(metric, labels)
    with _lock:
        _added[key] = _added.get(key, 0.0) + amount
    _write_now_and_then()


def put(metric: Metric, value: float, **labels: object) -> None:
    """Set what is no counter."""
    assert not metric.is_counter
    key = _key(metric, labels)
    with _lock:
        _set[key] = value
    _write_now_and_then()


def write(patience: float = _PATIENCE) -> None:
    """Add what this process has counted to the file; if that cannot be within some seconds, later."""
    global _written
    with _lock:
        if not (_added or _set):
            return
        _written = time.monotonic()
        try:
            with _alone(file().with_suffix(".lock"), patience):
                values = {(RETRIES, (of,)): 0.0 for of in ("run", "process")} | _read(file())
                for key, amount in _added.items():
                    values[key] = values.get(key, 0.0) + amount
                values |= _set
                values[CHANGED, ()] = time.time()
                partial = file().with_suffix(".partial")
                partial.write_bytes(generate_latest(_registry(lambda: values)))
                partial.replace(file())
        except OSError as error:
            log.debug("the metrics cannot be written: %s", error)
            return
        _added.clear()
        _set.clear()


def text() -> bytes:
    """Return the metrics of this machine, as Prometheus reads them."""
    return generate_latest(registry())


def registry() -> CollectorRegistry:
    """Return what reads the file anew each time that it is asked."""
    return _registry(lambda: _read(file()))


def _write_now_and_then() -> None:
    if time.monotonic() - _written > EVERY:
        write(patience=0.0)


def _key(metric: Metric, labels: Mapping[str, object]) -> tuple[Metric, tuple[str, ...]]:
    """Return a metric with its labels, as the file can hold them: names of folders may be no UTF-8."""
    return metric, tuple(plain(str(labels[name])) for name in metric.labels)


@contextmanager
def _alone(path: Path, patience: float) -> Iterator[None]:
    """Write within the block as the only process.  Raises BlockingIOError if others go on for longer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
        yield


def _read(path: Path) -> Values:
    """Return what is kept; what is damaged or of another version counts anew."""
    values: Values = {}
    try:
        for family in text_string_to_metric_families(path.read_text("utf-8")):
            for sample in family.samples:
                metric = _BY_NAME.get(sample.name)
                if metric is not None and set(sample.labels) == set(metric.labels):
                    values[metric, tuple(sample.labels[name] for name in metric.labels)] = float(sample.value)
    except FileNotFoundError:
        pass
    except ValueError as error:
        log.warning("%s is damaged (%s); its counters begin anew", path, error)
        return {}
    return values


def _registry(values: Callable[[], Values]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Values(values))
    return registry


class _Values(Collector):
    def __init__(self, values: Callable[[], Values]) -> None:
        self._values = values

    def collect(self) -> Iterator[Family]:
        values = sorted(self._values().items(), key=lambda item: item[0][1])
        for metric in METRICS:
            make: Callable[..., CounterMetricFamily | GaugeMetricFamily]
            make = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for (one, labels), value in values:
                if one == metric:
                    family.add_metric(labels, value)
            yield family


atexit.register(write)
