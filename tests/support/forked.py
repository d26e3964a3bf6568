"""The command line in a child of this process: all of a command but the half second in which Python imports it."""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy.orm import configure_mappers

import cli.commands
import webapp.schema
import webapp.services
from cli import main
from tests.support.command import TIMEOUT_SECONDS, CommandLine, Outcome, expected

_CAPABILITY_VERSION = 0x20080522
# What every child would import again. Nothing of it works at import time but the mapping of the tables.
for _package in (cli.commands, webapp.services, webapp.schema):
    for _module in pkgutil.iter_modules(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)
configure_mappers()


class ForkedCommandLine(CommandLine):
    """As CommandLine; only `start` makes a process of its own from the beginning. With `without_privileges` root has no
    more rights than the owner of a file."""

    without_privileges = False

    def carry_out(
        self,
        arguments: list[str],
        *,
        input: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Outcome:
        """The command in a child of this process, to its end."""
        environment = {**self.base_environment(), **self.environment, **(env or {})}
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            source.write(input.encode() if isinstance(input, str) else input)
            source.seek(0)
            streams = (source.fileno(), output.fileno(), errors.fileno())
            prepare = _drop_privileges if self.without_privileges else _nothing
            status = _run(arguments, environment, cwd or self.folder, streams, timeout, prepare)
            output.seek(0)
            errors.seek(0)
            return Outcome(status, output.read(), errors.read().decode("utf-8", "replace"))

    def in_its_own_process(self, *arguments: str | Path, code: int) -> Outcome:
        """The command as a user starts it."""
        outcome = super().carry_out([*map(str, arguments)])
        return expected(outcome, arguments, code)


def _run(
    arguments: list[str],
    environment: dict[str, str],
    cwd: Path,
    streams: tuple[int, int, int],
    timeout: float,
    prepare: Callable[[], None],
) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork where threads run
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 99
    try:
        signal.alarm(int(timeout))  # ends a command that hangs
        os.chdir(cwd)
        prepare()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: SIM115
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        status = main.run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _nothing() -> None:
    """A child as it is."""


def _drop_privileges() -> None:
    """Takes every capability from this process, so that file modes count for root too."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")
