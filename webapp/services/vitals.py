"""Whether the service itself is fine: each part of it looked at now, with what to do where it is not. No secrets."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from engine.storage.local import free_bytes
from webapp.database import SQLITE_PREFIX, current_revision
from webapp.errors import Unavailable
from webapp.installation import Installation
from webapp.keyfile import key_path
from webapp.models import Destination, Pulse, Run
from webapp.models.run import QUEUED, RUNNING
from webapp.queue import BACKUP, RESTORE, SYSTEM, Queue, opened
from webapp.services import doctor, keyrings, pulses, waiting
from webapp.services.doctor import ERROR, OK, WARNING
from webapp.version import PROGRAM

SKEW = timedelta(seconds=5)


@dataclass(frozen=True)
class Part:
    """One part of the service: `level` as in services/doctor.py, a sentence, and what to do."""

    name: str
    level: str
    said: str
    hint: str = ""


def look(installation: Installation) -> list[Part]:
    """Every part. Raises Unavailable only when the database cannot be used."""
    parts = [_scheduler(installation), *_behind_redis(installation), _queue_age(installation)]
    return [*parts, _database(installation), _disk(installation), _key(installation), _version()]


def _behind_redis(installation: Installation) -> Iterator[Part]:
    """Redis, and what can be told of scheduler, workers and clock only with it."""
    try:
        with opened(installation.settings) as queue:
            queue.ping()
            yield from (_workers(queue, name) for name in (BACKUP, RESTORE, SYSTEM))
            yield Part("Redis", OK, "It answers.")
            yield _clock(installation, queue)
    except Unavailable as error:
        yield Part("Redis", ERROR, error.message, error.hint)
        for name in ("Workers", "Clock"):
            yield Part(name, WARNING, "Unknown while Redis does not answer.")


def _scheduler(installation: Installation) -> Part:
    """By the tick, which it starts and a worker carries out."""
    with installation.database.reading() as session:
        seen = session.get(Pulse, pulses.TICK)
    again = "Start `./run`, or the processes `scheduler` and `worker`."
    if seen is None:
        return Part("Scheduler", ERROR, "It has never reported here. No backup runs by itself.", again)
    silent = pulses.silence(installation).get(pulses.TICK)
    if silent:
        return Part("Scheduler", ERROR, silent, again)
    seconds = max(0, int((installation.clock() - seen.at).total_seconds()))
    return Part("Scheduler", OK, f"It reported {seconds} s ago.")


def _workers(queue: Queue, name: str) -> Part:
    title = f"Workers for {name}"
    count = len(queue.workers(name))
    if not count:
        return Part(title, ERROR, "There is none: what waits there is not carried out.", "Start `./run`, or a worker.")
    return Part(title, OK, f"{count} {'is' if count == 1 else 'are'} there.")


def _queue_age(installation: Installation) -> Part:
    busy = select(func.count(Run.id)).where(Run.state == RUNNING).scalar_subquery()
    query = select(func.count(Run.id), func.min(Run.created_at), busy, waiting.unserved_since(installation))
    with installation.database.reading() as session:
        count, oldest, running, unserved_since = session.execute(query.where(Run.state == QUEUED)).one()
    at_work = f"{running} at work"
    if not count or oldest is None:
        return Part("Queue", OK, f"Nothing waits, {at_work}.")
    age = installation.clock() - oldest
    said = f"{count} wait, the oldest for {max(0, int(age.total_seconds()))} s; {at_work}."
    if unserved_since is not None:
        return Part("Queue", ERROR, said, "Is a worker there for it?")
    return Part("Queue", WARNING if age > waiting.PATIENCE else OK, said)


def _database(installation: Installation) -> Part:
    database = installation.database
    kind = "SQLite" if installation.settings.database_url.startswith(SQLITE_PREFIX) else "PostgreSQL"
    return Part("Database", OK, f"{kind} answers, revision {current_revision(database.engine)}.")


def _clock(installation: Installation, queue: Queue) -> Part:
    """Against Redis, and against the destinations that were tested within a day."""
    seconds, micros = queue.redis.time()
    theirs = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)
    skews = [("Redis", (theirs - installation.clock()).total_seconds())]
    since = installation.clock() - timedelta(days=1)
    query = select(Destination).where(Destination.deleted_at.is_(None), Destination.checked_at > since)
    with installation.database.reading() as session:
        for each in session.scalars(query):
            skew = (each.probe or {}).get("clockSkewSeconds")
            skews += [] if skew is None else [(each.name, skew)]
    name, worst = max(skews, key=lambda pair: abs(pair[1]))
    if abs(worst) > SKEW.total_seconds():
        said = f"It differs by {abs(worst):.0f} s from that of {name}."
        return Part("Clock", WARNING, said, "Set this machine's clock, best by NTP.")
    others = "1 other clock" if len(skews) == 1 else f"{len(skews)} other clocks"
    return Part("Clock", OK, f"It differs by less than {max(1, round(abs(worst)))} s from {others}.")


def _disk(installation: Installation) -> Part:
    home = installation.settings.home
    try:
        free = free_bytes(home)
    except OSError as error:
        return Part("Disk", ERROR, f"The home cannot be read: {error.strerror}.", "Check its owner and mode.")
    said = f"{free / (1 << 30):.1f} GiB are free where the home is."
    if free < doctor.LOW_BYTES:
        return Part("Disk", WARNING, said, "Free some space: backups need scratch space.")
    return Part("Disk", OK, said)


def _key(installation: Installation) -> Part:
    settings = installation.settings
    if not keyrings.is_there(settings):
        return Part("Key", OK, "There is none yet; the first backup makes it.")
    where = (
        "in BACKUP_ENCRYPTION_KEY" if settings.encryption_key is not None else f"in the file {key_path(settings).name}"
    )
    if not keyrings.is_code_confirmed(settings):
        said = f"It is {where}; nobody has typed the recovery code back."
        return Part("Key", WARNING, said, "Make a recovery kit in the settings, and type its code back.")
    if keyrings.retired(settings):
        return Part("Key", WARNING, "A change of keys is not finished.", "The next backup tries again.")
    return Part("Key", OK, f"It is {where}; the recovery code was typed back.")


def _version() -> Part:
    return Part("Version", OK, f"{PROGRAM}, Python {platform.python_version()}.")
