"""Lists and figures of the API ask the database a few questions, however much there is: at most twelve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from tests.webapp.shelf import Shelf
from tests.webapp.site import Site
from webapp.services import schedules

MOST = 12
AUTHENTICATION = 2  # the limits of guessing, and the token with its person
PATHS = [
    "configs",
    "history",
    "history/shop",
    "history?status=succeeded&kind=create&since=30d",
    "backups",
    "backups?configId=shop",
    "stats",
    "stats?configId=shop",
    "destinations",
    "notifications",
    "audit",
    "users",
    "tokens",
    "sessions",
]


@contextmanager
def counted(site: Site) -> Iterator[list[str]]:
    """The statements that are sent to the database in the block."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    engine = site.installation.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def asked(site: Site, path: str) -> int:
    with counted(site) as sent:
        answer = site.api("GET", path)
    assert answer.status_code == 200, answer.text
    return sum(statement.startswith("SELECT") for statement in sent)


def test_lists_and_figures_ask_at_most_twelve_questions_however_much_there_is(shelf: Shelf, site: Site) -> None:
    shelf.configure(schedule="0 2 * * *")
    shelf.backup()
    schedules.refresh(site.installation)
    asked(site, "me")  # the first use of a token is noted
    assert asked(site, "me") == AUTHENTICATION
    few = {path: asked(site, path) for path in PATHS}
    for number in range(8):
        name = f"more-{number}"
        shelf.configure(name, schedule="0 3 * * *", places=(f"place-{number}",))
        shelf.backup(config_id=name)
        shelf.backup(config_id="shop")
        site.token("admin", ("read", "run", "admin", "super_admin")[number % 4])
    schedules.refresh(site.installation)
    many = {path: asked(site, path) for path in PATHS}
    assert {path: count for path, count in many.items() if count - AUTHENTICATION > MOST} == {}
    assert {path: (few[path], many[path]) for path in PATHS if many[path] > few[path]} == {}
