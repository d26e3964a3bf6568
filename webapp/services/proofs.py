"""Have restores been proved? Of every configuration: what was read back and when, what was restored and how long that
took, and which restore points nobody ever looked at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, distinct, func, select, tuple_
from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Run, Verification
from webapp.models.backup import DAMAGED, LOST, PRESENT
from webapp.models.run import ACTIVE, SUCCEEDED, UNDO, WARNING
from webapp.services.before_replacing import PREFIX

NEVER, UNREAD, STALE, HURT, PROVED = "never tested", "never checked", "not lately", "damaged", "tested"
_CHECKED_DAYS = 30


@dataclass(frozen=True)
class Check:
    """The last check of a configuration: its run, which part was read (in per cent, None: unknown)."""

    run: Run
    read_percent: int | None


@dataclass(frozen=True)
class Proof:
    """One configuration. `points` can be used, `unchecked` of them were never read back in full, `damaged` have a copy
    that is damaged or lost; `newest` is the public id of the newest that can be used. `rto_minutes` is what was
    promised, `restore` the last restore that ended well."""

    configuration: Configuration
    points: int
    unchecked: int
    damaged: int
    newest: str | None
    checked_at: datetime | None
    check: Check | None
    restore: Run | None
    rto_minutes: int | None
    now: datetime

    @property
    def state(self) -> str:
        """The worst that can be said of it."""
        if self.damaged:
            return HURT
        if self.checked_at is None:
            return NEVER if self.restore is None else UNREAD
        return STALE if (self.now - self.checked_at).days >= _CHECKED_DAYS else PROVED

    @property
    def is_slow(self) -> bool:
        """Whether the last restore took longer than was promised."""
        took = self.restore.duration_seconds if self.restore else None
        return took is not None and self.rto_minutes is not None and took > self.rto_minutes * 60


def of_all(installation: Installation, *, after: str | None = None, limit: int = 25) -> list[Proof]:
    """By the id of the configuration, those behind `after`; one more than `limit` when there is more. Seven queries,
    however many there are."""
    query = (
        select(Configuration)
        .where(Configuration.deleted_at.is_(None), Configuration.id.not_like(f"{PREFIX}%"))
        .order_by(Configuration.id)
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(Configuration.id > after)
    with installation.database.reading() as session:
        configurations = list(session.scalars(query))
        facts = _Facts(session, [each.id for each in configurations])
    now = installation.clock()
    return [facts.proof(each, now) for each in configurations]


def whole_check(installation: Installation) -> Run | None:
    """The last check of everything at all destinations that has ended."""
    query = select(Run).where(Run.kind == "verify", Run.config_id.is_(None), Run.state.not_in(ACTIVE))
    with installation.database.reading() as session:
        return session.scalars(query.order_by(Run.id.desc()).limit(1)).first()


class _Facts:
    """What the database knows of these configurations, by their id."""

    def __init__(self, session: Session, ids: Collection[str]) -> None:
        usable = (BackupCopy.state == PRESENT) & BackupCopy.trashed_at.is_(None)
        hurt = BackupCopy.state.in_((DAMAGED, LOST)) & BackupCopy.trashed_at.is_(None)
        query = (
            select(
                Backup.config_id,
                func.count(distinct(case((usable, Backup.id)))),
                func.count(distinct(case((usable & BackupCopy.verified_at.is_not(None), Backup.id)))),
                func.count(distinct(case((hurt, Backup.id)))),
                func.max(case((usable, Backup.sequence))),
                func.max(case((usable, BackupCopy.verified_at))),
            )
            .join(BackupCopy, BackupCopy.backup_id == Backup.id)
            .where(Backup.config_id.in_(ids), Backup.deleted_at.is_(None))
            .group_by(Backup.config_id)
        )
        self.counts = {row[0]: tuple(row)[1:] for row in session.execute(query)}
        wanted = [(name, counted[3]) for name, counted in self.counts.items()]
        newest = select(Backup.config_id, Backup.public_id).where(tuple_(Backup.config_id, Backup.sequence).in_(wanted))
        self.newest: dict[str, str] = {row[0]: row[1] for row in session.execute(newest)}
        self.checks = _last(session, ids, "verify", Run.state.not_in(ACTIVE))
        well = Run.state.in_((SUCCEEDED, WARNING)) & Run.type.is_distinct_from(UNDO)
        self.restores = _last(session, ids, "restore", well)
        read = (
            select(Verification.run_id, func.min(Verification.read_percent))
            .where(Verification.run_id.in_([run.id for run in self.checks.values()]))
            .group_by(Verification.run_id)
        )
        self.read: dict[int, int] = {row[0]: row[1] for row in session.execute(read)}

    def proof(self, configuration: Configuration, now: datetime) -> Proof:
        id = configuration.id
        points, checked, hurt, _, checked_at = self.counts.get(id, (0, 0, 0, None, None))
        run = self.checks.get(id)
        return Proof(
            configuration=configuration,
            points=points,
            unchecked=points - checked,
            damaged=hurt,
            newest=self.newest.get(id),
            checked_at=checked_at,
            check=None if run is None else Check(run, self.read.get(run.id)),
            restore=self.restores.get(id),
            rto_minutes=(configuration.document.get("objectives") or {}).get("rtoMinutes"),
            now=now,
        )


def _last(session: Session, ids: Collection[str], kind: str, how: Any) -> dict[str, Run]:
    """The last run of this kind of each, from the end of the index of its runs: to group 100,000 runs takes a tenth of
    a second."""
    newest = (
        select(Run.id)
        .where(Run.config_id == Configuration.id, Run.kind == kind, how)
        .order_by(Run.id.desc())
        .limit(1)
        .correlate(Configuration)
        .scalar_subquery()
    )
    numbers = select(newest).where(Configuration.id.in_(ids))
    return {str(run.config_id): run for run in session.scalars(select(Run).where(Run.id.in_(numbers)))}
