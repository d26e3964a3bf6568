"""The whole backup configuration as a pydantic model: contract of the CLI, the API and `configs/schema.json`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from webapp.schema.defaults import CONFIGURATION
from webapp.schema.destinations import Destination
from webapp.schema.fields import (
    MAX_ITEMS,
    Cron,
    Id,
    Label,
    Minutes,
    Model,
    Name,
    Open,
    Plain,
    Recipient,
    WebAddress,
    Zone,
    misfit,
)
from webapp.schema.retention import Retention
from webapp.schema.sources import Environment, Sources

MAX_DESTINATIONS = 16
BackupType = Literal["full", "incremental", "differential", "database", "files"]


class Notifications(Model):
    """Who is told: e-mail addresses or Apprise URLs."""

    on_success: Annotated[list[Recipient], Field(default_factory=list, max_length=MAX_ITEMS)]
    on_failure: Annotated[list[Recipient], Field(default_factory=list, max_length=MAX_ITEMS)]


class Verify(Model):
    """When restore points are read back, beyond the checks of every run."""

    after_backup: bool = False
    schedule: Cron | None = None
    read_data: Annotated[int, Field(ge=1, le=100, description="Percent of the stored data.")] = 100


class Assertion(Model):
    """A query that must answer true in a restored database."""

    name: Label | None = None
    database: Label | None = None
    sql: Annotated[str, Field(min_length=1, max_length=20_000)]


class FileColumn(Model):
    """A column whose values are paths of files that must be in the same restore point."""

    database: Label | None = None
    table: Label
    column: Label
    folder: Annotated[Open | None, Field(description="What relative values are below.")] = None


class Drill(Model):
    """A restore for practice."""

    schedule: Cron | None = None
    server: Open | None = None
    assertions: Annotated[list[Assertion], Field(default_factory=list, max_length=MAX_ITEMS)]
    file_columns: Annotated[list[FileColumn], Field(default_factory=list, max_length=MAX_ITEMS)]


class Hook(Model):
    """A program with its arguments; no shell."""

    command: Annotated[list[Plain], Field(min_length=1, max_length=100)]
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600


class Hooks(Model):
    """Programs around a run; one that fails before it makes the run fail."""

    before: Annotated[list[Hook], Field(default_factory=list, max_length=20)]
    after: Annotated[list[Hook], Field(default_factory=list, max_length=20)]


class Objectives(Model):
    """The loss and the time to restore that the team accepts."""

    rpo_minutes: Minutes | None = None
    rto_minutes: Minutes | None = None


class Configuration(Model):
    """A backup configuration: what is backed up, when, where to, and what is kept."""

    schema_: Annotated[str | None, Field(alias="$schema", description="For editors; not used.")] = None
    id: Annotated[Id, Field(description="Never changes.")]
    name: Annotated[Name, Field(description="For people.")]
    type: BackupType
    schedule: Annotated[Cron | None, Field(description="Cron, five fields, or @daily and the like.")] = CONFIGURATION[
        "schedule"
    ]
    timezone: Annotated[Zone | None, Field(description="Of the schedule; else HOLDFAST_TIMEZONE.")] = CONFIGURATION[
        "timezone"
    ]
    sources: Annotated[
        Sources | None, Field(description="Else DATABASE_URL and UPLOAD_DIR, REPORTS_DIR, EXPORTS_DIR.")
    ] = CONFIGURATION["sources"]
    retention: Annotated[Retention | None, Field(description="Left out: every restore point is kept.")] = CONFIGURATION[
        "retention"
    ]
    compression: Literal["zstd", "gzip", "bzip2", "none"] = CONFIGURATION["compression"]
    encryption: bool = CONFIGURATION["encryption"]
    cipher: Literal["aes-256-gcm", "aes-256-cbc"] = CONFIGURATION["cipher"]
    destinations: Annotated[list[Destination], Field(min_length=1, max_length=MAX_DESTINATIONS)]
    notifications: Annotated[Notifications, Field(default_factory=lambda: Notifications())]
    enabled: bool = CONFIGURATION["enabled"]
    verify: Verify | None = CONFIGURATION["verify"]
    drill: Drill | None = CONFIGURATION["drill"]
    hooks: Hooks | None = CONFIGURATION["hooks"]
    objectives: Objectives | None = CONFIGURATION["objectives"]
    environment: Environment = CONFIGURATION["environment"]
    labels: Annotated[dict[Label, Label], Field(default_factory=dict, max_length=64)]
    queue: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*(:[A-Za-z0-9._-]+)?$", max_length=128)] | None = (
        CONFIGURATION["queue"]
    )
    min_copies: Annotated[int, Field(ge=1, le=MAX_DESTINATIONS, description="Destinations that must have it.")] = (
        CONFIGURATION["minCopies"]
    )
    full_every: Annotated[int | None, Field(ge=1, le=10_000, description="Every N-th run is full.")] = CONFIGURATION[
        "fullEvery"
    ]
    ping_url: Annotated[WebAddress | None, Field(description="Called after each run.")] = CONFIGURATION["pingUrl"]

    @model_validator(mode="after")
    def _copies_fit(self) -> Configuration:
        if self.min_copies > len(self.destinations):
            raise misfit("minCopies", "is greater than the number of destinations.")
        return self

    @model_validator(mode="after")
    def _sources_fit(self) -> Configuration:
        if self.sources is None:
            return self
        if self.type == "database" and not self.sources.databases:
            raise misfit("sources/databases", "names no database, but the type is database.")
        if self.type == "files" and not self.sources.paths:
            raise misfit("sources/paths", "names no path, but the type is files.")
        if not self.sources.databases and not self.sources.paths:
            raise misfit("sources", "names neither a database nor a path; leave sources out for the defaults.")
        return self
