"""The rescue program as on a bare machine: Python, `cryptography`, `zstandard`, and nothing of this project."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.support.command import Outcome

PACKAGES = ("cryptography", "cffi", "_cffi_backend", "zstandard")
FOR_S3 = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
_START = """
import importlib.util, runpy, sys
sys.path.append(sys.argv[1])
assert not any(importlib.util.find_spec(name) for name in ("engine", "webapp", "cli", "msgpack", "click"))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class BareMachine:
    """`bare(program, "list", …)` runs a program with the named packages alone. `folder` is where it keeps links to
    them, and where the program is started."""

    def __init__(self, folder: Path, packages: tuple[str, ...] = PACKAGES) -> None:
        self.folder = folder / "bare"
        site = self.folder / "site"
        site.mkdir(parents=True)
        for name in packages:
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                continue  # cffi is not needed by every build of cryptography
            origin = Path(spec.origin)
            home = origin.parent if spec.submodule_search_locations else origin
            (site / home.name).symlink_to(home)
        self._site = site

    def __call__(
        self, program: Path, *arguments: str | Path, input: str = "", env: dict[str, str] | None = None
    ) -> Outcome:
        """Runs it to its end. -I and -S: no variable, no folder of packages and no current folder adds a module."""
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _START, self._site, program, *map(str, arguments)],
            input=input.encode(),
            capture_output=True,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", **(env or {})},
            cwd=self.folder,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
