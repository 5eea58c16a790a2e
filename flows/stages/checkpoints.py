"""The checkpoint of a training run in the store, and how far the run is: written whole or not at all.

A folder holds `progress.json`, which names the files of the last checkpoint with their checksums, and these
files.  Whoever trains on, in a process of this machine or on Ray, goes on from there.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from cmh.training import checkpoint
from cmh.training.checkpoint import State
from cmh.training.trainer import Epoch
from infra.storage import Store

_log = getLogger(__name__)
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    epoch: dict[str, Any]  # the last one, as `Epoch`
    seconds: list[float]  # of each epoch
    files: dict[str, str]  # of the checkpoint: path in the folder → SHA-256


def keep(store: Store, folder: str, epoch: Epoch, state: State, seconds: list[float]) -> None:
    """Write the checkpoint after an epoch, then forget the one before."""
    before = progress(store, folder)
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint.save(state, Path(scratch))
        for file in sorted(Path(scratch).iterdir()):
            name = f"epoch-{epoch.number}/{file.name}"
            with file.open("rb") as source, store.open(f"{folder}/{name}", "wb") as target:
                shutil.copyfileobj(source, target)
            with file.open("rb") as source:
                files[name] = hashlib.file_digest(source, "sha256").hexdigest()
    told = Progress(asdict(epoch), seconds, files)
    store.write_bytes(f"{folder}/{_PROGRESS}", json.dumps(asdict(told)).encode())
    for name in before.files.keys() - files.keys() if before is not None else ():
        store.delete(f"{folder}/{name}")


def progress(store: Store, folder: str) -> Progress | None:
    """Return how far the run is, None if it has no checkpoint or what says so cannot be read."""
    try:
        return Progress(**json.loads(store.read_bytes(f"{folder}/{_PROGRESS}")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def last(store: Store, folder: str) -> tuple[State | None, list[float]]:
    """Return the state to go on from and the seconds of each epoch until then; none, to start anew.

    A checkpoint that is damaged is said and not used.
    """
    told = progress(store, folder)
    if told is None:
        if store.exists(f"{folder}/{_PROGRESS}"):
            _log.warning("%s/%s is damaged; training starts anew", folder, _PROGRESS)
        return None, []
    with tempfile.TemporaryDirectory() as scratch:
        for name, sha256 in told.files.items():
            try:
                data = store.read_bytes(f"{folder}/{name}")
            except FileNotFoundError:
                data = b""
            if hashlib.sha256(data).hexdigest() != sha256:
                _log.warning("the checkpoint %s is damaged; training starts anew", name)
                return None, []
            (Path(scratch) / Path(name).name).write_bytes(data)
        return checkpoint.load(Path(scratch)), told.seconds
