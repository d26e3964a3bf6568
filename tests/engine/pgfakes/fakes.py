"""Folders of client programs in which one program is a small script around the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

SCRIPTS = Path(__file__).parent
PROGRAMS = ("pg_dump", "pg_dumpall", "pg_restore", "psql")


def around(real: Path, folder: Path, **scripts: str) -> Path:
    """`folder` filled with links to the programs in `real`, but for those that a script replaces:
    `around(bin, tmp, pg_dump="dies_midway")` takes `dies_midway.sh`. The script finds the real one as `real/…`."""
    folder.mkdir(parents=True)
    (folder / "real").symlink_to(real)
    for program in PROGRAMS:
        if program in scripts:
            shutil.copy(SCRIPTS / f"{scripts[program]}.sh", folder / program)
            (folder / program).chmod(0o755)
        else:
            (folder / program).symlink_to(real / program)
    return folder


def of_version(folder: Path, version: str, *programs: str) -> Path:
    """Programs that only know how to say their version, as pg_dump does."""
    folder.mkdir(parents=True)
    for program in programs or PROGRAMS:
        (folder / program).write_text(f'#!/bin/sh\necho "{program} (PostgreSQL) {version}"\n')
        (folder / program).chmod(0o755)
    return folder
