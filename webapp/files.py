"""Small private files that appear whole or not at all, durable on return: the key file, the keyring's slots."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def publish(path: Path, data: bytes, *, replace: bool = False) -> bool:
    """Writes a file of mode 0600; whether this call made it. Without `replace` a file that is there stays as it is.

    Raises OSError, also when it cannot be read back as it was written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.rename(path)
        else:
            os.link(temporary, path)  # refuses an existing name, so what another process wrote is never replaced
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    if path.read_bytes() != data:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
    return True


def sync_folder(folder: Path) -> None:
    """The names in a folder are durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
