"""The command `cmh`, called as from a shell but within this process, to import its engines once."""

import contextlib
import io
import json
import logging
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from flows.cli import app
from infra import signals


@dataclass(frozen=True)
class Called:
    """What a call of `cmh` ended with."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]


def cmh(*arguments: object) -> Called:
    """Call `cmh` with these arguments; whatever it sets for its process is undone."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        signals.kept(),
    ):
        patch.setattr(sys, "argv", ["cmh", *map(str, arguments)])
        patch.setenv("COLUMNS", "300")  # no folded lines
        for name in ("PREFECT_LOGGING_LEVEL", "DASK_LOGGING__DISTRIBUTED"):
            patch.setenv(name, "CRITICAL")
        try:
            with pytest.raises(SystemExit) as left:
                app.main()
        finally:
            root.handlers[:], root.level = handlers, level
    return Called(int(left.value.code or 0), out.getvalue(), err.getvalue())
