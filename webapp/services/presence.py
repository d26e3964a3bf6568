"""When people were last here: by their browsers and by their tokens; and how many of both are alive."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from webapp.installation import Installation
from webapp.models import ApiToken, WebSession
from webapp.services.sessions import IDLE, LONGEST


@dataclass(frozen=True)
class Presence:
    """`sessions` are browsers that are signed in, `tokens` those that are not revoked and have not ended."""

    seen_at: datetime | None = None
    sessions: int = 0
    tokens: int = 0


def of_all(installation: Installation) -> dict[int, Presence]:
    """By the row of the account; who was never here and has no token is left out. Four queries."""
    now = installation.clock()
    living = (
        WebSession.ended_at.is_(None) & (WebSession.seen_at >= now - IDLE) & (WebSession.created_at >= now - LONGEST)
    )
    valid = ApiToken.revoked_at.is_(None) & (ApiToken.expires_at.is_(None) | (ApiToken.expires_at > now))
    seen: dict[int, list[datetime]] = defaultdict(list)
    with installation.database.reading() as session:
        for kind, at in ((WebSession, WebSession.seen_at), (ApiToken, ApiToken.used_at)):
            for user_id, last in session.execute(select(kind.user_id, func.max(at)).group_by(kind.user_id)):
                if last is not None:
                    seen[user_id].append(last)
        counts = [
            dict(session.execute(select(kind.user_id, func.count(kind.id)).where(alive).group_by(kind.user_id)).all())
            for kind, alive in ((WebSession, living), (ApiToken, valid))
        ]
    people = {*seen, *counts[0], *counts[1]}
    return {
        each: Presence(max(seen[each], default=None), counts[0].get(each, 0), counts[1].get(each, 0)) for each in people
    }
