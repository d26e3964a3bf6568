"""What is around every page: the menu of a role, banners, what the last page did, error pages, the script's rules."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import redirect
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from sqlalchemy import text

from tests.webapp.reading import at_odds
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from tests.webapp.support import Hands
from webapp.errors import Conflict, TooMany
from webapp.installation import open_installation
from webapp.security import PUBLIC, needs
from webapp.services import runs, schedules, sessions
from webapp.services.runs import NewRun
from webapp.settings import read_settings
from webapp.views import frame

STATIC = Path(__file__).parents[2] / "static"
TEMPLATES = Path(__file__).parents[2] / "templates"


@pytest.fixture
def developing(tmp_path: Path, hands: Hands) -> Iterator[Site]:
    settings = read_settings({"HOLDFAST_HOME": str(tmp_path / "developing"), "HOLDFAST_DEVELOPMENT": "yes"})
    opened = open_installation(settings, clock=hands)
    yield Site(opened)
    opened.close()


def menu(browser: Browser, path: str = "/") -> list[str]:
    """The lines of the menu."""
    nav = re.search(r"<nav aria-label=\"Main\">(.*?)</nav>", browser.get(path).text, re.DOTALL)
    assert nav
    return [html.unescape(each) for each in re.findall(r"</svg>([^<]+)</a>", nav[1])]


def here(browser: Browser, path: str) -> list[str]:
    return re.findall(r'<li><a href="([^"]+)" aria-current="page"', browser.get(path).text)


def test_each_role_has_its_menu(site: Site) -> None:
    shown = {role: menu(person(site, role.replace("_", "-"), role)) for role in ("manager", "admin", "super_admin")}
    assert set(shown["manager"]) < set(shown["super_admin"])
    assert set(shown["manager"]) <= set(shown["admin"]) <= set(shown["super_admin"])
    assert {"Overview", "Runs", "Backups", "Restore points", "Your account", "API"} <= set(shown["manager"])
    assert not {"Users", "Settings"} & set(shown["manager"])


def test_the_menu_marks_where_one_is(shelf: Shelf, site: Site) -> None:
    shelf.configure()
    admin = person(site)
    for path, marked in (("/", "/"), ("/runs", "/runs"), ("/backups/shop", "/backups"), ("/account", "/account")):
        assert here(admin, path) == [marked], path


def test_a_missing_page_still_has_the_menu(site: Site) -> None:
    assert "Runs" in menu(person(site), "/nothing-here")


def test_a_run_that_no_worker_takes_is_told_on_every_page(shelf: Shelf, site: Site) -> None:
    shelf.configure()
    admin = person(site)
    runs.put(shelf.installation, NewRun("create", "system", config_id="shop", queue="backup"))
    assert "waited for a worker" not in admin.get("/account").text
    shelf.hands.now += timedelta(minutes=3)
    for path in ("/", "/runs", "/account"):
        assert "A run has waited for a worker since 2026-11-23 02:00 UTC." in admin.get(path).text, path


def test_what_was_done_can_be_undone_from_the_next_page(shelf: Shelf, site: Site) -> None:
    shelf.configure(schedule="0 * * * *")
    schedules.refresh(shelf.installation)

    @needs("account.own")
    def act() -> object:
        frame.undo("shop <runs> again.", "/backups/shop/pause")
        return redirect("/account")

    site.app.add_url_rule("/act", "act", act)
    admin = person(site)
    admin.get("/act")
    page = admin.get("/account").text
    assert "shop &lt;runs&gt; again." in page
    assert re.search(r'formaction="/backups/shop/pause"[^>]*>Undo</button>', page)
    assert "again." not in admin.get("/account").text  # told once


def test_an_error_of_ours_leaves_what_can_be_undone_to_the_next_page(site: Site) -> None:
    @needs("account.own")
    def act() -> object:
        frame.undo("shop runs again.", "/backups/shop/pause")
        raise RuntimeError("CANARY")

    site.app.add_url_rule("/act", "act", act)
    admin = person(site)
    broken = admin.get("/act")
    assert (broken.status_code, "again." in broken.text, at_odds(broken.text)) == (500, False, [])
    assert "shop runs again." in admin.get("/account").text


def test_nobody_is_offered_to_undo_without_the_form_for_it(site: Site) -> None:
    @needs(PUBLIC)
    def act() -> object:
        frame.undo("shop runs again.", "/backups/shop/pause")
        return redirect("/sign-in")

    site.app.add_url_rule("/act", "act", act)
    page = site.browser().get("/act", follow_redirects=True).text
    assert ("shop runs again." in page, "Undo" in page, at_odds(page)) == (True, False, [])


def test_a_page_may_stay_open_as_long_as_its_session(site: Site) -> None:
    admin = person(site)
    assert admin.get("/account").status_code == 200
    with admin.client.session_transaction() as kept:
        secret = kept["csrf_token"]
    for age, status in ((sessions.LONGEST + timedelta(hours=1), 400), (sessions.LONGEST - timedelta(hours=1), 302)):

        class Earlier(TimestampSigner):
            behind = int(age.total_seconds())

            def get_timestamp(self) -> int:
                return super().get_timestamp() - self.behind

        signer = URLSafeTimedSerializer(str(site.app.secret_key), salt="wtf-csrf-token", signer=Earlier)
        answer = admin.client.post("/sign-out", data={"csrf_token": signer.dumps(secret)})
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "method", "status", "said"),
    [
        ("/nothing-here", "GET", 404, "There is nothing at this address."),
        ("/runs", "DELETE", 405, "does not take requests of this kind"),
        ("/runs/run_nothing", "GET", 404, "There is no run run_nothing."),
        ("/sign-out", "POST", 400, "too old"),
    ],
)
def test_an_error_says_what_and_what_next(site: Site, path: str, method: str, status: int, said: str) -> None:
    answer = person(site).client.open(path, method=method)
    assert answer.status_code == status
    assert said in html.unescape(answer.text)
    assert "To the overview" in answer.text
    assert f"Status {status}" in answer.text


def test_errors_of_services_are_pages(site: Site) -> None:
    @needs(PUBLIC)
    def broken(kind: str) -> str:
        raise {
            "conflict": Conflict("It is in use.", hint="Stop it first."),
            "many": TooMany("Too many.", retry_after=30),
            "unforeseen": RuntimeError("CANARY"),
        }[kind]

    site.app.add_url_rule("/broken/<kind>", "broken", broken)
    client = person(site).client
    conflict, many, unforeseen = (client.get(f"/broken/{kind}") for kind in ("conflict", "many", "unforeseen"))
    assert (conflict.status_code, many.status_code, unforeseen.status_code) == (409, 429, 500)
    assert "It is in use." in conflict.text
    assert "Stop it first." in conflict.text
    assert many.headers["Retry-After"] == "30"
    assert re.search(r"<code>er_\w+</code><button[^>]+data-copy", unforeseen.text)
    assert "CANARY" not in unforeseen.text


def test_a_database_that_is_gone_is_told_on_a_page(shelf: Shelf, site: Site) -> None:
    admin = person(site)
    with shelf.installation.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE web_sessions RENAME TO gone"))
    answer = admin.get("/")
    assert answer.status_code in (500, 503)
    assert "<h1>" in answer.text


def test_too_large_a_form_is_told(site: Site) -> None:
    answer = person(site).client.post("/account/password", data={"present": "x" * 3_000_000})
    assert answer.status_code == 413
    assert "too large" in answer.text


def test_the_styleguide_is_for_development(site: Site, developing: Site) -> None:
    assert person(site).get("/styleguide").status_code == 404
    page = person(developing).get("/styleguide").text
    for theme in ("light", "dark"):
        assert f'data-theme="{theme}"' in page
    for word in ("Protected", "At risk", "Not protected", "Running", "Interrupted", "Damaged", "In the trash"):
        assert page.count(f"</svg>{word}</span>") >= 2, word
    assert page.count('role="alert"') == 1
    assert page.count('aria-invalid="true"') == 1


def test_each_status_has_an_icon_that_is_drawn() -> None:
    drawn = set(re.findall(r'symbol id="([a-z0-9]+)"', (STATIC / "icons.svg").read_text()))
    used = {
        name
        for file in TEMPLATES.rglob("*.html")
        for name in re.findall(r'icon\("([a-z0-9]+)"', file.read_text(encoding="utf-8"))
    }
    used |= {item.icon for _, items in frame.MENU for item in items} | {"ok", "warn", "err", "idle", "run"}
    assert used - drawn == set()


def test_no_words_in_the_script_and_no_styles_in_pages() -> None:
    """What a translator has to find stands in templates; the policy forbids styles and scripts in pages."""
    script = re.sub(r"//.*", "", (STATIC / "app.js").read_text(encoding="utf-8"))
    assert re.findall(r"\"[A-Z][a-z]+ [a-z]+[^\"]*\"|>[A-Z][a-z]+<", script) == []
    for file in TEMPLATES.rglob("*.html"):
        source = file.read_text(encoding="utf-8")
        source = re.sub(r"{[{%].*?[%}]}", "", source, flags=re.DOTALL)  # what the template computes is no markup
        assert not re.search(r"\sstyle=|\son[a-z]+=\"|<style|<script(?! src)", source), file
        assert "confirm(" not in source, file


def test_what_every_page_loads_is_small() -> None:
    limits = {"app.css": 30_000, "app.js": 10_000, "icons.svg": 8_000, "inter.woff2": 50_000}
    assert [name for name, limit in limits.items() if (STATIC / name).stat().st_size > limit] == []
