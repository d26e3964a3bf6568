"""People come in with name, password and perhaps a code, within limits, and one super_admin always stays."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import argon2
import pyotp
import pytest

from tests.webapp.site import PASSWORD, Site, person
from tests.webapp.support import Hands
from webapp.errors import Conflict, Faulty, Invalid, NotFound, NotSignedIn, TooMany
from webapp.installation import Installation
from webapp.services import accounts, audit, passwords, second_factor, sessions
from webapp.services.access import SYSTEM, Actor
from webapp.services.sessions import Browser

HERE = Browser("192.0.2.7", "a browser")


def test_the_first_super_admin_is_made_once_and_must_change_the_password(site: Site) -> None:
    first = accounts.first_administrator(site.installation)
    assert first is not None
    assert (first.user.name, first.user.role) == ("admin", "super_admin")
    assert accounts.first_administrator(site.installation) is None
    browser = site.browser()
    assert browser.sign_in("admin", first.password).location == "/"
    assert browser.get("/").location == "/account/password"
    assert browser.get("/account").location == "/account/password"
    changed = browser.submit("/account/password", present=first.password, new=PASSWORD, again=PASSWORD)
    assert changed.location == "/"
    assert browser.get("/").status_code == 200
    assert site.browser().sign_in("admin", first.password).status_code == 401


def test_a_wrong_name_and_a_wrong_password_are_told_alike(site: Site) -> None:
    person(site)
    known = site.browser().sign_in("maria", "wrong")
    unknown = site.browser().sign_in("nobody-here", "wrong")
    assert known.status_code == unknown.status_code == 401
    assert "Name or password is wrong." in known.text
    assert known.text.count("wrong") == unknown.text.count("wrong")


def test_guessing_is_limited_for_names_that_exist_and_names_that_do_not(
    installation: Installation, hands: Hands
) -> None:
    password = accounts.add(installation, SYSTEM, "maria", "admin").password
    for name in ("maria", "nobody"):
        for _ in range(5):
            with pytest.raises(NotSignedIn):
                sessions.check_password(installation, name, "wrong", HERE)
        with pytest.raises(TooMany) as caught:
            sessions.check_password(installation, name, password, HERE)
        assert caught.value.retry_after == 900
    hands.now += timedelta(minutes=15, seconds=1)
    assert sessions.check_password(installation, "maria", password, HERE).name == "maria"


def test_sessions_end_by_sign_out_password_change_idleness_and_by_hand(site: Site, hands: Hands) -> None:
    browser, other = person(site), site.browser()
    other.sign_in("maria", PASSWORD)
    user = accounts.find(site.installation, "maria")
    here, there = sessions.listing(site.installation, user.id)
    assert here.id > there.id
    browser.submit(f"/account/sessions/{here.public_id}/end", form="/account")
    assert other.get("/").location == "/sign-in"
    browser.submit("/sign-out", form="/")
    assert browser.get("/").location == "/sign-in"
    browser.sign_in("maria", PASSWORD)
    hands.now += sessions.IDLE + timedelta(seconds=1)
    assert browser.get("/").location == "/sign-in"


def test_a_password_change_ends_all_other_sessions_and_the_cookie_changes(site: Site) -> None:
    browser, other = person(site), site.browser()
    other.sign_in("maria", PASSWORD)
    before = browser.client.get_cookie("holdfast")
    browser.submit("/account/password", present=PASSWORD, new="another horse battery", again="another horse battery")
    after = browser.client.get_cookie("holdfast")
    assert before is not None
    assert after is not None
    assert before.value != after.value
    assert (browser.get("/").status_code, other.get("/").location) == (200, "/sign-in")


def test_the_last_super_admin_stays(installation: Installation) -> None:
    accounts.add(installation, SYSTEM, "one", "super_admin")
    accounts.add(installation, SYSTEM, "two", "super_admin")
    accounts.disable(installation, SYSTEM, "one")
    with pytest.raises(Conflict, match="last super_admin"):
        accounts.disable(installation, SYSTEM, "two")
    with pytest.raises(Conflict, match="last super_admin"):
        accounts.set_role(installation, SYSTEM, "two", "admin")
    accounts.enable(installation, SYSTEM, "one")
    assert accounts.set_role(installation, SYSTEM, "two", "admin").role == "admin"


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "x" * 65, "x/y", "ü", "x\ny"])
def test_hostile_names_are_refused(installation: Installation, name: str) -> None:
    with pytest.raises(Faulty):
        accounts.add(installation, SYSTEM, name, "admin")


def test_names_are_taken_once_and_roles_are_known(installation: Installation) -> None:
    accounts.add(installation, SYSTEM, "Maria", "manager")
    with pytest.raises(Conflict):
        accounts.add(installation, SYSTEM, "maria", "admin")
    with pytest.raises(Invalid, match="no role"):
        accounts.set_role(installation, SYSTEM, "maria", "root")
    with pytest.raises(NotFound, match="There is no account marai"):
        accounts.find(installation, "marai")


@pytest.mark.parametrize("weak", ["short", "aaaaaaaaaaaaaaa", "maria-is-my-name", "x" * 257])
def test_weak_passwords_are_refused(weak: str) -> None:
    with pytest.raises(passwords.PasswordRefused):
        passwords.check(weak, name="maria")


def test_a_stored_password_costs_as_much_as_owasp_asks_for() -> None:
    """In a process of its own: here `quick_hashes` is at work. OWASP: argon2id with at least 19 MiB and two passes."""
    code = f"from webapp.services import passwords; print(passwords.hashed({PASSWORD!r}), passwords._NOBODY)"
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    costs = [argon2.extract_parameters(each) for each in made.stdout.split()]
    assert costs[0] == costs[1]
    assert costs[0].type is argon2.Type.ID
    assert costs[0].memory_cost >= 19 * 1024
    assert costs[0].time_cost >= 2


def test_a_second_factor_is_asked_for_and_each_code_counts_once(installation: Installation, hands: Hands) -> None:
    user = accounts.add(installation, SYSTEM, "maria", "admin").user
    actor = Actor("user:maria", "admin", user_id=user.id)
    enrolment = second_factor.begin(installation, actor)
    totp = pyotp.TOTP(enrolment.secret)
    with pytest.raises(Faulty):
        second_factor.confirm(installation, actor, "000000" if totp.at(hands.now) != "000000" else "000001")
    codes = second_factor.confirm(installation, actor, totp.at(hands.now))
    user = accounts.find(installation, "maria")
    assert enrolment.secret.encode() not in (user.totp_sealed or b"")
    with pytest.raises(NotSignedIn):  # the code that confirmed was used by that
        sessions.open_session(installation, user, HERE, code=totp.at(hands.now))
    hands.now += timedelta(seconds=30)
    assert sessions.open_session(installation, user, HERE, code=totp.at(hands.now)).session.user_id == user.id
    assert sessions.open_session(installation, user, HERE, code=codes[0]).session.user_id == user.id
    with pytest.raises(NotSignedIn):
        sessions.open_session(installation, user, HERE, code=codes[0])


def test_codes_cannot_be_guessed(installation: Installation, hands: Hands) -> None:
    user = accounts.add(installation, SYSTEM, "maria", "admin").user
    actor = Actor("user:maria", "admin", user_id=user.id)
    totp = pyotp.TOTP(second_factor.begin(installation, actor).secret)
    second_factor.confirm(installation, actor, totp.at(hands.now))
    user = accounts.find(installation, "maria")
    hands.now += timedelta(minutes=1)
    for _ in range(5):
        with pytest.raises(NotSignedIn):
            sessions.open_session(installation, user, HERE, code="not-a-code-at-all")
    with pytest.raises(TooMany):
        sessions.open_session(installation, user, HERE, code=totp.at(hands.now))


def test_every_step_is_in_the_audit_log(site: Site) -> None:
    person(site)
    site.browser().sign_in("maria", "wrong")
    actions = {entry.action for entry in audit.listing(site.installation, SYSTEM)}
    assert actions >= {"user.added", "session.opened", "user.password_changed", "session.refused"}
    assert audit.verify(site.installation).flaws == ()
