"""What a first start of the service makes: keys, the first account, and a configuration that protects Holdfast itself.

Every step looks first whether it was done, so a start that was killed in the middle is finished by the next one.
"""

from __future__ import annotations

from typing import Any

from webapp.installation import Installation
from webapp.models import Configuration
from webapp.schema.database_urls import sqlite_url
from webapp.schema.defaults import DEFAULT_LOCAL_PATH
from webapp.services import accounts, configurations, repositories, submit
from webapp.services.runs import NewRun
from webapp.settings import CHECKOUT

OWN = "holdfast"
DATABASE_FILE = "holdfast.db"


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
        if not (installation.settings.home / DATABASE_FILE).is_file():
            told.append(
                f"Add the database that HOLDFAST_DATABASE_URL names to the sources of {OWN}: it is not in it yet."
            )
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
    settings = installation.settings
    own = settings.home / DATABASE_FILE
    sources: dict[str, Any] = {}
    if own.is_file():
        sources["databases"] = [{"url": sqlite_url(own)}]
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
