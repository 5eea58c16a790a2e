"""Try a deployed run again after what can pass: an outage, a lost cluster; never after what cannot.

Every stage takes over what was finished, so another attempt goes on and does not start anew.  Prefect's own
retries of a flow know no condition: they would repeat a wrong setting, too.
"""

import errno
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from infra import metrics
from infra.storage import StorageError

T = TypeVar("T")

PAUSES = (30.0, 120.0, 600.0)
"""Seconds before the second, third and fourth attempt."""

_LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

_log = logging.getLogger(__name__)


def while_it_may_pass(work: Callable[[], T], pauses: Sequence[float] = PAUSES) -> T:
    """Return `work()`, repeated after each pause while it raises what can pass.

    Raises: what `work` raises at last.
    """
    for number, pause in enumerate(pauses, start=1):
        try:
            return work()
        except Exception as error:
            if not can_pass(error):
                raise
            metrics.add(metrics.RETRIES, of="run")
            _log.warning(
                "attempt %d of %d failed: %s; the next begins in %.0f s and goes on from there",
                *(number, len(pauses) + 1, error, pause),
            )
        time.sleep(pause)
    return work()


def can_pass(error: BaseException) -> bool:
    """Return whether the same work may succeed later, without anybody changing anything.

    >>> can_pass(ConnectionError("nobody answers")), can_pass(ValueError("bits must be ..."))
    (True, False)
    """
    chain = list(_causes(error))
    if any(isinstance(one, PermissionError | FileNotFoundError) for one in chain):
        return False
    if any(isinstance(one, OSError) and one.errno in _LASTING for one in chain):
        return False
    return any(isinstance(one, StorageError | ConnectionError | TimeoutError) for one in chain)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
