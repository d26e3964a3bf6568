"""Content out of a restore point onto stdout, or into a file that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.progress import Progress
from webapp.errors import ConfirmationNeeded, Invalid, Unavailable

if TYPE_CHECKING:
    from webapp.services.browsing import Content

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# Shorter runs of zeros are written: a hole saves whole blocks of the file system only.
_HOLE_BYTES = 4096


def place(cwd: Path, typed: str | None, name: str) -> Path:
    """Where a file of this name goes: what was typed, or below it when that is a folder, or here."""
    chosen = cwd / typed if typed else cwd
    return chosen / name if chosen.is_dir() or (typed or "").endswith("/") else chosen


def to_stdout(content: Content, progress: Progress) -> None:
    """All bytes, in order. What came before an error is out already; the exit code tells."""
    out = sys.stdout.buffer
    for piece in _pieces(content, progress):
        out.write(piece)
    out.flush()


def to_file(content: Content, target: Path, progress: Progress, *, force: bool) -> None:
    """A new file of mode 0600, durable on return; only with `force` one that is there is replaced.

    Raises ConfirmationNeeded, Invalid, Unavailable, and what reading the content raises; then nothing is left.
    """
    _refuse_taken(target, force=force)
    temporary = target.with_name(f".holdfast-{os.urandom(8).hex()}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _fill(descriptor, _pieces(content, progress))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _publish(temporary, target, force=force)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with suppress(OSError):  # also where the folder itself is not there
            temporary.unlink()


def _pieces(content: Content, progress: Progress) -> Iterator[bytes]:
    """The content, counted; Ctrl-C ends it in order."""
    progress.phase(f"Reading {content.name}", expected=content.size)
    for piece in content.pieces:
        progress.checkpoint()
        yield piece
        progress.advance(read=len(piece))
    progress.advance(items=1)


def _fill(descriptor: int, pieces: Iterator[bytes]) -> None:
    size = 0
    for piece in pieces:
        size += len(piece)
        if len(piece) >= _HOLE_BYTES and piece == bytes(len(piece)):
            os.lseek(descriptor, len(piece), os.SEEK_CUR)
            continue
        view = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]
    os.ftruncate(descriptor, size)


def _refuse_taken(target: Path, *, force: bool) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(target, error) from error
    if not stat.S_ISREG(mode):
        raise Invalid(f"{target} is there and is not a plain file.", hint="Give another name, or -o - for stdout.")
    if not force:
        raise ConfirmationNeeded(
            f"{target} exists; it is not overwritten.", hint="Give --force to replace it, or another file with -o."
        )


def _unwritable(target: Path, error: OSError) -> Unavailable:
    reason = os.strerror(error.errno or 0)
    return Unavailable(f"{target} cannot be written: {reason}.", hint="Give another file with -o.")


def _publish(temporary: Path, target: Path, *, force: bool) -> None:
    """Under its name at once; a file that appeared meanwhile is not overwritten either."""
    if force:
        temporary.replace(target)
    else:
        try:
            os.link(temporary, target)
        except FileExistsError:
            _refuse_taken(target, force=force)
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _refuse_taken(target, force=force)
            temporary.rename(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
