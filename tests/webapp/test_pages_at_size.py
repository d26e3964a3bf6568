"""Every page with 200 configurations that have long names, three destinations, runs that failed and points that are
damaged: none is larger than 40,000 bytes, asks the database more than twelve things, or has an id twice.

The rows are copies of what one real backup wrote; to make them all by backups would take minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from engine.ids import new_id, spell
from tests.webapp.reading import SMALL, at_odds
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from webapp.models import Alarm, Backup, BackupCopy, Configuration, Delivery, Destination, Event, Run, Schedule
from webapp.models.backup import DAMAGED, PRESENT
from webapp.services import audit, figures, schedules

CONFIGURATIONS, EACH = 200, 12
ERROR = "The server postgresql://backup@database-17.internal.example/orders did not answer within 60 seconds. " * 2
STATES = ("succeeded", "warning", "failed", "interrupted", "cancelled")
# What is no page, asks for what only PostgreSQL has, or belongs to nobody who is signed in.
NO_PAGES = ("static", "api.", "docs.", "downloads.", "health.alive", "health.ready", "health.numbers")
NO_PAGES += ("account.sign_in", "account.code", "styleguide.")


def named(number: int) -> str:
    return f"production-customer-database-{number:03}"


def row_of(found: Any, **changes: Any) -> dict[str, Any]:
    """What a row holds, without its number and what the database works out, with changes."""
    columns = [each for each in found.__table__.columns if each.key != "id" and each.computed is None]
    kept = {each.key: getattr(found, each.key) for each in columns}
    return kept | changes


@pytest.fixture
def full(shelf: Shelf) -> Shelf:
    """All of it; each configuration's newest run and point are of this hour."""
    shelf.configure(
        named(0),
        name="The customers' database of production in Frankfurt, number 000",
        type="files",
        schedule="0,30 */2 * * 1-6",
        timezone="America/Argentina/Buenos_Aires",
        objectives={"rpoMinutes": 1500, "rtoMinutes": 60},
        retention={"daily": 14, "weekly": 8, "monthly": 12, "yearly": 3},
        places=tuple(f"destinations/of-{name}" for name in ("frankfurt", "amsterdam", "buenos-aires")),
        notifications={"onFailure": [f"somebody-{number}@operations.example.com" for number in range(4)]},
    )
    shelf.backup(config_id=named(0))
    with shelf.installation.database.transaction() as session:
        first = session.scalars(select(Configuration)).one()
        rows = [
            row_of(first, id=named(number), name=f"{first.name[:-3]}{number:03}") for number in range(1, CONFIGURATIONS)
        ]
        session.execute(insert(Configuration), rows)
    schedules.refresh(shelf.installation)
    with shelf.installation.database.transaction() as session:
        paused = [named(number) for number in range(0, CONFIGURATIONS, 7)]
        session.execute(update(Schedule).where(Schedule.config_id.in_(paused)).values(paused_at=shelf.hands.now))
        _history(session, shelf)
        figures.rebuild(session)
    for number in range(60):
        audit.add(shelf.installation, "user:somebody-with-a-long-name", "configuration.change", named(number))
    return shelf


def _history(session: Any, shelf: Shelf) -> None:
    """Runs of every end, points of which some are damaged somewhere, what was broken and who was told of it."""
    run, point = session.scalars(select(Run)).one(), session.scalars(select(Backup)).one()
    places, now = list(session.scalars(select(Destination.id))), shelf.hands.now
    runs, points, copies = [], [], []
    for number in range(CONFIGURATIONS * EACH):
        at = now - timedelta(hours=2 * (number // CONFIGURATIONS), seconds=number % CONFIGURATIONS)
        state = STATES[(number // 3) % len(STATES)]
        has_point, mark = state in STATES[:2], {"id": number + 2, "config_id": named(number % CONFIGURATIONS)}
        public = spell("bk", new_id())
        times = {"started_at": at - timedelta(minutes=7), "finished_at": at}
        failed = {} if has_point else {"error": ERROR, "hint": ERROR, "cause": "Unavailable", "backup_id": None}
        new = {"public_id": spell("run", new_id()), "state": state, "created_at": at, "scheduled_for": None}
        runs.append(row_of(run, **mark, **times, **({"backup_id": public} | new | failed)))
        if has_point:
            points.append(row_of(point, **mark, **times, public_id=public, run_id=number + 2, sequence=number + 2))
            for place in places:
                broken = DAMAGED if (number + place) % 5 == 0 else PRESENT
                copies.append({"backup_id": number + 2, "destination_id": place, "state": broken})
    session.execute(insert(Run), runs)
    session.execute(insert(Backup), points)
    session.execute(insert(BackupCopy), copies)
    told = Event(kind="failed", config_id=named(1), run_id=runs[1]["public_id"], at=now, handled_at=now)
    session.add(told)
    session.flush()
    for number in range(60):
        about = {"kind": "damaged", "object": f"packs/{number:064}", "reason": ERROR, "found_at": now}
        session.add(Alarm(destination_id=places[0], backup=points[number]["public_id"], **about))
        to = {"recipient": f"{number:064}", "shown": f"somebody-{number}@operations.example.com", "error": ERROR}
        when = {"created_at": now, "due_at": now, "state": "waiting", "tries": 3}
        session.add(Delivery(event_id=told.id, kind=told.kind, config_id=named(number), **to, **when))


def pages(site: Site, point: str, run: str) -> list[str]:
    """Every page that needs no more than one name, and those that show less, more, or another part of it."""
    rules = [rule for rule in site.app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    plain = [rule.rule for rule in rules if not rule.arguments and not rule.endpoint.startswith(NO_PAGES)]
    assert {"/", "/backups", "/runs", "/stats", "/verification"} <= set(plain)
    one = named(1)
    return [
        *plain,
        *(
            "/backups?page=2",
            f"/backups?page={CONFIGURATIONS // 20}",
            "/backups?show=risk",
            "/backups?show=paused",
            "/backups?sort=-name",
            "/backups?sort=points",
            "/backups?q=frankfurt",
        ),
        *(f"/backups/{one}", f"/backups/{one}/edit", f"/backups/{one}/edit?as=json", f"/backups/{one}/test"),
        *("/runs?status=failed", f"/runs?backup={one}", f"/runs/{run}"),
        *(f"/restore-points?backup={one}", "/restore-points?state=damaged", "/restore-points?state=unchecked"),
        *(f"/restore-points/{point}", f"/restores/new?backup={one}", f"/verification?after={one}"),
        *("/stats?period=365d", f"/stats?backup={one}", "/destinations/1", "/users/root"),
    ]


def test_every_page_stays_small_and_asks_little(full: Shelf) -> None:
    site = Site(full.installation)
    root: Browser = person(site, "root", "super_admin")
    with full.installation.database.reading() as session:
        point = session.scalars(select(Backup.public_id).order_by(Backup.id.desc())).first()
        run = session.scalars(select(Run.public_id).where(Run.state == "failed")).first()
    assert point
    assert run
    asked: list[str] = []

    def note(*arguments: object) -> None:
        asked.append(str(arguments[2]))

    event.listen(full.installation.database.engine, "before_cursor_execute", note)
    found = {}
    for path in pages(site, point, run):
        asked.clear()
        answer = root.get(path)
        assert answer.status_code == 200, path
        selects = [each for each in asked if each.startswith(("SELECT", "WITH"))]
        assert selects or path != "/", "no query is seen"
        if len(answer.data) >= SMALL or len(selects) > 12 or at_odds(answer.text):
            found[path] = (len(answer.data), len(selects), at_odds(answer.text))
    event.remove(full.installation.database.engine, "before_cursor_execute", note)
    assert found == {}
    assert f"{CONFIGURATIONS} of {CONFIGURATIONS}" in root.get("/").text
