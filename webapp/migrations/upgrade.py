"""Brings a database to the newest revision. Imported only when one is behind, because alembic is slow to import."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, text

from webapp.errors import Unavailable
from webapp.migrations import HEAD

FOLDER = Path(__file__).resolve().parent
_ADVISORY_LOCK = 0x486F6C64  # any number that is ours: two processes never upgrade one PostgreSQL database at once


def scripts() -> ScriptDirectory:
    """The revisions of this checkout."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def upgrade(engine: Engine) -> None:
    """Upgrades to HEAD in one transaction; a second process waits and then finds nothing to do.

    Raises Unavailable when the database is at a revision that this version does not know.
    """
    directory = scripts()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _refuse_newer(directory, connection)
        environment = EnvironmentContext(Config(), directory, fn=lambda at, _: directory._upgrade_revs(HEAD, at))
        with environment:
            environment.configure(connection=connection, target_metadata=None, render_as_batch=True)
            environment.run_migrations()


def _refuse_newer(directory: ScriptDirectory, connection: Connection) -> None:
    for revision in MigrationContext.configure(connection).get_current_heads():
        try:
            directory.get_revision(revision)
        except (CommandError, ResolutionError) as error:
            raise Unavailable(
                f"The database is at revision {revision}, which this version of Holdfast does not know.",
                hint="A newer version has upgraded it; use that version or a newer one.",
            ) from error
