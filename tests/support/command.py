"""The command line as a user runs it: a process of its own, a clean environment, a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

CHECKOUT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code (minus the signal's number when one ended it) and all that it wrote."""

    code: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        return self.output.decode("utf-8", "surrogateescape")

    @cached_property
    def json(self) -> Any:
        """stdout as the one JSON document that `--json` promises; an AssertionError shows what came instead."""
        try:
            return json.loads(self.output)
        except ValueError as error:
            raise AssertionError(f"stdout is not one JSON document ({error}): {self}") from None

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Started:
    """A command that is running. `kill` ends it alone, as the kernel would; its children are left to themselves."""

    def __init__(self, command: list[str], *, env: Mapping[str, str], cwd: Path, stdin: bytes) -> None:
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        with tempfile.TemporaryFile() as source:
            source.write(stdin)
            source.seek(0)
            self.process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=source,
                stdout=self._stdout,
                stderr=self._stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> Outcome:
        """SIGKILL."""
        self.process.kill()
        return self.wait()

    def interrupt(self) -> None:
        """SIGINT, as Ctrl-C sends it."""
        self.process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.terminate()

    def stderr_so_far(self) -> str:
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode("utf-8", "replace")

    def wait(self, timeout: float = TIMEOUT_SECONDS) -> Outcome:
        """The outcome; subprocess.TimeoutExpired when the command does not end in `timeout` seconds."""
        self._await_end(timeout)
        code = self.process.wait(0)
        output, errors = (_content(file) for file in (self._stdout, self._stderr))
        return Outcome(code, output, errors.decode("utf-8", "replace"))

    def _await_end(self, timeout: float) -> None:
        """Returns the moment that the command ends; Popen.wait with a limit looks 20 times a second at most."""
        if self.process.poll() is None:
            descriptor = os.pidfd_open(self.process.pid)
            select.select([descriptor], [], [], timeout)
            os.close(descriptor)

    def close(self) -> None:
        """Ends what is left of the command and of its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._stdout.close()
        self._stderr.close()


class CommandLine:
    """`cli("list", "--json")` runs one command to its end; `cli.start(…)` leaves it running.

    `home` is its HOLDFAST_HOME, `folder` the folder it is typed in, `environment` what every further command sees
    beside PATH, LANG and HOLDFAST_HOME: change it at will. Nothing of the tests' own environment is passed on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cwd"
        self.home = folder / "home"
        self.folder.mkdir(parents=True)
        self.environment: dict[str, str] = {}
        self._started: list[Started] = []

    def __call__(
        self,
        *arguments: str | Path,
        input: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = TIMEOUT_SECONDS,
        code: int | None = None,
    ) -> Outcome:
        """Runs the command and waits. With `code` any other exit code is an AssertionError that shows all output."""
        outcome = self.carry_out([*map(str, arguments)], input=input, env=env, cwd=cwd, timeout=timeout)
        return outcome if code is None else expected(outcome, arguments, code)

    def carry_out(
        self,
        arguments: list[str],
        *,
        input: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Outcome:
        """The command in a process of its own, to its end."""
        started = self.start(*arguments, input=input, env=env, cwd=cwd)
        outcome = started.wait(timeout)
        started.close()
        self._started.remove(started)
        return outcome

    def start(
        self,
        *arguments: str | Path,
        input: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Started:
        """Starts the command; whatever still runs of it at the end of the test is killed."""
        started = Started(
            [sys.executable, "-P", "-m", "cli", *map(str, arguments)],
            env={**self.base_environment(), **self.environment, **(env or {})},
            cwd=cwd or self.folder,
            stdin=input.encode() if isinstance(input, str) else input,
        )
        self._started.append(started)
        return started

    def base_environment(self) -> dict[str, str]:
        """What every command sees; PYTHONPATH is how `./run` points at the checkout from any folder."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(CHECKOUT),
            "HOLDFAST_HOME": str(self.home),
        }

    def close(self) -> None:
        for started in self._started:
            started.close()


def expected(outcome: Outcome, arguments: Sequence[str | Path], code: int) -> Outcome:
    """The outcome; an AssertionError that shows all output when it has another exit code."""
    if outcome.code != code:
        raise AssertionError(f"{' '.join(map(str, arguments))}: expected exit code {code}, got {outcome}")
    return outcome


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
