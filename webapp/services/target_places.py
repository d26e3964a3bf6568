"""Places that no restore may write to: what Holdfast keeps itself, and what belongs to the operating system."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.errors import EngineError
from engine.storage.local import LocalStorage, free_bytes
from webapp.errors import Invalid, ServiceError
from webapp.installation import Installation
from webapp.services import repositories

_OF_THE_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys", "usr")


def refuse(installation: Installation, target: Path) -> None:
    """Raises Invalid, with the cause: what is restored into a repository or the home would be taken for a part of it,
    and what lands between the files of the system is taken for one of them."""
    own = [installation.settings.home]
    for destination in repositories.used_destinations(installation):
        with suppress(EngineError, ServiceError):
            storage = repositories.open_storage(installation, destination)
            if isinstance(storage, LocalStorage):
                own.append(storage.root)
            storage.close()
    real = target.resolve()
    for place in (path.resolve() for path in own):
        if real == place or place in real.parents:
            raise Invalid(f"{target} lies inside of {place}, which Holdfast keeps.", hint="Restore to another place.")
    if real.parts[1:2] and real.parts[1] in _OF_THE_SYSTEM:
        raise Invalid(
            f"{target} lies inside of /{real.parts[1]}, which belongs to the system.", hint="Restore to another place."
        )


def room(target: Path) -> int | None:
    """Free bytes where the target will be; None where nobody can tell."""
    try:
        return free_bytes(next(folder for folder in (target, *target.parents) if folder.exists()))
    except OSError:
        return None
