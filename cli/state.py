"""What one call of the command line shares: its environment, its settings, the installation, and how it talks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webapp.installation import Installation
    from webapp.settings import Settings


class Door:
    """Everything is made when it is first asked for, so that `--help` needs nothing of it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.json = False
        self.debug = False
        self.answered = False
        """Whether the JSON document of this command is written; there is never a second one."""
        self._environment = environment
        self._installation: Installation | None = None

    @cached_property
    def settings(self) -> Settings:
        """Raises SettingsInvalid with all faults of the environment."""
        from webapp.settings import read_settings

        settings = read_settings(self._environment)
        for warning in settings.warnings:
            self.tell(f"Warning: {warning}")
        return settings

    @property
    def installation(self) -> Installation:
        """The home and the database, opened once. Raises SettingsInvalid, Unavailable."""
        if self._installation is None:
            from webapp.installation import open_installation

            self._installation = open_installation(self.settings)
        return self._installation

    @property
    def cwd(self) -> Path:
        """Where the command was typed: what relative paths of the user are below."""
        return Path.cwd()

    @cached_property
    def identity(self) -> str:
        """`local:<user>`: whoever can read the home."""
        import pwd

        try:
            return f"local:{pwd.getpwuid(os.getuid()).pw_name}"
        except KeyError:
            return f"local:{os.getuid()}"

    def tell(self, message: str) -> None:
        """A line for people, on stderr. A stderr that is closed is no reason to stop a backup."""
        try:
            sys.stderr.write(message + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """Gives up what was opened."""
        if self._installation is not None:
            self._installation.close()
