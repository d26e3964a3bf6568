"""Secrets in files, as containers hand them over: `NAME_FILE` names the file that holds the value of `NAME`.

Nothing of their contents is ever part of a fault, nor handed on to a child process (`without_secrets`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from webapp.errors import Fault

SUFFIX = "_FILE"
NAMES = (
    "BACKUP_ENCRYPTION_KEY",
    "DATABASE_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "REDIS_URL",
    "HOLDFAST_DATABASE_URL",
    "HOLDFAST_SECRET_KEY",
    "HOLDFAST_SMTP_URL",
    "HOLDFAST_NOTIFY",
    "HOLDFAST_HEARTBEAT_URL",
)
FILE_NAMES = frozenset(f"{name}{SUFFIX}" for name in NAMES)
_LARGEST = 64 * 1024


def read(environment: Mapping[str, str]) -> tuple[dict[str, str], list[Fault]]:
    """The environment with the values that the files hold, and what is wrong with files. White space at the end of a
    file, such as the newline of an editor, is not part of its value; an empty file counts as unset."""
    values, faults = dict(environment), list[Fault]()
    for name in NAMES:
        path = environment.get(f"{name}{SUFFIX}", "").strip()
        if not path:
            continue
        try:
            value = _content(Path(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            faults.append(Fault(f"{name}{SUFFIX}", f"{path} cannot be read: {reason}."))
            continue
        # Read again from what was read before, both are there and equal.
        if environment.get(name, "").strip() not in ("", value):
            faults.append(Fault(name, f"is set, and {name}{SUFFIX} names a file with another value; keep one of them."))
            continue
        values[name] = value
    return values, faults


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """For children that read the files themselves: anybody's own processes show their environment in /proc."""
    from_files = {name for name in NAMES if environment.get(f"{name}{SUFFIX}", "").strip()}
    return {name: value for name, value in environment.items() if name not in from_files}


def _content(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST // 1024} KiB")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    if "\0" in text:
        raise ValueError("it is not text")
    return text
