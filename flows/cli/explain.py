"""Say what went wrong: the one place where a failure reaches a person at the command line."""

import os
import traceback

from cyclopts import CycloptsError
from rich.console import Console
from rich.text import Text

from cmh.training.failures import TrainingFailure
from infra import logging

DEBUG = "--debug"
_OWN = "Value error, "  # what pydantic puts before a message of ours
LONGEST = 4000  # characters of an error that are shown


def explain(error: Exception, *, debug: bool) -> int:
    """Print an error: what was given, what is allowed, what to do; with `debug` where it came from, too.

    Returns:
        The exit status: 2 for what a user can mend, 3 for what nobody thought of.
    """
    from infra import bucket  # takes a moment, which `cmh --help` is spared

    known = isinstance(error, (ValueError, OSError, TrainingFailure))  # OSError: as when a disk is full
    if not known:
        error.add_note("unexpected: please report it with the output of the same command with --debug")
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(logging.TRACEBACK)]
    said = _said(error) if known else repr(error)
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
    told = [said, *(f"({note})" for note in notes)]
    lines = [bucket.as_addresses(line) for line in told]
    if lines != told:
        lines.append(f"(what lies at s3:// is read from its copy in {bucket.copies()})")
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
    return 2 if known else 3


def _said(error: Exception) -> str:
    """Return an error in words; one of the operating system's own begins with its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{place}{error.strerror}"


def explain_options(error: CycloptsError) -> Text:
    """Return what is wrong with the options of a command, in the form of `explain`."""
    from pydantic import ValidationError  # takes a moment, which `cmh --help` is spared

    cause = error.__cause__
    lines = [str(error)]
    if isinstance(cause, ValidationError):
        lines = []
        for one in cause.errors(include_url=False):
            option = ".".join(str(name).replace("_", "-") for name in one["loc"])
            said = one["msg"].removeprefix(_OWN)
            if said == one["msg"]:  # pydantic's own, which does not say what was given
                said = f"{said}, got {one['input']!r}"
            lines.append(f"--{option}: {said}" if option else said)
    command = " ".join(["cmh", *(error.command_chain or ())])
    lines.append(f"({command} --help explains every option)")
    return Text(
        logging.plain(logging.mask("cmh: " + "\n".join(lines))), style="red", no_wrap=True, overflow="ignore"
    )
