"""When configurations run by themselves: next times in their zones, what is due, pauses. Each slot is started once.

A local time that the clock skips runs at the next valid minute, a repeated one once, missed ones are caught up once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from webapp.errors import Invalid
from webapp.installation import Installation
from webapp.models import Configuration, Run, Schedule
from webapp.models.run import ACTIVE
from webapp.schema.times import plain_cron
from webapp.services import audit, configurations, runs
from webapp.services.access import Actor
from webapp.services.runs import NewRun

SYSTEM = "system"
# How far back a slot that was missed is looked for: a schedule of every minute should not be counted for a year.
_WINDOWS = (timedelta(days=1), timedelta(days=32), timedelta(days=400))


def slots(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """The times of a schedule that come after `after`, in UTC, without end."""
    from cronsim import CronSim

    last = after
    for local in CronSim(plain_cron(expression), after.astimezone(ZoneInfo(zone))):
        slot = local.astimezone(UTC)
        # Two slots of a skipped hour fall together, and in a repeated hour the first pass comes back: never go back.
        if slot > last:
            last = slot
            yield slot


def preview(expression: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """The next `count` times, in UTC."""
    ticks = slots(expression, zone, after)
    return [slot for slot, _ in zip(ticks, range(count), strict=False)]


def newest_missed(expression: str, zone: str, first: datetime, now: datetime) -> datetime:
    """Of the slots from `first` (which is one, and due) to `now` the last."""
    for window in _WINDOWS:
        since = max(first, now - window)
        found = first if since == first else None
        for slot in slots(expression, zone, since):
            if slot > now:
                break
            found = slot
        if found is not None:
            return found
    return first


def upcoming(installation: Installation, configuration: Configuration, count: int) -> list[datetime]:
    """When it will run next; none when it has no schedule, is paused or disabled."""
    return following(state(installation, configuration), installation.clock(), count)


def following(row: Schedule | None, now: datetime, count: int) -> list[datetime]:
    """As `upcoming`, from the row of a schedule."""
    if row is None or row.next_at is None or row.expression is None:
        return []
    return [row.next_at, *preview(row.expression, row.zone, max(row.next_at, now), count - 1)][:count]


def state(installation: Installation, configuration: Configuration) -> Schedule:
    """The row of a configuration's schedule, brought up to date."""
    with installation.database.transaction() as session:
        return _adjusted(session, installation, session.get_one(Configuration, configuration.id))


def pause(installation: Installation, config_id: str, *, actor: Actor | str = SYSTEM) -> Schedule:
    """It does not run by itself until it is resumed. Raises NotFound, Invalid without a schedule."""
    return _set_pause(installation, config_id, actor, pause=True)


def resume(installation: Installation, config_id: str, *, actor: Actor | str = SYSTEM) -> Schedule:
    """It runs by itself again; what passed meanwhile is not caught up. Raises NotFound, Invalid."""
    return _set_pause(installation, config_id, actor, pause=False)


def refresh(installation: Installation) -> None:
    """Brings the schedules of all configurations that were changed up to date; a clock that was set back, too."""
    query = (
        select(Configuration.id)
        .outerjoin(Schedule, Schedule.config_id == Configuration.id)
        .where(or_(Schedule.config_id.is_(None), Schedule.version != Configuration.version, _stopped()))
    )
    with installation.database.reading() as session:
        changed = list(session.scalars(query))
    for config_id in changed:
        try:
            with installation.database.transaction() as session:
                _adjusted(session, installation, session.get_one(Configuration, config_id, with_for_update=True))
        except IntegrityError:
            continue  # another process made the row at the same moment


def start_due(installation: Installation) -> list[Run]:
    """Runs for all that is due, committed as queued and not sent yet. A configuration that is being backed up starts
    when that has ended."""
    now = installation.clock()
    query = select(Schedule.config_id).where(Schedule.next_at <= now).order_by(Schedule.next_at)
    with installation.database.reading() as session:
        due = list(session.scalars(query))
    started = []
    for config_id in due:
        try:
            with installation.database.transaction() as session:
                run = _start(session, installation, config_id, now)
        except IntegrityError:
            continue  # another one is active, or another tick was faster: the next tick looks again
        if run is not None:
            started.append(run)
    return started


def queue_of(configuration: Configuration) -> str:
    """The queue in which backups of a configuration wait."""
    queue: str | None = configuration.document.get("queue")
    return queue or "backup"


def correct(installation: Installation) -> None:
    """After the clock was set back: no schedule waits for longer than until its next time."""
    now = installation.clock()
    with installation.database.transaction() as session:
        for row in session.scalars(select(Schedule).where(Schedule.next_at > now)):
            assert row.expression is not None
            row.next_at = min(row.next_at or now, next(slots(row.expression, row.zone, now)))


def _start(session: Session, installation: Installation, config_id: str, now: datetime) -> Run | None:
    row = session.get_one(Schedule, config_id)
    before = row.next_at
    if before is None or before > now or row.expression is None:
        return None
    active = select(Run.id).where(Run.config_id == config_id, Run.kind == "create", Run.state.in_(ACTIVE))
    if session.scalar(active) is not None:
        return None
    slot = newest_missed(row.expression, row.zone, before, now)
    following = next(slots(row.expression, row.zone, now))
    moved = session.execute(
        update(Schedule)
        .where(Schedule.config_id == config_id, Schedule.next_at == before)
        .values(next_at=following)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(moved, CursorResult)
    if moved.rowcount != 1:
        return None
    if session.scalar(select(Run.id).where(Run.config_id == config_id, Run.scheduled_for == slot)) is not None:
        return None  # the clock was set back and this slot has run
    configuration = session.get_one(Configuration, config_id)
    new = NewRun(
        "create",
        SYSTEM,
        config_id=config_id,
        type=configuration.type,
        trigger="schedule",
        queue=queue_of(configuration),
        scheduled_for=slot,
    )
    return runs.insert_run(session, installation, new)


def _stopped() -> Any:
    """A schedule that goes on although its configuration was deleted."""
    return Configuration.deleted_at.is_not(None) & Schedule.next_at.is_not(None)


def _adjusted(session: Session, installation: Installation, configuration: Configuration) -> Schedule:
    document = configuration.document
    expression = configuration.schedule
    zone = document.get("timezone") or installation.settings.timezone
    row = session.get(Schedule, configuration.id)
    if row is None:
        row = Schedule(config_id=configuration.id, version=0, expression=None, zone=zone)
        session.add(row)
    runs_by_itself = configuration.enabled and configuration.deleted_at is None and row.paused_at is None
    if expression is None or not runs_by_itself:
        row.next_at = None
    elif row.next_at is None or (row.expression, row.zone) != (expression, zone):
        # Changed or enabled at that moment: what has come since then is caught up, nothing that was before.
        row.next_at = next(slots(expression, zone, configuration.updated_at))
    row.expression, row.zone, row.version = expression, zone, configuration.version
    session.flush()
    return row


def _set_pause(installation: Installation, config_id: str, actor: Actor | str, *, pause: bool) -> Schedule:
    configuration = configurations.find(installation, config_id)
    if configuration.schedule is None:
        raise Invalid(
            f"{config_id} has no schedule.", hint=f"`backup-cli schedule --config {config_id} --cron EXPR` sets one."
        )
    now = installation.clock()
    with installation.database.transaction() as session:
        row = _adjusted(session, installation, session.get_one(Configuration, config_id))
        if pause:
            row.paused_at, row.next_at = row.paused_at or now, None
        elif row.paused_at is not None:
            row.paused_at = None
            if configuration.enabled and row.expression:
                row.next_at = next(slots(row.expression, row.zone, now))
        audit.record(session, installation, actor, f"schedule.{'paused' if pause else 'resumed'}", config_id)
        return row
