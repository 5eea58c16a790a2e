"""Say what went wrong: the one place where a failure reaches a person at the command line."""

import traceback

from rich.console import Console

from cmh.training.failures import TrainingFailure
from infra import logging

DEBUG = "--debug"
LONGEST = 4000  # characters of an error that are shown


def explain(error: Exception, *, debug: bool) -> None:
    """Print an error: what was given, what is allowed, what to do; with `debug` where it came from, too."""
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(logging.TRACEBACK)]
    said = str(error) if isinstance(error, (ValueError, OSError, TrainingFailure)) else repr(error)
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
    lines = [said, *(f"({note})" for note in notes)]
    if debug:
        lines = [*traceback.format_exception(error), *lines]
    if places := logging.places():  # none, if it was refused before any engine was started
        lines += ["logs of this run:", *(f"  {place}" for place in places)]
        lines += (
            [] if debug else [f"{DEBUG} shows where in the code it failed; docs/debugging.md, what to do"]
        )
    text = logging.plain(logging.mask("\n".join(lines)))
    console = Console(stderr=True)
    console.print("cmh:", text, style="red", highlight=False, markup=False, soft_wrap=True)
