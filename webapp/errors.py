"""What services raise. A message says what happened, a hint what to do; neither ever holds a secret.

The doors translate once: the CLI to exit codes (cli/exits.py), pages and API to HTTP statuses (webapp/problems.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class ServiceError(Exception):
    """Base of what services raise."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class NotFound(ServiceError):
    """No such configuration, destination, run or restore point."""


class Forbidden(ServiceError):
    """Not signed in, or the role does not allow it."""


class Conflict(ServiceError):
    """The state of things does not allow it now."""


class Busy(Conflict):
    """Another run holds what this one needs. `run_id` is the public id of that run."""

    def __init__(self, message: str, *, run_id: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.run_id = run_id


class Outdated(Conflict):
    """What was to be changed has been changed by somebody else since it was read. `version` is the present one."""

    def __init__(self, message: str, *, version: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.version = version


class NotSignedIn(Forbidden):
    """Nobody is known to ask: no session, no token, or a wrong one."""


class TooMany(ServiceError):
    """A limit is reached; `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unavailable(ServiceError):
    """Something that the service needs (its database, a server) cannot be used now."""


class ConfirmationNeeded(ServiceError):
    """A dangerous step was not confirmed."""


class Difference(ServiceError):
    """A verification or a comparison found damage or a difference."""


class KeyMissing(ServiceError):
    """The encryption key that sealed this installation's backups is gone."""


class Invalid(ServiceError):
    """The input is not acceptable."""


class NotBuilt(Invalid):
    """Part of the contract that this version does not have yet."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where (a JSON pointer, or the name of a variable) and a sentence."""

    pointer: str
    detail: str

    def __str__(self) -> str:
        return f"{self.pointer or '(the whole document)'}: {self.detail}"


class Faulty(Invalid):
    """Input with one or more faults, all told at once."""

    def __init__(self, message: str, faults: Iterable[Fault], *, hint: str = "") -> None:
        self.faults = tuple(faults)
        super().__init__(message, hint=hint)

    def __str__(self) -> str:
        return " ".join([self.message, *(str(fault) for fault in self.faults), self.hint]).strip()


class Unreadable(Faulty):
    """A request whose body is not JSON."""


class WrongMedia(Invalid):
    """A request whose body says that it is something else than JSON."""


class SettingsInvalid(Faulty):
    """The environment has faults."""


class ConfigurationInvalid(Faulty):
    """A backup configuration has faults."""
