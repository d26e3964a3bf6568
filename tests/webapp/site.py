"""A web application in its own home, with people and tokens, and a browser that fills in forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from webapp import create_app
from webapp.installation import Installation
from webapp.services import accounts, tokens
from webapp.services.access import SYSTEM
from webapp.services.tokens import Wish

PASSWORD = "correct horse battery"
_CSRF = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


@dataclass
class Site:
    """The application; `token(role, scope)` makes a person of that role once, and a token of theirs."""

    installation: Installation
    app: Flask = field(init=False)
    _secrets: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = create_app(self.installation.settings, installation=self.installation)

    def browser(self) -> Browser:
        return Browser(self.app.test_client())

    def token(self, role: str = "super_admin", scope: str = "super_admin") -> str:
        if (role, scope) not in self._secrets:
            name = f"of-{role.replace('_', '-')}-{scope.replace('_', '-')}"
            user = accounts.add(self.installation, SYSTEM, name, role).user
            made = tokens.create(self.installation, SYSTEM, user, Wish(name, scope))
            self._secrets[role, scope] = made.secret
        return self._secrets[role, scope]

    def api(self, method: str, path: str, *, token: str | None = None, **options: Any) -> TestResponse:
        """A call below /api/backup, by default of a super_admin; `token=""` for nobody."""
        headers = dict(options.pop("headers", {}))
        secret = self.token() if token is None else token
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        return self.app.test_client().open(f"/api/backup/{path}", method=method, headers=headers, **options)


@dataclass
class Browser:
    """Keeps cookies, and sends the token that each form holds."""

    client: FlaskClient

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def submit(self, path: str, /, *, form: str | None = None, **fields: str) -> TestResponse:
        found = _CSRF.search(self.client.get(form or path).text)
        assert found, f"{form or path} shows no form"
        return self.client.post(path, data={"csrf_token": found[1], **fields})

    def sign_in(self, name: str, password: str) -> TestResponse:
        return self.submit("/sign-in", name=name, password=password)


def person(site: Site, name: str = "maria", role: str = "admin") -> Browser:
    """Somebody who is signed in, the one-time password changed to PASSWORD."""
    made = accounts.add(site.installation, SYSTEM, name, role)
    browser = site.browser()
    browser.sign_in(name, made.password)
    browser.submit("/account/password", present=made.password, new=PASSWORD, again=PASSWORD)
    return browser
