"""The files of the checkout, for tests about the tree itself: what git tracks or would add, without git as well."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
# Only for a tree without git (an archive, a copy): what .gitignore leaves out.
LEFT_OUT = {"data", "dist", "build", "__pycache__"}


@functools.cache
def files(root: Path = CHECKOUT) -> tuple[Path, ...]:
    """Every file that belongs to the project, relative to `root`, sorted; links and vanished files left out."""
    names = _from_git(root)
    found = [Path(name) for name in names] if names is not None else _walk(root)
    return tuple(sorted(path for path in found if (root / path).is_file() and not (root / path).is_symlink()))


def python_files(root: Path = CHECKOUT) -> list[Path]:
    """The Python sources among `files`."""
    return [path for path in files(root) if path.suffix == ".py"]


def text(path: Path) -> str:
    """The content of a file of `files`; names and texts of tests may hold any bytes."""
    return (CHECKOUT / path).read_text(encoding="utf-8", errors="surrogateescape")


def _from_git(root: Path) -> list[str] | None:
    try:
        top = subprocess.run(
            ["git", "-C", root, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if Path(top).resolve() != root.resolve():
            return None
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-coz", "--exclude-standard"], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _walk(root: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [
            name
            for name in folders
            if name not in LEFT_OUT and (not name.startswith(".") or name in (".ci", ".github"))
        ]
        found += [here / name for name in names]
    return found
