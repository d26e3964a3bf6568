"""Have restores been proved? Of every configuration: what was read back and when, what was restored and how long that
took, and which restore points nobody ever looked at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, distinct, func, select
from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Run, Verification
from webapp.models.backup import DAMAGED, LOST, PRESENT
from webapp.models.run import ACTIVE, SUCCEEDED, UNDO
from webapp.services import protection, records
from webapp.services.before_replacing import PREFIX
from webapp.services.wholes import is_whole

NEVER, UNREAD, STALE, HURT, PROVED = "never tested", "never checked", "not lately", "damaged", "tested"
UNRESTORED = "never restored"


@dataclass(frozen=True)
class Check:
    """The last check of a configuration: its run, which part was read (in per cent, None: unknown)."""

    run: Run
    read_percent: int | None


@dataclass(frozen=True)
class Proof:
    """One configuration. `points` can be used and hold all of its sources, `unchecked` of them were never read back in
    full, and `newest` is the public id of the newest; `damaged` ones have a copy that is damaged or lost. `rto_minutes`
    is what was promised, `restore` the last restore of a whole restore point without a problem."""

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
        if self.restore is None:
            return UNRESTORED
        return STALE if protection.is_check_old(self.checked_at, self.now) else PROVED

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


def proving_restore() -> ColumnElement[bool]:
    """Which runs show that a restore works and how long it takes: all of a restore point, without a problem. An undo is
    none (it takes seconds), nor is one file out of many."""
    whole = (func.coalesce(Run.arguments["only"].as_string(), "[]") == "[]") & is_whole(Run)
    return (Run.kind == "restore") & (Run.state == SUCCEEDED) & Run.type.is_distinct_from(UNDO) & whole


class _Facts:
    """What the database knows of these configurations, by their id."""

    def __init__(self, session: Session, ids: Collection[str]) -> None:
        usable = (BackupCopy.state == PRESENT) & BackupCopy.trashed_at.is_(None) & is_whole(Backup)
        hurt = BackupCopy.state.in_((DAMAGED, LOST)) & BackupCopy.trashed_at.is_(None)
        query = (
            select(
                Backup.config_id,
                func.count(distinct(case((usable, Backup.id)))),
                func.count(distinct(case((usable & BackupCopy.verified_at.is_not(None), Backup.id)))),
                func.count(distinct(case((hurt, Backup.id)))),
                func.max(case((usable, BackupCopy.verified_at))),
            )
            .join(BackupCopy, BackupCopy.backup_id == Backup.id)
            .where(Backup.config_id.in_(ids), Backup.deleted_at.is_(None))
            .group_by(Backup.config_id)
        )
        self.counts = {row[0]: tuple(row)[1:] for row in session.execute(query)}
        newest = select(records.newest_usable()).where(Configuration.id.in_(ids))
        usables = select(Backup.config_id, Backup.public_id).where(Backup.id.in_(newest))
        self.newest: dict[str, str] = {row[0]: row[1] for row in session.execute(usables)}
        self.checks = _last(session, ids, "verify", Run.state.not_in(ACTIVE))
        self.restores = _last(session, ids, "restore", proving_restore())
        read = (
            select(Verification.run_id, func.min(Verification.read_percent))
            .where(Verification.run_id.in_([run.id for run in self.checks.values()]))
            .group_by(Verification.run_id)
        )
        self.read: dict[int, int] = {row[0]: row[1] for row in session.execute(read)}

    def proof(self, configuration: Configuration, now: datetime) -> Proof:
        id = configuration.id
        points, checked, hurt, checked_at = self.counts.get(id, (0, 0, 0, None))
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
