"""Links for downloads: for one person and one thing, good once and for five minutes, each use on record."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import CursorResult, delete, select, update

from engine.ids import new_id, spell
from webapp.errors import NotFound
from webapp.installation import Installation
from webapp.models import DownloadLink
from webapp.services import audit
from webapp.services.access import Actor
from webapp.services.downloads import Wish, described

GOOD_FOR = timedelta(minutes=5)
KEPT = timedelta(days=1)
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Made:
    """A link that was made; `secret` is told once and kept nowhere."""

    link: DownloadLink
    secret: str


def make(installation: Installation, actor: Actor, wish: Wish) -> Made:
    """A link for the person who asks. What it is for must be there: open it first."""
    assert actor.user_id is not None
    secret, now = secrets.token_urlsafe(_SECRET_BYTES), installation.clock()
    link = DownloadLink(
        public_id=spell("dl", new_id()),
        user_id=actor.user_id,
        backup_id=wish.backup_id,
        path=os.fsencode(wish.path),
        form=wish.form,
        secret_hash=_hash(secret),
        created_at=now,
        expires_at=now + GOOD_FOR,
    )
    with installation.database.transaction() as session:
        session.add(link)
        session.flush()
        audit.record(session, installation, actor, "link.made", link.public_id, after=described(wish))
    return Made(link, secret)


def take(installation: Installation, actor: Actor, secret: str) -> Wish:
    """What the link is for; from now on it is used. Raises NotFound with one sentence for every reason: wrong, used,
    too late, made for somebody else."""
    now = installation.clock()
    wanted = DownloadLink.secret_hash == _hash(secret)
    good = DownloadLink.used_at.is_(None), DownloadLink.expires_at > now, DownloadLink.user_id == actor.user_id
    with installation.database.transaction() as session:
        taken = session.execute(update(DownloadLink).where(wanted, *good).values(used_at=now))
        assert isinstance(taken, CursorResult)
        link = session.scalars(select(DownloadLink).where(wanted)).first()
        name = "unknown" if link is None else link.public_id
        done = taken.rowcount == 1
        audit.record(session, installation, actor, "link.used", name, outcome=audit.DONE if done else audit.DENIED)
    if link is None or not done:
        raise NotFound(
            "This link does not count.",
            hint="It is wrong, was used, is older than five minutes, or was made for somebody else. Make a new one.",
        )
    return Wish(link.backup_id, os.fsdecode(link.path), link.form)


def sweep(installation: Installation) -> int:
    """Forgets links that ended a day ago, and removes what was exported to buckets and has ended; how many."""
    from webapp.services import exports

    removed = exports.sweep(installation)
    old = DownloadLink.expires_at < installation.clock() - KEPT, DownloadLink.object.is_(None)
    with installation.database.transaction() as session:
        gone = session.execute(delete(DownloadLink).where(*old))
        assert isinstance(gone, CursorResult)
        return removed + gone.rowcount


def _hash(secret: str) -> str:
    """The secret has 256 random bits: a plain hash is enough, and finds its row by an index."""
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()
