"""The processes of the service: gunicorn for the web, and one parent that starts all, starts again what dies, and
stops all in order. Whatever happens to the parent, no child outlives it."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from types import FrameType
from typing import Any

from webapp import embedded_redis, logs, secret_files
from webapp.database import SQLITE_PREFIX, open_database
from webapp.errors import Fault, SettingsInvalid, Unavailable
from webapp.processes import dying_with_parent, live_long
from webapp.settings import Settings, ensure_home

log = logging.getLogger("holdfast.serve")
THREADS = 8
READY_SECONDS = 10.0
LOOK_SECONDS = 0.2
# A part that ended this soon after its start is not started again at once, and each time later.
SOON_SECONDS, LONGEST_PAUSE = 10.0, 30.0
# Runs stop at their next checkpoint or are ended after three seconds (services/watchdog.py).
STOP_SECONDS = 15.0


@dataclass
class _Part:
    """One child: how it is started, and since when it runs or may be started again."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = field(default=0.0)

    def look(self, now: float) -> None:
        """Starts it, if it does not run and its pause is over."""
        if self.process is not None and self.process.poll() is not None:
            log.warning("a process ended", extra={"part": self.name, "code": self.process.returncode})
            soon = now - self.started_at < SOON_SECONDS
            self.pause = min(LONGEST_PAUSE, max(1.0, 2 * self.pause)) if soon else 0.0
            self.process = None
        if self.process is None and now >= self.started_at + self.pause:
            self.process = self.start()
            self.started_at = now


def web(settings: Settings) -> None:
    """The web application under gunicorn in this process, until SIGTERM."""
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
    from gunicorn.glogging import Logger  # type: ignore[import-untyped]

    logs.configure("web")

    class Lines(Logger):  # type: ignore[misc]  # the package has no types
        def setup(self, cfg: Any) -> None:
            """Its lines are lines of ours: it would write text of its own form, and to a stream of its own."""
            super().setup(cfg)
            self.error_log.handlers[:] = []
            self.error_log.propagate = True

    host, port = settings.bind
    options = {
        "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "worker_class": "gthread",
        "threads": THREADS,
        "workers": 1,
        "loglevel": "warning",
        "logger_class": Lines,
        "control_socket_disable": True,
        "worker_tmp_dir": str(settings.home),
        "proc_name": "holdfast-web",
    }

    class Application(BaseApplication):  # type: ignore[misc]  # the package has no types
        def load_config(self) -> None:
            for name, value in options.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return application(settings)

    Application().run()


def application(settings: Settings) -> Any:
    """What gunicorn serves. Raises SettingsInvalid and Unavailable."""
    from webapp import create_app

    app = create_app(settings)
    live_long()
    return app


def everything(settings: Settings, *, tell: Callable[[str], None], ready: Callable[[], object]) -> int:
    """Starts all parts and keeps them running until SIGINT or SIGTERM; the exit code. `ready` is called once when Redis
    was started. Raises Unavailable."""
    logs.configure("serve")
    live_long()
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    parts = _parts(settings)
    try:
        first, *others = parts
        first.look(monotonic())
        if settings.redis_url is None:
            others[0].look(monotonic())
        with suppress(Unavailable):  # the tick sends later what cannot be sent now
            ready()
        _wait_for_port(settings.bind, stop)
        tell(f"Holdfast is at http://{_shown(settings.bind)} (Ctrl-C stops it).")
        while not stop.wait(LOOK_SECONDS):
            for part in parts:
                part.look(monotonic())
    finally:
        _stop(parts)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _parts(settings: Settings) -> list[_Part]:
    """The web comes first: people look at it, and everything else starts while they do."""
    parts = [_ours(settings, "web", ["serve", "--web-only"])]
    if settings.redis_url is None:
        parts.append(_Part("redis", lambda: embedded_redis.start(settings)))
    for queue in settings.queues:
        parts.append(_ours(settings, f"worker {queue}", ["worker", "--queue", queue]))
    parts.append(_ours(settings, "scheduler", ["scheduler"]))
    return parts


def _ours(settings: Settings, name: str, arguments: Sequence[str]) -> _Part:
    environment = secret_files.without_secrets(settings.environment)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for the parent, which hands it on in order
            preexec_fn=dying_with_parent(),
        )

    return _Part(name, start)


def _stop(parts: Sequence[_Part]) -> None:
    """Everybody at once but Redis, which the others still need; whoever does not end is ended."""
    redis = [part for part in parts if part.name == "redis"]
    for group in ([part for part in parts if part not in redis], redis):
        running = [part.process for part in group if part.process is not None and part.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = monotonic() + STOP_SECONDS
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - monotonic()))
                continue
            process.kill()
            process.wait()


def require_usable(settings: Settings, *, alone: bool) -> None:
    """Everything that the machine lacks, told at once: the home, the database, a Redis server, the port. `alone`: no
    part will be started here. Raises SettingsInvalid."""
    checks = [("HOLDFAST_HOME", _home_fault), ("HOLDFAST_DATABASE_URL", _database_fault)]
    if not alone:
        checks += [("HOLDFAST_BIND", _bind_fault), ("REDIS_URL", _redis_fault)]
    found = [(name, check(settings)) for name, check in checks]
    faults = [Fault(name, detail) for name, detail in found if detail]
    if faults:
        raise SettingsInvalid("Holdfast cannot start.", faults)


def _home_fault(settings: Settings) -> str:
    try:
        ensure_home(settings)
    except SettingsInvalid as error:
        return f"{error.faults[0].detail} {error.hint}"
    return ""


def _database_fault(settings: Settings) -> str:
    """SQLite below a home that cannot be used is that fault, and not another one."""
    if settings.database_url.startswith(SQLITE_PREFIX) and _home_fault(settings):
        return ""
    try:
        open_database(settings.database_url).close()
    except Unavailable as error:
        return str(error)
    return ""


def _bind_fault(settings: Settings) -> str:
    family = socket.AF_INET6 if ":" in settings.bind[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(settings.bind)
        except OSError as error:
            return (
                f"{_shown(settings.bind)} cannot be used: {error.strerror}. "
                "Does Holdfast run already? Else choose another port, such as HOLDFAST_BIND=127.0.0.1:8001."
            )
    return ""


def _redis_fault(settings: Settings) -> str:
    """A server that is only away now is none: what was asked for waits in the database."""
    if settings.redis_url is not None:
        return ""
    try:
        embedded_redis.program(settings)
    except Unavailable as error:
        return str(error)
    return ""


def _wait_for_port(bind: tuple[str, int], stop: threading.Event) -> None:
    deadline = monotonic() + READY_SECONDS
    while monotonic() < deadline and not stop.wait(0.05):
        with suppress(OSError), socket.create_connection(bind, timeout=1):
            return


def _shown(bind: tuple[str, int]) -> str:
    host = f"[{bind[0]}]" if ":" in bind[0] else bind[0]
    return f"{host}:{bind[1]}"
