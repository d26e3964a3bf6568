"""A run: the one owner of the truth about a piece of work, and the items it could not handle."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.models import configuration  # noqa: F401 (the tables that foreign keys lead to)
from webapp.models.base import Base

KINDS = ("create", "restore", "verify", "cleanup", "sync", "restore-point", "export")
QUEUED, RUNNING = "queued", "running"
SUCCEEDED, WARNING, FAILED, CANCELLED, INTERRUPTED = "succeeded", "warning", "failed", "cancelled", "interrupted"
ACTIVE = (QUEUED, RUNNING)
UNDO = "undo"
"""The type of a run of the kind `restore` that takes one back."""
ENDED = (SUCCEEDED, WARNING, FAILED, CANCELLED, INTERRUPTED)
STATES = ACTIVE + ENDED
_ONE_ACTIVE = text("kind = 'create' AND state IN ('queued', 'running')")
_ONE_CLEANUP = text("kind = 'cleanup' AND state IN ('queued', 'running')")


class Run(Base):
    """`state` is changed by services/runs.py alone. `identity` is who asked (`local:<user>`), `trigger` what caused it
    (`manual`, `schedule`, `retry`), `queue` where it waits (None: the process that asked carries it out), `retry_of`
    the public id of the run that it repeats, `sealed` what its work needs and nobody may read, `process` the mark of
    the executing process (webapp/processes.py). Counters are bytes but for `items`; `problem_count` counts all
    problems, also those beyond the kept ones."""

    __tablename__ = "runs"
    __table_args__ = (
        # Who loses the race for a configuration is told by the database, not by a look beforehand. On PostgreSQL the
        # migration gives it the same condition; naming that dialect here costs every command 33 ms of imports.
        Index("one_active_create", "config_id", unique=True, sqlite_where=_ONE_ACTIVE),
        # Two cleanups of one installation never interleave: both would complete the same mark (engine.md section 6).
        Index("one_active_cleanup", "kind", unique=True, sqlite_where=_ONE_CLEANUP),
        Index("ix_runs_config_id_id", "config_id", "id"),
        # The figures of a day are added up at each of its runs' ends.
        Index("ix_runs_config_id_created_at", "config_id", "created_at"),
        Index("ix_runs_state_id", "state", "id"),
        # The planner of SQLite keeps no statistics: with the kind alone it read 90,000 backups to find the one at work.
        Index("ix_runs_kind_id", "kind", "id"),
        Index("ix_runs_kind_state_id", "kind", "state", "id"),
        Index("ix_runs_config_id_kind_id", "config_id", "kind", "id"),
        Index("ix_runs_created_at", "created_at"),
        # A slot of a schedule and a retry are started once, whoever looks at the same time.
        Index("one_run_per_slot", "config_id", "scheduled_for", unique=True),
        Index("one_retry_per_run", "retry_of", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    config_id: Mapped[str | None] = mapped_column(ForeignKey("configurations.id"))
    backup_id: Mapped[str | None] = mapped_column(String(32))
    type: Mapped[str | None] = mapped_column(String(16))
    trigger: Mapped[str] = mapped_column(String(16))
    identity: Mapped[str] = mapped_column(String(200))
    host: Mapped[str] = mapped_column(String(255))
    process: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    items: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_read: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_stored: Mapped[int] = mapped_column(BigInteger, default=0)
    problem_count: Mapped[int] = mapped_column(default=0)
    arguments: Mapped[dict[str, Any]] = mapped_column(default=dict)
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)
    hint: Mapped[str | None] = mapped_column(Text)
    cause: Mapped[str | None] = mapped_column(String(64))
    queue: Mapped[str | None] = mapped_column(String(128))
    scheduled_for: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=1, server_default="1")
    retry_of: Mapped[str | None] = mapped_column(String(32))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    problems: Mapped[list[RunProblem]] = relationship(order_by="RunProblem.position", lazy="raise")

    @property
    def is_active(self) -> bool:
        """Whether it is queued or running."""
        return self.state in ACTIVE

    @property
    def duration_seconds(self) -> float | None:
        """From start to end; None while it runs or when it never started."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


class RunProblem(Base):
    """One item that a run could not handle; only the first ones of a run are kept."""

    __tablename__ = "run_problems"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)


class RunLine(Base):
    """A line of a run's log, for people."""

    __tablename__ = "run_lines"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    text: Mapped[str] = mapped_column(Text)


class RunPhase(Base):
    """A step of a run: `expected` is an estimate of the bytes to read in it (0: unknown), `read_before` what the run
    had read when it began, at `at`."""

    __tablename__ = "run_phases"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    expected: Mapped[int] = mapped_column(BigInteger)
    read_before: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
