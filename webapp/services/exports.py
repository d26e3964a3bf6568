"""A download put into a bucket as one object, with the store's own link to it: for what is too large to pass through
here. The object lies there in the clear until the link ends; then the tick removes it."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from engine.errors import EngineError
from engine.errors import NotFound as Absent
from engine.ids import new_id, spell
from engine.spool import scratch_folder
from engine.storage.s3 import S3Storage
from webapp.errors import Invalid, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Destination, DownloadLink
from webapp.services import audit, downloads, records, repositories
from webapp.services.access import Actor
from webapp.services.backups import SPOOL
from webapp.services.downloads import Wish
from webapp.services.keyrings import Tell
from webapp.services.links import GOOD_FOR

FOLDER = "exports/"
_LONGEST_UPLOAD = timedelta(days=1)
MOST_BYTES = 5 << 30
"""What a bucket takes in one piece."""


@dataclass(frozen=True)
class Exported:
    """`url` is the store's link, good until `expires_at`; `size` in bytes."""

    link: DownloadLink
    name: str
    size: int
    url: str
    expires_at: datetime


def export(installation: Installation, actor: Actor, wish: Wish, *, tell: Tell) -> Exported:
    """Puts the download into the first bucket that holds the restore point. It takes as long as reading and sending it,
    and as much room in the home's spool.

    Raises NotFound when no bucket has the restore point, Invalid for more than 5 GiB, and what downloads raise."""
    backup = repositories.find_backup(installation, wish.backup_id)
    destination = _bucket(installation, [each.destination for each in records.usable_copies(installation, backup)])
    found = downloads.fetch(installation, actor, wish, tell=tell)
    name = FOLDER + os.urandom(16).hex()
    with closing(found.pieces), scratch_folder(installation.settings.home / SPOOL) as scratch:
        file = scratch / "export"
        size = 0
        with file.open("wb") as spooled:
            for piece in found.pieces:
                size += len(piece)
                if size > MOST_BYTES:
                    raise Invalid("This is more than the 5 GiB that a bucket takes at once.", hint="Download it here.")
                spooled.write(piece)
        link = _noted(installation, actor, wish, destination, name)  # first: what is not noted is never removed
        with closing(_storage(installation, destination)) as storage:
            storage.put(name, file)
            url = _url(storage, name, found.name)
    expires_at = installation.clock() + GOOD_FOR
    with installation.database.transaction() as session:
        session.get_one(DownloadLink, link.id).expires_at = expires_at
    return Exported(link, found.name, size, url, expires_at)


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
        audit.record(session, installation, actor, "export.made", link.public_id, after=after)
    return link


def _bucket(installation: Installation, destinations: list[Destination]) -> Destination:
    for destination in destinations:
        if destination.kind == "s3":
            return destination
    raise NotFound("This restore point is in no bucket.", hint="Leave `place` out for a link of this service.")


def _storage(installation: Installation, destination: Destination) -> S3Storage:
    storage = repositories.open_storage(installation, destination)
    assert isinstance(storage, S3Storage)
    return storage


def _url(storage: S3Storage, name: str, filename: str) -> str:
    from engine.storage.presign import signed_url

    seconds = int(GOOD_FOR.total_seconds())
    return signed_url(storage, name, seconds=seconds, disposition=downloads.disposition(filename))
