"""Which pages there are: asked of the application's own list of addresses, so that a new page cannot be forgotten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from werkzeug.routing import Rule

from benchmarks.showroom import Showroom
from webapp import create_app
from webapp.installation import Installation, open_installation
from webapp.models.run import FAILED
from webapp.security import PUBLIC, needed_by
from webapp.services import destinations, records, restore_drafts, runs
from webapp.services.permissions import allows
from webapp.settings import read_settings

# What is no page of a person who is signed in: probes, the programs' door, links that are good once; and the
# definitions of a dump of PostgreSQL, which this home has none of.
LEFT_OUT = (
    *("static", "api.", "downloads.", "health.alive", "health.ready", "health.numbers", "docs.document"),
    *("account.sign_in", "account.code", "contents.schema"),
)
SIGHTED = "sue"
"""Who sees everything: what belongs to one person (a restore in preparation) is hers."""


@dataclass(frozen=True)
class Address:
    """A place that answers GET: who may ask, and an address of it that exists. `is_own`: it is of one person only."""

    endpoint: str
    path: str
    permission: str
    is_own: bool = False

    def __str__(self) -> str:
        return f"{self.endpoint} {self.path}"


def addresses(showroom: Showroom) -> list[Address]:
    """All of them. An AssertionError names an argument for which nobody has said a value."""
    installation = open_installation(read_settings(dict(showroom.environment)))
    try:
        app = create_app(installation.settings, installation=installation)
        values, queries = _values(installation, showroom), _queries(showroom)
        found = []
        for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
            need = needed_by(app.view_functions[rule.endpoint])
            if "GET" not in (rule.methods or ()) or rule.endpoint.startswith(LEFT_OUT) or need is None:
                continue
            path = _filled_in(rule, values) + queries.get(rule.endpoint, "")
            is_own = bool(rule.arguments & {"draft_id", "sequence"})
            found.append(Address(rule.endpoint, path, need.permission, is_own))
        return found
    finally:
        installation.close()


def is_for(address: Address, role: str) -> bool:
    """Whether this role may look at it."""
    return address.permission == PUBLIC or allows(address.permission, role=role)


def _filled_in(rule: Rule, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        special = f"{rule.endpoint.partition('.')[0]}.{name}"
        assert special in values or name in values, f"{rule}: say in tests/browser/addresses.py what {name} may be"
        return values.get(special, values.get(name, ""))

    return re.sub(r"<(?:[^:<>]+:)?(\w+)>", value, rule.rule)


def _values(installation: Installation, showroom: Showroom) -> dict[str, str]:
    """By the names that the rules use, or by blueprint and name."""
    every = runs.listing(installation, limit=200)
    return {
        "config_id": "shop",
        "backup_id": showroom.filled.point,
        "run_id": next(run.public_id for run in every if run.state == FAILED),
        "restores.run_id": next(run.public_id for run in every if run.kind == "restore"),
        "name": "adam",
        "number": str(destinations.listing(installation)[0].id),
        "sequence": "1",
        "draft_id": _draft(installation, showroom),
    }


def _queries(showroom: Showroom) -> dict[str, str]:
    """What some addresses need beside their path."""
    database = quote(f"{showroom.filled.uploads.parent / 'shop.db'}")
    return {
        "contents.files": f"?path={quote(str(showroom.filled.uploads))}",
        "contents.versions": f"?path={quote(str(showroom.filled.uploads / 'notes.txt'))}",
        "contents.find": "?q=*.txt",
        "contents.database": f"?name={database}",
    }


def _draft(installation: Installation, showroom: Showroom) -> str:
    """A restore that she prepares."""
    point = records.find(installation, showroom.filled.point)
    identity = f"user:{SIGHTED}"
    draft = restore_drafts.begin(installation, identity, point, [str(showroom.filled.uploads / "notes.txt")])
    restore_drafts.aim(installation, draft, (), verify=True, tell=_unheard)
    return draft.public_id


def _unheard(text: str) -> None:
    """Warnings of destinations are not the matter here."""
