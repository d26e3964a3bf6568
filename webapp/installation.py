"""One installation: settings, database, clock and this process. Every service function takes it as first argument."""

from __future__ import annotations

from dataclasses import dataclass, field

from webapp.clock import Clock, utc_now
from webapp.database import Database, open_database
from webapp.processes import host_name, process_mark
from webapp.settings import Settings, ensure_home
from webapp.timing import Timing

HEARTBEAT_SECONDS = Timing.heartbeat
EXPIRY_SECONDS = Timing.expiry


@dataclass(frozen=True)
class Installation:
    """A run says every `heartbeat_seconds` that it lives; one that is silent for `expiry_seconds` is taken for dead."""

    settings: Settings
    database: Database
    clock: Clock = utc_now
    host: str = field(default_factory=host_name)
    process: str = field(default_factory=process_mark)
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    expiry_seconds: float = EXPIRY_SECONDS

    def close(self) -> None:
        """Gives up the database's connections."""
        self.database.close()


def open_installation(settings: Settings, *, clock: Clock = utc_now) -> Installation:
    """Makes the home and opens the database at its newest revision. Raises SettingsInvalid, Unavailable."""
    ensure_home(settings)
    return Installation(
        settings=settings,
        database=open_database(settings.database_url),
        clock=clock,
        heartbeat_seconds=settings.timing.heartbeat,
        expiry_seconds=settings.timing.expiry,
    )
