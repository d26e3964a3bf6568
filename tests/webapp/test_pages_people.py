"""Accounts, tokens and signing in on the pages: for each role, with wrong and with hostile input."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest

from tests.webapp.reading import said, words
from tests.webapp.site import PASSWORD, Browser, Site, person
from tests.webapp.support import Hands
from webapp.roles import ROLES
from webapp.services import accounts, tokens
from webapp.services.access import SYSTEM
from webapp.services.permissions import PERMISSIONS
from webapp.services.tokens import Wish
from webapp.views.people import MATRIX, browser

PASSWORDS = re.compile(r"\b(?:[a-z2-7]{6}-){3}[a-z2-7]{6}\b")


@pytest.fixture
def root(site: Site) -> Browser:
    return person(site, "rita", "super_admin")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_its_pages(site: Site, role: str) -> None:
    someone = person(site, "someone", role)
    menu = someone.get("/account").text
    for path, needed in (
        ("/users", "super_admin"),
        ("/settings", "super_admin"),
        ("/health", "admin"),
        ("/notifications", "admin"),
        ("/destinations", "manager"),
        ("/audit", "manager"),
        ("/tokens", "manager"),
        ("/account", "manager"),
    ):
        may = ROLES.index(role) >= ROLES.index(needed)
        answer = someone.get(path)
        assert answer.status_code == (200 if may else 403), path
        assert (f'href="{path}"' in menu) == may, path
        assert may or f"The role {needed} is needed" in answer.text


def test_the_matrix_tells_what_the_permissions_are() -> None:
    assert {permission for _, permission in MATRIX} <= set(PERMISSIONS)


def test_an_account_is_made_and_its_password_shown_once(site: Site, root: Browser) -> None:
    made = root.submit("/users", name="Mona", role="manager")
    found = PASSWORDS.search(made.text)
    assert made.status_code == 200
    assert found
    assert site.browser().sign_in("mona", found[0]).status_code == 302
    assert found[0] not in root.get("/users/mona").text
    assert "mona" in words(root, "/users")


def test_what_is_no_name_is_told_and_kept(site: Site, root: Browser) -> None:
    for name in ("", "rita", "<script>", "a b", "x" * 65, "../etc"):
        refused = root.submit("/users", name=name, role="admin")
        assert refused.status_code in (409, 422), name
        assert 'role="alert"' in refused.text, name
        assert html.escape(name) in refused.text
        assert "<script>" not in refused.text
    assert len(accounts.listing(site.installation)) == 1


def test_the_last_super_admin_stays(site: Site, root: Browser) -> None:
    refused = root.submit("/users/rita/role", form="/users/rita", role="manager")
    assert refused.status_code == 409
    assert "rita is the last super_admin, who cannot be removed." in said(refused)
    root.submit("/users/rita/disable", form="/users/rita")
    assert "rita is the last super_admin" in words(root, "/users/rita")
    assert accounts.find(site.installation, "rita").is_enabled


def test_a_role_is_changed_and_changed_back(site: Site, root: Browser) -> None:
    accounts.add(site.installation, SYSTEM, "mona", "manager")
    root.submit("/users/mona/role", form="/users/mona", role="admin")
    assert accounts.find(site.installation, "mona").role == "admin"
    page = root.get("/users/mona").text
    assert "mona is admin now; it was manager." in html.unescape(page)
    assert 'action="/users/mona/role/manager"' in page
    root.submit("/users/mona/role/manager", form="/users/mona")
    assert accounts.find(site.installation, "mona").role == "manager"
    assert root.submit("/users/mona/role", form="/users/mona", role="god").status_code == 422


def test_who_is_disabled_is_out_until_enabled(site: Site, root: Browser) -> None:
    mona = person(site, "mona", "manager")
    root.submit("/users/mona/disable", form="/users/mona")
    assert mona.get("/").status_code == 302
    assert 'action="/users/mona/enable"' in root.get("/users/mona").text
    root.submit("/users/mona/enable", form="/users/mona")
    assert site.browser().sign_in("mona", PASSWORD).location == "/"


def test_a_password_is_reset_only_when_the_name_was_typed(site: Site, root: Browser) -> None:
    mona = person(site, "mona", "manager")
    refused = root.submit("/users/mona/reset", form="/users/mona", typed="rita")
    assert refused.status_code == 422
    assert "Type mona, the name of the account." in said(refused)
    assert mona.get("/").status_code == 200
    done = root.submit("/users/mona/reset", form="/users/mona", typed=" Mona ")
    found = PASSWORDS.search(done.text)
    assert found
    assert mona.get("/").status_code == 302
    assert site.browser().sign_in("mona", PASSWORD).status_code == 401
    assert site.browser().sign_in("mona", found[0]).location == "/"


def test_sessions_of_others_are_ended(site: Site, root: Browser) -> None:
    mona = person(site, "mona", "manager")
    assert "Sign mona out everywhere" in words(root, "/users/mona")
    root.submit("/users/mona/sessions/end", form="/users/mona")
    assert mona.get("/").status_code == 302
    assert "1 session of mona ended." in words(root, "/users/mona")


def test_what_a_browser_calls_itself_can_be_read_without_a_pointer(site: Site, root: Browser) -> None:
    browser = root.get("/account", headers={"User-Agent": "Other/1.0"})
    assert "Werkzeug/" in said(browser)  # that of its signing in
    assert 'title="Werkzeug' not in browser.text
    assert "Werkzeug/" in words(root, "/users/rita")


def test_nobody_but_a_super_admin_changes_accounts(site: Site) -> None:
    accounts.add(site.installation, SYSTEM, "mona", "manager")
    admin = person(site, "ada", "admin")
    for path in ("role", "role/super_admin", "disable", "enable", "reset", "sessions/end"):
        refused = admin.submit(f"/users/mona/{path}", form="/account", role="super_admin", typed="mona")
        assert refused.status_code == 403, path
    assert admin.submit("/users", form="/account", name="eve", role="super_admin").status_code == 403
    assert {user.name for user in accounts.listing(site.installation)} == {"mona", "ada"}


def test_a_token_is_made_shown_once_and_revoked(site: Site) -> None:
    ada = person(site, "ada", "admin")
    made = ada.submit("/tokens/new", name="nightly", scope="read", last_day="2027-01-31", networks="10.0.0.0/8, ::1")
    secret = re.search(r"hf_[a-z2-7]{48}", made.text)
    assert secret
    assert site.api("GET", "me", token=secret[0]).status_code == 401, "127.0.0.1 is not one of its networks"
    listed = ada.get("/tokens").text
    assert secret[0] not in listed
    assert secret[0][:11] in listed
    (token,) = tokens.listing(site.installation)
    assert token.networks == ["10.0.0.0/8", "::1/128"]
    assert token.expires_at is not None
    assert token.expires_at.date().isoformat() == "2027-01-31"
    ada.submit(f"/tokens/{token.public_id}/revoke", form="/tokens")
    assert tokens.listing(site.installation) == []


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "", "Please fill this in."),
        ("scope", "super_admin", "Not a valid choice"),
        ("last_day", "2020-01-01", "It lies in the past."),
        ("last_day", "9999-12-31", "Must lie between 1970 and 9000."),
        ("last_day", "tomorrow", "Not a valid date"),
        ("networks", "my office", "It is not a network such as 10.0.0.0/8."),
    ],
)
def test_a_wish_that_cannot_be_is_told_at_its_field(site: Site, field: str, value: str, sentence: str) -> None:
    ada = person(site, "ada", "admin")
    wish = {"name": "nightly", "scope": "run", "last_day": "", "networks": "", field: value}
    refused = ada.submit("/tokens/new", **wish)
    assert refused.status_code == 422
    assert sentence in said(refused)
    assert f'href="#{field}"' in refused.text
    assert tokens.listing(site.installation) == []


def test_tokens_of_others_are_for_super_admins(site: Site, root: Browser) -> None:
    mona = person(site, "mona", "manager")
    rita = accounts.find(site.installation, "rita")
    token = tokens.create(site.installation, SYSTEM, rita, Wish("of-rita", "read")).token
    assert "of-rita" not in mona.get("/tokens?whose=all").text
    assert mona.submit(f"/tokens/{token.public_id}/revoke", form="/tokens").status_code == 404
    assert "of-rita" in root.get("/tokens?whose=all").text
    assert mona.get("/tokens/new").text.count("<option") == 1, "a manager's token does no more than read"


def test_a_lock_out_says_when_it_ends_for_names_that_are_not_there_too(site: Site, hands: Hands) -> None:
    person(site, "ada", "admin")
    for name in ("ada", "nobody"):
        for _ in range(5):
            site.browser().sign_in(name, "wrong password")
        refused = site.browser().sign_in(name, PASSWORD)
        assert refused.status_code == 429
        assert "There were too many wrong tries. Try again at 02:15:00 UTC." in said(refused)
        assert refused.headers["Retry-After"] == "900"
    hands.now += timedelta(minutes=16)
    assert site.browser().sign_in("ada", PASSWORD).status_code == 302


def test_forms_tell_password_managers_what_they_ask_for(site: Site) -> None:
    fresh = site.browser().get("/sign-in").text
    assert 'autocomplete="username"' in fresh
    assert 'autocomplete="current-password"' in fresh
    assert "Nobody has signed in yet." in fresh
    ada = person(site, "ada", "admin")
    assert "Nobody has signed in yet." not in site.browser().get("/sign-in").text
    assert ada.get("/account/password").text.count('autocomplete="new-password"') == 2
    assert 'autocomplete="one-time-code"' in ada.get("/account/second-factor").text


def test_signing_out_everywhere_else_leaves_this_one(site: Site) -> None:
    here = person(site, "ada", "admin")
    there = site.browser()
    there.sign_in("ada", PASSWORD)
    here.submit("/account/sessions/end-others", form="/account")
    assert there.get("/").status_code == 302
    assert "1 other session ended." in words(here, "/account")


def test_guessing_at_the_own_password_has_an_end(site: Site) -> None:
    ada = person(site, "ada", "admin")
    for _ in range(5):
        assert ada.submit("/account/password", present="guess", new="x" * 3, again="x" * 3).status_code == 422
    refused = ada.submit("/account/password", present=PASSWORD, new="quite another one", again="quite another one")
    assert refused.status_code == 429
    assert "Try again at 02:15:00 UTC." in said(refused)


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("Werkzeug/3.1.3", "Another program"),
        ("", "Another program"),
    ],
)
def test_browsers_are_named(agent: str, shown: str) -> None:
    assert browser(agent) == shown
