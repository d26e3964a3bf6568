"""Folders that a restore fills beside its target, so that what stands under the target's name is never half."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import TargetError
from webapp.errors import NotFound
from webapp.installation import Installation
from webapp.models import Run
from webapp.services import runs

STAGING = ".holdfast-restore-"


@contextmanager
def staged(installation: Installation, target: Path, run: Run) -> Iterator[Path]:
    """A folder beside the target that takes its name at the end of the block, or is removed when that raises: what
    stands under the target's name is never half. A target that is a mount point is filled directly."""
    sweep(installation, target.parent)
    if target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK)):
        try:
            yield target
        except BaseException:
            for child in target.iterdir():
                remove(child)
            raise
        return
    staging = target.parent / f"{STAGING}{run.public_id}"
    try:
        yield staging
        _take_name(staging, target)
    except BaseException:
        remove(staging)
        raise


def _take_name(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError as error:
        raise TargetError(f"{target} cannot be made: {error.strerror}.") from error


def sweep(installation: Installation, folder: Path) -> None:
    """Removes what restores left here whose process was killed."""
    with suppress(OSError):
        for leftover in folder.glob(f"{STAGING}run_*"):
            with suppress(NotFound):
                if not runs.find(installation, leftover.name.removeprefix(STAGING)).is_active:
                    remove(leftover)


def remove(path: Path) -> None:
    """A tree with all in it, also folders that were restored without permission to write."""
    if path.is_symlink() or not path.is_dir():
        with suppress(OSError):
            path.unlink()
        return
    with suppress(OSError, RecursionError):
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
