"""One process at a time makes an artifact; another that wants the same one waits, and then finds it made.

A lease is the file `lease.json` at the artifact's address.  Its holder counts up in it every few seconds.  It
is free again when the holder gives it back, when the holder was a process of this machine that is gone, or
when it was not renewed for PATIENCE seconds, by the clock of whoever waits.
"""

import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from infra.storage import StorageError, Store

BEAT = 10.0  # seconds between two renewals
PATIENCE = 90.0  # seconds without a renewal after which a lease is taken over
LOOK = 2.0  # seconds between two looks of whoever waits
_NAME = "lease.json"

_log = logging.getLogger(__name__)


@contextmanager
def hold(store: Store, address: str, made: Callable[[], bool]) -> Iterator[None]:
    """Wait until the lease on an address is ours, or `made()` says that there is nothing left to do.

    Args:
        store: the store.
        address: address of the artifact.
        made: whether the artifact is there; asked while another process holds the lease.

    Raises:
        StorageError: if the store cannot be asked.
    """
    path, ours = f"{address}/{_NAME}", {**_self(), "nonce": uuid.uuid4().hex, "beat": 0}
    if not _take(store, path, ours, made):
        yield
        return
    ended = threading.Event()
    renewer = threading.Thread(target=_renew, args=(store, path, ours, ended), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        ended.set()
        renewer.join()
        _give_back(store, path, ours)


def _take(store: Store, path: str, ours: dict[str, Any], made: Callable[[], bool]) -> bool:
    """Create the lease; False if meanwhile the artifact was made."""
    seen: dict[str, Any] | None = None
    since, told = time.monotonic(), False
    while not store.create_exclusive(path, json.dumps(ours).encode()):
        theirs = _read(store, path)
        if theirs is None:
            continue
        if _same(theirs, ours):  # the answer to our own request was lost, and it was repeated
            return True
        if theirs != seen:
            seen, since = theirs, time.monotonic()
        if _is_gone(theirs) or time.monotonic() - since > PATIENCE:
            time.sleep(random.uniform(0, 0.2))  # of several that wait, one is first
            if _read(store, path) == theirs:
                _log.warning("the lease of %s on %s is taken over: it is gone", _shown(theirs), path)
                store.delete(path)
            continue
        if not told:
            _log.info("%s is making %s; waiting for it", _shown(theirs), os.path.dirname(path))
            told = True
        time.sleep(LOOK)
        if made():
            return False
    return True


def _give_back(store: Store, path: str, ours: dict[str, Any]) -> None:
    """Delete the lease; the work is done or has failed by then, and an outage changes neither."""
    try:
        if _same(_read(store, path), ours):
            store.delete(path)
    except StorageError as error:
        _log.warning("the lease %s could not be given back (%s); it is free in %.0f s", path, error, PATIENCE)


def _renew(store: Store, path: str, ours: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        ours["beat"] += 1
        try:
            if not _same(_read(store, path), ours):
                _log.warning("the lease %s was taken over while this process was asleep", path)
                return
            store.write_bytes(path, json.dumps(ours).encode())
        except StorageError as error:  # the work itself will tell if the store stays away
            _log.debug("the lease %s could not be renewed: %s", path, error)


def _read(store: Store, path: str) -> dict[str, Any] | None:
    try:
        found = json.loads(store.read_bytes(path))
    except FileNotFoundError:
        return None
    except ValueError:  # cut short, as on a full disk: nobody's
        return {}
    return found if isinstance(found, dict) else {}


def _self() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "host": _host(), "pid": process.pid, "started": process.create_time(), "thread": threading.get_ident()
    }  # fmt: skip


def _host() -> str:
    """Return what tells machines, and containers on one machine, apart."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{os.stat(namespace).st_ino if namespace.exists() else ''}"


def _is_gone(theirs: dict[str, Any]) -> bool:
    """Return whether the holder was a process of this machine that has ended, or nobody."""
    if not theirs:
        return True
    if theirs.get("host") != _host():
        return False
    try:
        return bool(psutil.Process(int(theirs["pid"])).create_time() != theirs["started"])
    except (psutil.Error, KeyError, ValueError, TypeError):
        return True


def _same(theirs: dict[str, Any] | None, ours: dict[str, Any]) -> bool:
    keys = ("host", "pid", "started", "thread", "nonce")
    return theirs is not None and all(theirs.get(key) == ours[key] for key in keys)


def _shown(theirs: dict[str, Any]) -> str:
    return f"process {theirs.get('pid')} on {str(theirs.get('host')).partition('/')[0]}"
