"""Power cuts: an ext4 in a file, and what a disk would hold of it if everything stopped now. Needs root, as in CI."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEGABYTES = 48
# Nothing reaches the disk by itself while a test runs: neither the journal's timer nor old pages.
_OPTIONS = "loop,commit=900,noauto_da_alloc"


@contextmanager
def ext4(image: Path, place: Path, *, journal: bool) -> Iterator[Path]:
    """A new file system in the file `image`, at `place`. Without a journal no file's fsync takes other names along, so
    a folder that is not synced loses them."""
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    features = "has_journal" if journal else "^has_journal"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", features, "-E", "lazy_itable_init=0", image], check=True)
    with _mounted(image, place, _OPTIONS if journal else "loop"):
        yield place


@contextmanager
def after_a_cut(image: Path, folder: Path) -> Iterator[Path]:
    """The file system as it comes up again: what the disk holds at this moment, repaired as at every start."""
    folder.mkdir()
    copy, place = folder / "image", folder / "mounted"
    place.mkdir()
    shutil.copyfile(image, copy)
    done = subprocess.run(["e2fsck", "-p", copy], capture_output=True, text=True, check=False)
    if done.returncode > 2:  # 1 and 2: mended
        done = subprocess.run(["e2fsck", "-y", copy], capture_output=True, text=True, check=False)
    assert done.returncode <= 2, done.stdout
    with _mounted(copy, place, "loop"):
        yield place
    shutil.rmtree(folder)


@contextmanager
def _mounted(image: Path, place: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-o", options, image, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)
