"""The one switch from errors to exit codes, and how an error is told: one sentence, and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cli.output import visible
from engine import errors as engine
from webapp import errors as service

if TYPE_CHECKING:
    from cli.state import Door

DONE, FAILED, USAGE, WARNINGS, FORBIDDEN, CONFIRMATION, DIFFERENCE = 0, 1, 2, 3, 4, 5, 6
NOT_FOUND, BUSY, WRONG_KEY, INTERRUPTED = 10, 11, 12, 130

# The first class that fits decides, so special ones come before general ones.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (service.Busy, BUSY),
    (service.NotFound, NOT_FOUND),
    (service.Forbidden, FORBIDDEN),
    (service.ConfirmationNeeded, CONFIRMATION),
    (service.Difference, DIFFERENCE),
    (service.KeyMissing, WRONG_KEY),
    (service.Invalid, USAGE),
    (service.ServiceError, FAILED),
    (engine.Cancelled, INTERRUPTED),
    (engine.Busy, BUSY),
    (engine.WrongKey, WRONG_KEY),
    (engine.Corrupt, DIFFERENCE),
    (engine.Different, DIFFERENCE),
    (engine.EngineError, FAILED),
)
STATES = {
    "succeeded": DONE,
    "warning": WARNINGS,
    "failed": FAILED,
    "cancelled": INTERRUPTED,
    "interrupted": FAILED,
}


def exit_code(error: BaseException) -> int:
    """The exit code of the contract for an error; 1 for one that nobody foresaw."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def code_of(state: str, cause: str | None) -> int:
    """The exit code of a run that another process carried out, from its state and the name of the error's class."""
    if state == "failed":
        return next((code for kind, code in _CODES if kind.__name__ == cause), FAILED)
    return STATES[state]


def report(error: Exception, door: Door) -> int:
    """Tells an error on stderr, with `--json` also as a document on stdout, and returns its exit code."""
    message, hint, details = _words(error)
    lines = [f"Error: {message}", *(f"  {detail}" for detail in details), *([hint] if hint else [])]
    door.tell("\n".join(visible(part) for line in lines for part in line.splitlines()))
    if door.debug or not isinstance(error, service.ServiceError | engine.EngineError | OSError):
        _trace(error, door)
    if door.json and not door.answered:
        faults = [{"pointer": fault.pointer, "detail": fault.detail} for fault in getattr(error, "faults", ())]
        write_document(message, hint, faults)
    return exit_code(error)


def write_document(message: str, hint: str = "", faults: Sequence[Mapping[str, str]] = ()) -> None:
    """The one JSON document of a command that failed before it could answer."""
    document = {"error": message, "hint": hint or None, "errors": list(faults)}
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")


def _words(error: Exception) -> tuple[str, str, list[str]]:
    if isinstance(error, service.Faulty):
        return error.message, error.hint, [str(fault) for fault in error.faults]
    if isinstance(error, service.ServiceError | engine.EngineError):
        return error.message, error.hint, []
    if engine.lacks_memory(error):
        return engine.NO_MEMORY, engine.NO_MEMORY_HINT, []
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}.", "", []
    kind = type(error).__name__
    return f"Something happened that this program does not expect ({kind}: {error}).", "Please report it.", []


def _trace(error: Exception, door: Door) -> None:
    if not door.debug:
        door.tell("Run the command again as `backup-cli --debug …` to see where.")
        return
    import traceback

    door.tell("".join(traceback.format_exception(error)).rstrip())
