"""Helpers of the tests in this folder. Imports little, because child processes import it too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass
class Hands:
    """A clock that stands still."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


def document(**changes: Any) -> dict[str, Any]:
    """The smallest valid configuration, with changes; a change to `...` removes the key."""
    whole: dict[str, Any] = {
        "id": "shop",
        "name": "Shop",
        "type": "full",
        "destinations": [{"type": "local", "config": {"path": "./backups"}}],
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def faults_of(checked: Any) -> dict[str, str]:
    """Pointer → sentence of a document that must be refused."""
    from webapp.errors import ConfigurationInvalid
    from webapp.schema.document import validate

    try:
        validate(checked)
    except ConfigurationInvalid as error:
        return {fault.pointer: fault.detail for fault in error.faults}
    raise AssertionError("the document was accepted")


def open_at_once(url: str, gate: Any, results: Any) -> None:
    """In a process of its own: waits for the others, opens the database, and tells the revision that it finds."""
    from webapp.database import current_revision, open_database

    gate.wait()
    database = open_database(url)
    results.put(current_revision(database.engine))
    database.close()


def start_at_once(home: str, gate: Any, results: Any) -> None:
    """In a process of its own: starts a run of the configuration `shop` together with others, and stays alive until
    all have tried; tells the id of its run, or of the run that was in the way."""
    from webapp.errors import Busy
    from webapp.installation import open_installation
    from webapp.services.runs import NewRun, start
    from webapp.settings import read_settings

    installation = open_installation(read_settings({"HOLDFAST_HOME": home}))
    gate.wait()
    try:
        results.put(("started", start(installation, NewRun("create", "local:test", config_id="shop")).public_id))
    except Busy as error:
        results.put(("busy", error.run_id))
    gate.wait()
    installation.close()


def make_keyring_at_once(home: str, gate: Any, results: Any) -> None:
    """In a process of its own: opens the keyring together with others; tells its vault and what it was told."""
    from webapp.installation import open_installation
    from webapp.services.repositories import open_keyring
    from webapp.settings import read_settings

    installation = open_installation(read_settings({"HOLDFAST_HOME": home}))
    told: list[str] = []
    gate.wait()
    results.put((open_keyring(installation, may_create=True, tell=told.append).vault, " ".join(told)))
    installation.close()
