"""What a first start of the service makes: keys, the first account, and a configuration that protects Holdfast itself.

Every step looks first whether it was done, so a start that was killed in the middle is finished by the next one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from webapp.database import SQLITE_PREFIX
from webapp.installation import Installation
from webapp.models import Configuration
from webapp.schema.database_urls import sqlite_url
from webapp.schema.defaults import DEFAULT_LOCAL_PATH
from webapp.services import accounts, configurations, repositories, submit
from webapp.services.runs import NewRun
from webapp.settings import CHECKOUT

OWN = "holdfast"


def prepare(installation: Installation) -> list[str]:
    """Makes what is missing; what the operator has to read, each secret once. Raises ServiceError."""
    told: list[str] = []
    repositories.open_keyring(installation, may_create=True, tell=told.append)
    first = accounts.first_administrator(installation)
    if first is not None:
        told.append(
            f"Sign in as {first.user.name} with the one-time password {first.password} "
            "(shown only now; it is changed at the first sign-in)."
        )
    if _protect_itself(installation):
        told.append(f"The configuration {OWN} protects Holdfast itself; its first backup starts now.")
    return told


def _protect_itself(installation: Installation) -> bool:
    """Whether the configuration was made now. One that was deleted stays deleted."""
    with installation.database.reading() as session:
        if session.get(Configuration, OWN) is not None:
            return False
    configurations.store(installation, _document(installation))
    submit.submit(installation, NewRun("create", "system", config_id=OWN, trigger="schedule"))
    return True


def _document(installation: Installation) -> dict[str, Any]:
    sources: dict[str, Any] = {"databases": [{"url": _own_database(installation.settings.database_url)}]}
    if (CHECKOUT / "configs").is_dir():
        sources["paths"] = [{"path": str(CHECKOUT / "configs")}]
    return {
        "id": OWN,
        "name": "Holdfast itself",
        "type": "incremental",
        "schedule": "30 1 * * *",
        "sources": sources,
        "retention": {"daily": 7, "weekly": 4, "monthly": 12},
        "destinations": [{"type": "local", "config": {"path": DEFAULT_LOCAL_PATH}}],
    }


def _own_database(url: str) -> str:
    """As a source: in full, because `${HOLDFAST_DATABASE_URL}` may not be named there. Its password is sealed like that
    of any other source (services/sealed.py). A `$` would begin a variable."""
    if url.startswith(SQLITE_PREFIX):
        return sqlite_url(Path(url.removeprefix(SQLITE_PREFIX)).absolute())
    return f"postgresql://{url.partition('://')[2]}".replace("$", "%24")
