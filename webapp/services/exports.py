"""A download put into a bucket as one object by a run of the kind `export`, and then the store's own link to it: for
what is too large to pass through here. The object lies there in the clear until the link ends; then the tick removes
it."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from engine.errors import EngineError
from engine.errors import NotFound as Absent
from engine.ids import new_id, spell
from engine.progress import Progress
from engine.spool import scratch_folder
from engine.storage.s3 import S3Storage
from webapp.errors import Conflict, Invalid, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Destination, DownloadLink, Run
from webapp.models.run import SUCCEEDED
from webapp.queue import RESTORE
from webapp.services import audit, browsing, downloads, records, repositories, runs, submit, work
from webapp.services.access import Actor, local_actor
from webapp.services.backups import SPOOL
from webapp.services.downloads import Wish
from webapp.services.heartbeat import Heartbeat
from webapp.services.keyrings import Tell
from webapp.services.links import GOOD_FOR
from webapp.services.runs import NewRun
from webapp.services.work import Ended, Finished

KIND = "export"
FOLDER = "exports/"
MOST_BYTES = 5 << 30
"""What a bucket takes in one piece."""
KEPT = timedelta(hours=1)
"""How long an object waits for somebody to ask for its link."""
_LONGEST_UPLOAD = timedelta(days=1)


@dataclass(frozen=True)
class Exported:
    """`url` is the store's link, good until `expires_at`; `size` in bytes."""

    link: DownloadLink
    name: str
    size: int
    url: str
    expires_at: datetime


def send(installation: Installation, actor: Actor, wish: Wish, *, tell: Tell) -> Run:
    """The queued run that puts the download into the first bucket that holds the restore point. Raises NotFound when
    none does, and what `downloads.open_download` raises."""
    backup = repositories.find_backup(installation, wish.backup_id)
    destination = _bucket(installation, [each.destination for each in records.usable_copies(installation, backup)])
    with closing(browsing.open_point(installation, backup.public_id, tell=tell)) as point:
        downloads.open_download(installation, point, wish.path, wish.form).pieces.close()
    # First: what is not noted is never removed.
    link = _noted(installation, actor, wish, destination, FOLDER + os.urandom(16).hex())
    new = NewRun(
        KIND,
        actor.identity,
        config_id=backup.config_id,
        backup_id=backup.public_id,
        type=backup.type,
        arguments={"linkId": link.public_id},
        queue=RESTORE,
    )
    return submit.submit(installation, new)


def carry_out(installation: Installation, queued: Run, *, progress: Progress, tell: Tell) -> Finished:
    """Works on such a run. It takes as long as reading and sending it, and as much room in the home's spool; more than
    5 GiB fail."""
    link = _found(installation, queued.arguments["linkId"])
    new = NewRun(
        KIND,
        queued.identity,
        config_id=queued.config_id,
        backup_id=queued.backup_id,
        type=queued.type,
        run_id=queued.id,
    )

    def upload(run: Run, watch: Heartbeat) -> Ended:
        try:
            name, size = _uploaded(installation, link, local_actor(run.identity), watch, tell)
        except BaseException:
            _ends(installation, link, installation.clock())
            raise
        _ends(installation, link, installation.clock() + KEPT)
        return Ended(SUCCEEDED, {"export": {"linkId": link.public_id, "name": name, "size": size}}, link.backup_id)

    return work.carry_out(installation, new, progress, upload)


def link_of(installation: Installation, actor: Actor, run_id: str) -> Exported:
    """The store's link to what the run has put there, for who asked for it. Raises NotFound, and Conflict while the run
    has not ended well."""
    run = runs.find(installation, run_id)
    if run.kind != KIND:
        raise NotFound(f"The run {run.public_id} is no export.")
    link = _found(installation, run.arguments["linkId"])
    if link.user_id != actor.user_id:
        raise NotFound(f"The export {run.public_id} was made for somebody else.", hint="Make one of your own.")
    if run.state != SUCCEEDED or run.result is None:
        raise Conflict(f"The export {run.public_id} is {run.state}.", hint="Its link is there when it has succeeded.")
    with installation.database.reading() as session:
        destination = session.get_one(Destination, link.destination_id)
    made = run.result["export"]
    assert link.object is not None
    with closing(_storage(installation, destination)) as storage:
        url = _url(storage, link.object, made["name"])
    expires_at = installation.clock() + GOOD_FOR
    _ends(installation, link, expires_at)
    audit.add(installation, actor, "export.linked", link.public_id)
    return Exported(link, made["name"], made["size"], url, expires_at)


def sweep(installation: Installation) -> int:
    """Removes what was exported and has ended; how many objects. A bucket that does not answer is tried next time."""
    ended = DownloadLink.expires_at <= installation.clock(), DownloadLink.object.is_not(None)
    with installation.database.reading() as session:
        rows = list(session.scalars(select(DownloadLink).where(*ended).limit(100)))
    removed = 0
    for row in rows:
        if _remove(installation, row):
            removed += 1
    return removed


def _remove(installation: Installation, row: DownloadLink) -> bool:
    with installation.database.reading() as session:
        destination = session.get_one(Destination, row.destination_id)
    assert row.object is not None
    try:
        with closing(_storage(installation, destination)) as storage:
            storage.delete(row.object)
    except Absent:
        pass  # it never arrived, or another tick was faster
    except (EngineError, ServiceError):
        return False
    with installation.database.transaction() as session:
        session.execute(delete(DownloadLink).where(DownloadLink.id == row.id))
        audit.record(session, installation, "system", "export.removed", row.public_id)
    return True


def _uploaded(
    installation: Installation, link: DownloadLink, actor: Actor, watch: Heartbeat, tell: Tell
) -> tuple[str, int]:
    """Name and size of what lies in the bucket then."""
    with installation.database.reading() as session:
        destination = session.get_one(Destination, link.destination_id)
    assert link.object is not None
    found = downloads.fetch(installation, actor, Wish(link.backup_id, os.fsdecode(link.path), link.form), tell=tell)
    with closing(found.pieces), scratch_folder(installation.settings.home / SPOOL) as scratch:
        file, size = scratch / "export", 0
        watch.phase("read")
        with file.open("wb") as spooled:
            for piece in found.pieces:
                watch.checkpoint()
                size += len(piece)
                if size > MOST_BYTES:
                    raise Invalid("This is more than the 5 GiB that a bucket takes at once.", hint="Download it here.")
                spooled.write(piece)
                watch.advance(read=len(piece))
        watch.phase("send")
        with closing(_storage(installation, destination)) as storage:
            storage.put(link.object, file)
        watch.advance(stored=size)
    return found.name, size


def _found(installation: Installation, public_id: str) -> DownloadLink:
    with installation.database.reading() as session:
        link = session.scalars(select(DownloadLink).where(DownloadLink.public_id == public_id)).first()
    if link is None:
        raise NotFound("This export has ended.", hint="Make a new one.")
    return link


def _ends(installation: Installation, link: DownloadLink, at: datetime) -> None:
    with installation.database.transaction() as session:
        session.execute(update(DownloadLink).where(DownloadLink.id == link.id).values(expires_at=at))


def _noted(installation: Installation, actor: Actor, wish: Wish, destination: Destination, name: str) -> DownloadLink:
    assert actor.user_id is not None
    now = installation.clock()
    link = DownloadLink(
        public_id=spell("dl", new_id()),
        user_id=actor.user_id,
        backup_id=wish.backup_id,
        path=os.fsencode(wish.path),
        form=wish.form,
        destination_id=destination.id,
        object=name,
        created_at=now,
        expires_at=now + _LONGEST_UPLOAD,
    )
    with installation.database.transaction() as session:
        session.add(link)
        session.flush()
        after = {**downloads.described(wish), "destination": destination.name, "object": name}
        audit.record(session, installation, actor, "export.asked", link.public_id, after=after)
    return link


def _bucket(installation: Installation, destinations: list[Destination]) -> Destination:
    for destination in destinations:
        if destination.kind == "s3":
            return destination
    raise NotFound("This restore point is in no bucket.", hint="Download it from this service.")


def _storage(installation: Installation, destination: Destination) -> S3Storage:
    storage = repositories.open_storage(installation, destination)
    assert isinstance(storage, S3Storage)
    return storage


def _url(storage: S3Storage, name: str, filename: str) -> str:
    from engine.storage.presign import signed_url

    seconds = int(GOOD_FOR.total_seconds())
    return signed_url(storage, name, seconds=seconds, disposition=downloads.disposition(filename))
