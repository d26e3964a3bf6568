"""Everything the engine raises. A message says what happened, a hint what to do; neither ever holds a secret."""

from __future__ import annotations

import errno

NO_MEMORY = "There is not enough memory for this."
NO_MEMORY_HINT = (
    "Give it more, or let fewer runs work at once; a limit of threads looks the same. What was stored before is whole."
)
_SAID_OF_MEMORY = ("not enough memory", "can't start new thread")


class EngineError(Exception):
    """Base of all engine errors. By `transient` alone callers decide whether trying again makes sense."""

    def __init__(self, message: str, *, hint: str = "", transient: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class StorageError(EngineError):
    """A destination did not do what it was asked."""


class NotFound(StorageError):
    """The one way in which a storage says that an object is absent."""


class AlreadyExists(StorageError):
    """An object of this name is there already; names are never rewritten."""


class AccessDenied(StorageError):
    """The destination refuses us: permissions or credentials."""


class Unavailable(StorageError):
    """The destination cannot be used now: gone, full, unreachable or broken."""


class ShortRead(StorageError):
    """Fewer bytes came back than the object holds or was asked for."""


class RepositoryError(EngineError):
    """What lies at a destination is not what this installation expects."""


class NotARepository(RepositoryError):
    """The place holds no repository, or one that vanished."""


class WrongKey(RepositoryError):
    """The key is intact but is not the one that sealed this."""


class Corrupt(RepositoryError):
    """Stored bytes are damaged. `name` is the object at the destination."""

    def __init__(self, message: str, *, name: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name


class Missing(Corrupt):
    """An object that others refer to is not there."""


class Truncated(Corrupt):
    """An object has another size than it was written with."""


class UnsupportedVersion(RepositoryError):
    """Written by a newer Holdfast than this one."""


class Fenced(RepositoryError):
    """A pruner took this writer's session for dead; what it wrote does not count."""


class Busy(EngineError):
    """Writers are at work where none may be. `mark` is the pruner's mark, with which it can go on later."""

    def __init__(self, message: str, *, hint: str = "", mark: bytes = b"") -> None:
        super().__init__(message, hint=hint, transient=True)
        self.mark = mark


class SourceError(EngineError):
    """A source cannot be read, or not completely."""


class TargetError(EngineError):
    """A restore cannot be carried out, or its result differs from what was backed up."""


class Different(TargetError):
    """A restore was carried out, and its result is not what was backed up."""


class UnsafePath(TargetError):
    """A stored path would lead outside of the target."""


class RetentionRefused(EngineError):
    """A plan would remove more than may go without somebody saying that it is meant."""


class Cancelled(EngineError):
    """Somebody asked the operation to stop."""

    def __init__(self, message: str = "The operation was cancelled.") -> None:
        super().__init__(message)


def lacks_memory(error: BaseException | None) -> bool:
    """Whether memory ran out. Libraries say it in their own ways, and often something else fails because of it. Python
    cannot tell a thread that found no memory from one too many."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if any(words in str(error) for words in _SAID_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False
