"""What every request passes and every answer carries: hosts, networks, proxies, headers, form tokens, errors."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.webapp.site import PASSWORD, Site, person
from tests.webapp.support import Hands, document
from webapp import embedded_redis
from webapp.errors import NotSignedIn, TooMany
from webapp.installation import Installation, open_installation
from webapp.models import ApiToken, User, WebSession
from webapp.security import client_address
from webapp.services import accounts, configurations, sessions, tokens
from webapp.services.access import SYSTEM, is_within
from webapp.services.tokens import Wish
from webapp.settings import read_settings


def guarded(tmp_path: Path, hands: Hands, **environment: str) -> Site:
    settings = read_settings({"HOLDFAST_HOME": str(tmp_path / "guarded"), **environment})
    return Site(open_installation(settings, clock=hands))


@pytest.mark.parametrize("path", ["/sign-in", "/nope", "/api/nope", "/api/backup/configs", "/api/docs", "/healthz"])
def test_every_answer_carries_the_headers(site: Site, path: str) -> None:
    headers = site.app.test_client().get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("backup.example.com", 200),
        ("evil.example.com", 400),
        ("backup.example.com.evil.org", 400),
        ("127.0.0.1.evil.org", 400),
    ],
)
def test_only_our_own_names_are_answered(tmp_path: Path, hands: Hands, host: str, status: int) -> None:
    site = guarded(tmp_path, hands, HOLDFAST_URL="https://backup.example.com")
    assert site.app.test_client().get("/sign-in", headers={"Host": host}).status_code == status
    site.installation.close()


def test_other_networks_are_refused_on_pages_and_api(tmp_path: Path, hands: Hands) -> None:
    site = guarded(tmp_path, hands, HOLDFAST_ALLOWED_NETWORKS="10.0.0.0/8")
    client = site.app.test_client()
    for path in ("/sign-in", "/api/openapi.json", "/api/backup/configs", "/"):
        for address, refused in (("10.1.2.3", False), ("::ffff:10.1.2.3", False), ("192.0.2.1", True)):
            status = client.get(path, environ_base={"REMOTE_ADDR": address}).status_code
            assert (status == 403) == refused, (path, address, status)
    assert client.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200
    site.installation.close()


@pytest.mark.parametrize(
    ("remote", "said", "found"),
    [
        ("192.0.2.1", "10.0.0.1", "192.0.2.1"),
        ("172.16.0.1", "10.0.0.1", "10.0.0.1"),
        ("172.16.0.1", "6.6.6.6, 10.0.0.1, 172.16.0.9", "10.0.0.1"),
        ("172.16.0.1", "nonsense", None),
        ("172.16.0.1", "", "172.16.0.1"),
    ],
)
def test_only_trusted_proxies_are_believed(
    tmp_path: Path, hands: Hands, remote: str, said: str, found: str | None
) -> None:
    site = guarded(tmp_path, hands, HOLDFAST_TRUSTED_PROXIES="172.16.0.0/12")
    with site.app.test_request_context("/", environ_base={"REMOTE_ADDR": remote}, headers={"X-Forwarded-For": said}):
        assert client_address() == found
    site.installation.close()


def test_no_form_is_taken_without_its_token(site: Site) -> None:
    browser = person(site)
    for path in ("/sign-out", "/account/password", "/sign-in"):
        assert browser.client.post(path, data={"name": "maria", "password": PASSWORD}).status_code == 400
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize("way", ["//evil.org", "https://evil.org", "/\\evil.org", "\\\\evil.org", "/\n/evil.org", "x"])
def test_the_way_back_never_leads_elsewhere(site: Site, way: str) -> None:
    person(site)
    browser = site.browser()
    assert browser.submit("/sign-in", name="maria", password=PASSWORD, next=way).location == "/"
    assert site.browser().submit("/sign-in", name="maria", password=PASSWORD, next="/account").location == "/account"


def test_an_error_that_nobody_foresaw_tells_a_number_and_nothing_else(site: Site) -> None:
    from webapp.security import PUBLIC, needs

    @needs(PUBLIC)
    def broken() -> str:
        raise RuntimeError("CANARY")

    site.app.add_url_rule("/api/broken", "broken", broken)
    answer = site.app.test_client().get("/api/broken")
    assert (answer.status_code, "CANARY" in answer.text) == (500, False)
    assert answer.json["errorId"].startswith("er_")


def test_no_secret_is_kept_in_the_clear(site: Site) -> None:
    secret = site.token()
    opened = sessions.open_trusted(
        site.installation, accounts.add(site.installation, SYSTEM, "x1", "admin").user, sessions.Browser("192.0.2.1")
    )
    with site.installation.database.reading() as session:
        kept = [str(vars(row)) for kind in (ApiToken, User, WebSession) for row in session.query(kind)]
    assert [row for row in kept if secret in row or secret[15:] in row or opened.secret in row] == []


def test_a_token_ends_by_time_network_revocation_and_with_its_account(installation: Installation, hands: Hands) -> None:
    user = accounts.add(installation, SYSTEM, "maria", "admin").user
    wish = Wish("ci", "run", hands.now + timedelta(days=1), ("10.0.0.0/8",))
    made = tokens.create(installation, SYSTEM, user, wish)
    actor = tokens.authenticate(installation, made.secret, "10.0.0.9")
    assert (actor.role, actor.scope, made.token.prefix) == ("admin", "run", made.secret[:11])
    with pytest.raises(NotSignedIn):
        tokens.authenticate(installation, made.secret, "192.0.2.9")
    accounts.disable(installation, SYSTEM, "maria")
    with pytest.raises(NotSignedIn):
        tokens.authenticate(installation, made.secret, "10.0.0.9")
    accounts.enable(installation, SYSTEM, "maria")
    tokens.authenticate(installation, made.secret, "10.0.0.9")
    hands.now += timedelta(days=1)
    with pytest.raises(NotSignedIn):
        tokens.authenticate(installation, made.secret, "10.0.0.9")
    other = tokens.create(installation, SYSTEM, user, Wish("other", "read"))
    tokens.revoke(installation, SYSTEM, other.token.public_id)
    with pytest.raises(NotSignedIn):
        tokens.authenticate(installation, other.secret, "10.0.0.8")


def test_guessing_tokens_is_limited(installation: Installation) -> None:
    for _ in range(30):
        with pytest.raises(NotSignedIn):
            tokens.authenticate(installation, "hf_guess", "192.0.2.66")
    with pytest.raises(TooMany):
        tokens.authenticate(installation, "hf_guess", "192.0.2.66")


def test_a_token_makes_none_that_reaches_further(site: Site) -> None:
    small = site.token("admin", "read")
    assert site.api("POST", "tokens", token=small, json={"name": "x", "scope": "run"}).status_code == 403
    made = site.api("POST", "tokens", token=small, json={"name": "x", "scope": "read"})
    assert made.status_code == 201
    assert site.api("GET", "me", token=made.json["secret"]).json["scope"] == "read"
    foreign = site.api("GET", "tokens", token=small).json["items"]
    assert {each["user"] for each in foreign} == {"of-admin-read"}


def test_networks_are_compared_as_addresses() -> None:
    assert is_within("::ffff:10.0.0.1", ["10.0.0.0/8"])
    assert not is_within("10.0.0.1.evil.org", ["10.0.0.0/8"])
    assert not is_within(None, ["0.0.0.0/0"])


def test_denials_and_the_use_of_tokens_are_noted(site: Site) -> None:
    from webapp.services import audit

    def noted(action: str) -> list[tuple[str, str, str | None]]:
        found = audit.listing(site.installation, SYSTEM, action=action)
        return [(entry.outcome, entry.object, entry.address) for entry in found]

    secret = site.token("admin", "admin")
    assert site.api("GET", "users", token=secret).status_code == 403
    assert site.api("POST", "retention/apply", token=secret, json={"now": True}).status_code == 403
    assert site.api("GET", "me", token="hf_wrong").status_code == 401
    here = "127.0.0.1"
    assert noted("access.denied") == [
        ("denied", "POST /api/backup/retention/apply", here),
        ("denied", "GET /api/backup/users", here),
    ]
    assert noted("token.refused") == [("denied", "unknown", here)]
    assert len(noted("token.used")) == 1


def test_readiness_tells_of_database_and_redis(site: Site) -> None:
    client = site.app.test_client()
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json) == (200, {"status": "degraded", "database": "ok", "redis": "unavailable"})
    server = embedded_redis.start(site.installation.settings)
    try:
        assert client.get("/readyz").json == {"status": "ok", "database": "ok", "redis": "ok"}
    finally:
        server.kill()
        server.wait()


def test_a_limited_token_makes_none_that_outlives_it(site: Site) -> None:
    made = accounts.add(site.installation, SYSTEM, "nora", "admin").user
    soon = site.installation.clock() + timedelta(hours=1)
    for wish in (Wish("ends", "admin", expires_at=soon), Wish("near", "admin", networks=("127.0.0.0/8",))):
        secret = tokens.create(site.installation, SYSTEM, made, wish).secret
        answer = site.api("POST", "tokens", token=secret, json={"name": "more", "scope": "read"})
        assert answer.status_code == 403
        assert "outlive" in answer.text


def test_managers_do_not_learn_where_destinations_are(site: Site) -> None:
    configurations.store(
        site.installation, document(destinations=[{"type": "local", "config": {"path": "/mnt/vault"}}])
    )
    token = site.token("manager", "read")
    for path in ("configs", "configs/shop"):
        assert "/mnt/vault" not in site.api("GET", path, token=token).text
        assert "/mnt/vault" in site.api("GET", path).text
    assert site.api("GET", "configs/shop/export", token=token).status_code == 403
