"""What commands have in common: the shared state, `--json`, and parts that are not built yet."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from cli.state import Door
from webapp.errors import NotBuilt

_Command = TypeVar("_Command", bound=Callable[..., Any])
_AGE = re.compile(r"(\d{1,5})([mhdw])")
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}

pass_door = click.make_pass_decorator(Door)
"""Hands the Door to a command as its first argument."""


def json_option(command: _Command) -> _Command:
    """`--json`: one document on stdout. The command asks `door.json`."""

    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        context.ensure_object(Door).json = context.find_object(Door).json or value  # type: ignore[union-attr]

    option = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=remember,
        help="One JSON document on stdout.",
    )
    return option(command)


class Age(click.ParamType[timedelta]):
    """`7d`: how far back. Units m, h, d, w."""

    name = "age"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = _AGE.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not a time span such as 90m, 12h, 7d or 4w.", parameter, context)
        return timedelta(seconds=int(match[1]) * _UNIT_SECONDS[match[2]])


class Tag(click.ParamType[tuple[str, str]]):
    """`KEY=VALUE`."""

    name = "tag"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, separator, text = value.partition("=")
        if not key or not separator or not (key + text).isprintable():
            self.fail(f"{value!r} is not KEY=VALUE.", parameter, context)
        return key, text


def not_built(what: str) -> NotBuilt:
    """The error of a command or flag of the contract that does not exist yet: exit code 2 and one sentence."""
    return NotBuilt(f"{what} is not built yet.")


def confirm(question: str, *, typed: str | None, wanted: str, option: str = "--confirm") -> None:
    """Returns when the user agreed: `typed` (from the option) or what is typed now must be exactly `wanted`.

    Without a terminal only the option counts. Raises ConfirmationNeeded.
    """
    import sys

    from webapp.errors import ConfirmationNeeded

    if typed is None and sys.stdin.isatty() and sys.stderr.isatty():
        typed = click.prompt(f"{question}\nType {wanted} to go on", err=True, default="", show_default=False)
    if typed != wanted:
        raise ConfirmationNeeded(question, hint=f"Nothing was done. To go on, give {option} {wanted}.")
