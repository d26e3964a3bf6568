"""A restore beside what is there while a person prepares it, step by step: kept here, for one person and for an hour.

What was shown at the review is compared with the target again before anything begins: nobody starts what they did not
see. Drafts are rows of restore_plans of a kind of their own, which nothing that replaces takes."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import CursorResult, delete, select, update

from engine.ids import new_id, spell
from webapp.errors import Conflict, NotFound
from webapp.installation import Installation
from webapp.models import Backup, RestorePlan, Run
from webapp.models.run import SUCCEEDED, UNDO, WARNING
from webapp.services import records, restore_points, restores, sealed, submit, target_places
from webapp.services.keyrings import Tell
from webapp.services.restore_plans import Plan

KIND = "beside"
VALID = timedelta(hours=1)
_STARTING = "starting"
_STARTS_WITHIN = timedelta(minutes=1)
_COMPARED = 10
_ELSEWHERE = "It was changed in another window; this is what it is now."
_FORGOTTEN = "Nothing was restored. Begin again at the restore point."


@dataclass(frozen=True)
class Draft:
    """`only` is what is wanted (empty: all of it); `targets` where to, as `--to` takes it (empty: generated names);
    `has_target` once that was chosen; `seen` what the last review showed, None before it; `run_id` the run that it
    became; `secret` marks what it shows."""

    public_id: str
    backup_id: str
    only: tuple[str, ...]
    targets: tuple[str, ...]
    has_target: bool
    verify: bool
    seen: Mapping[str, str] | None
    expires_at: datetime
    run_id: str | None
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Review:
    """What would be done; `shown` stands for all of it, and `start` takes it back. `free_bytes` at the folder's disk,
    and `seconds`, what earlier restores let expect: None where nobody can tell. `differences` are sentences: what is
    not any more as it was shown before."""

    backup: Backup
    plan: Plan
    free_bytes: int | None
    seconds: float | None
    differences: tuple[str, ...]
    shown: str


class Changed(Conflict):
    """What would be done is not any more what was shown; `differences` are sentences."""

    def __init__(self, differences: tuple[str, ...]) -> None:
        super().__init__("It is not any more as it was shown.", hint="Nothing was done. Look at it again.")
        self.differences = differences


def begin(installation: Installation, identity: str, backup: Backup, only: Iterable[str]) -> Draft:
    """A new draft of `identity`; old ones of anybody are forgotten."""
    now = installation.clock()
    row = RestorePlan(
        public_id=spell("rd", new_id()),
        backup_id=backup.public_id,
        identity=identity,
        host=installation.host,
        kind=KIND,
        target="",
        key="",
        place=_place(only, has_target=False, verify=False),
        state={},
        document={},
        hash=secrets.token_hex(32),  # told to nobody, so that the door for plans that replace never takes a draft
        created_at=now,
        expires_at=now + VALID,
    )
    with installation.database.transaction() as session:
        session.execute(delete(RestorePlan).where(RestorePlan.kind == KIND, RestorePlan.expires_at < now - VALID))
        session.add(row)
    return find(installation, identity, row.public_id)


def find(installation: Installation, identity: str, public_id: str) -> Draft:
    """Raises NotFound, also for a draft of somebody else, and Conflict for one that is too old or just being started.
    One whose start was cut short can be started again after a minute."""
    mine = select(RestorePlan).where(RestorePlan.public_id == public_id, RestorePlan.kind == KIND)
    with installation.database.reading() as session:
        row = session.scalars(mine.where(RestorePlan.identity == identity)).first()
    if row is None:
        raise NotFound("There is no such restore in preparation.", hint=_FORGOTTEN)
    now, run_id = installation.clock(), row.run_id
    if run_id == _STARTING:
        if now < row.expires_at - VALID + _STARTS_WITHIN:
            raise Conflict("This restore is being started.", hint="The list of restores shows it in a moment.")
        _give_up(installation, row)
        run_id = None
    if run_id is None and row.expires_at <= now:
        raise Conflict("This restore was prepared more than an hour ago and is forgotten.", hint=_FORGOTTEN)
    opened = sealed.opened(installation, row.sealed, bound=sealed.of_plan(row.public_id))
    return Draft(
        row.public_id,
        row.backup_id,
        tuple(unquote(each, errors="surrogateescape") for each in row.place["only"]),
        tuple(json.loads(opened.get("targets", "[]"))),
        row.place["hasTarget"],
        row.place["verify"],
        row.state or None,
        row.expires_at,
        run_id,
        row.hash,
    )


def choose(installation: Installation, draft: Draft, only: Iterable[str]) -> None:
    """What is wanted. What a review showed does not count any more."""
    _change(installation, draft, place=_place(only, has_target=draft.has_target, verify=draft.verify), state={})


def aim(installation: Installation, draft: Draft, targets: Iterable[str], *, verify: bool, tell: Tell) -> None:
    """Where to; none means generated names. Raises what `restores.plan` raises when it cannot go there: then the draft
    is as it was."""
    order = _order(replace(draft, targets=tuple(targets), verify=verify))
    restores.plan(installation, order, cwd=_beside(installation), tell=tell)
    # A target may hold a password.
    url = {"targets": json.dumps(order.targets)}
    kept = sealed.seal(installation, url, bound=sealed.of_plan(draft.public_id)) if order.targets else None
    _change(installation, draft, place=_place(draft.only, has_target=True, verify=verify), sealed=kept, state={})


def review(installation: Installation, draft: Draft, *, tell: Tell) -> Review:
    """What would be done, looked at now and noted as seen. Raises what `restores.plan` raises."""
    made, found = _look(installation, draft, tell)
    _change(installation, draft, state=found)
    free = None if made.folder is None else target_places.room(made.folder.target)
    size = (made.folder.needed_bytes if made.folder else 0) + sum(part.bytes for part in made.databases)
    seconds = _expected(installation, size)
    return Review(made.backup, made, free, seconds, _differences(draft.seen or found, found), _mark(draft, found))


def start(installation: Installation, identity: str, draft: Draft, shown: str, *, tell: Tell) -> Run:
    """The queued run, when all is as the review that is called `shown` showed it: two windows may show two of the same
    draft. Raises Changed when it is not, Conflict for a draft that was started or not looked at, and what
    `restores.plan` raises."""
    if draft.seen is None:
        raise Conflict("What would be done was not looked at yet.", hint="Look at the review first.")
    if not hmac.compare_digest(shown.encode(), _mark(draft, draft.seen).encode()):
        raise Changed((_ELSEWHERE,))
    _, found = _look(installation, draft, tell)
    if differences := _differences(draft.seen, found):
        raise Changed(differences)
    backup = records.find(installation, draft.backup_id)
    _claim(installation, draft)
    try:
        asked = {"only": list(draft.only), "verify": draft.verify}
        where = {"targets": list(draft.targets), "cwd": str(_beside(installation))}
        run = submit.restore(installation, identity, backup, asked, where)
    except BaseException:
        _change(installation, draft, run_id=None)
        raise
    _change(installation, draft, run_id=run.public_id, sealed=None)
    return run


def _look(installation: Installation, draft: Draft, tell: Tell) -> tuple[Plan, dict[str, str]]:
    made = restores.plan(installation, _order(draft), cwd=_beside(installation), tell=tell)
    return made, _facts(made)


def _order(draft: Draft) -> restores.Order:
    return restores.Order(draft.backup_id, KIND, targets=draft.targets, only=draft.only, verify=draft.verify)


def _mark(draft: Draft, seen: Mapping[str, str]) -> str:
    """Stands for all that a review shows. Keyed, since a target may hold a password that nobody shall try out."""
    all_of_it = json.dumps([draft.only, draft.targets, draft.verify, dict(seen)], sort_keys=True)
    return hmac.digest(draft.secret.encode(), all_of_it.encode(), "sha256").hex()


def _facts(made: Plan) -> dict[str, str]:
    """What a person read at the review, by what it is called there."""
    found = {"The restore point": restore_points.condition(made.backup)}
    if made.folder is not None:
        found["The folder"] = _shown(str(made.folder.target))
        found["What comes there"] = f"{made.folder.files} files, {made.folder.needed_bytes} bytes"
    for part in made.databases:
        found[f"The place of {part.root.name}"] = part.connection.describe()
        found[f"What comes of {part.root.name}"] = f"{part.tables} tables, {part.bytes} bytes"
    if made.left_out:
        found["Left out"] = _shown(", ".join(made.left_out))
    if made.warnings:
        found["Warnings"] = " ".join(made.warnings)
    return found


def _differences(seen: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {seen.get(name, 'nothing')} then, {now.get(name, 'nothing')} now."
        for name in sorted(seen.keys() | now.keys())
        if seen.get(name) != now.get(name)
    )


def _expected(installation: Installation, size: int) -> float | None:
    """Seconds for so many bytes, by the pace of the last restores that ended well."""
    query = (
        select(Run)
        .where(Run.kind == "restore", Run.state.in_((SUCCEEDED, WARNING)), Run.type.is_distinct_from(UNDO))
        .order_by(Run.id.desc())
        .limit(_COMPARED)
    )
    with installation.database.reading() as session:
        ended = list(session.scalars(query))
    took = sum(run.duration_seconds or 0.0 for run in ended)
    read = sum(run.bytes_read for run in ended)
    return size * took / read if took and read else None


def _claim(installation: Installation, draft: Draft) -> None:
    """Two clicks start one restore. Raises Conflict."""
    free = update(RestorePlan).where(RestorePlan.public_id == draft.public_id, RestorePlan.run_id.is_(None))
    with installation.database.transaction() as session:
        taken = session.execute(free.values(run_id=_STARTING, expires_at=installation.clock() + VALID))
        assert isinstance(taken, CursorResult)
        if not taken.rowcount:
            raise Conflict("This restore was started already.", hint="The list of restores shows it.")


def _give_up(installation: Installation, row: RestorePlan) -> None:
    """Frees a draft whose process died between the claim and the run, unless somebody claimed it anew."""
    same = (RestorePlan.id == row.id) & (RestorePlan.run_id == _STARTING) & (RestorePlan.expires_at == row.expires_at)
    with installation.database.transaction() as session:
        session.execute(update(RestorePlan).where(same).values(run_id=None))


def _change(installation: Installation, draft: Draft, **values: Any) -> None:
    values["expires_at"] = installation.clock() + VALID
    with installation.database.transaction() as session:
        session.execute(update(RestorePlan).where(RestorePlan.public_id == draft.public_id).values(**values))


def _place(only: Iterable[str], *, has_target: bool, verify: bool) -> dict[str, Any]:
    """Names are of any bytes, and rows hold text."""
    return {
        "only": [quote(each, errors="surrogateescape") for each in only],
        "hasTarget": has_target,
        "verify": verify,
    }


def takes_generated(installation: Installation, draft: Draft) -> bool:
    """Whether folders with generated names can be made, as far as this machine shows (in a container nothing but the
    home may be written to), or nothing is wanted that needs one."""
    only_tables = bool(draft.only) and not any(each.startswith(("/", "sqlite:")) for each in draft.only)
    return only_tables or os.access(_beside(installation), os.W_OK | os.X_OK)


def _beside(installation: Installation) -> Path:
    """Where folders with generated names are made: the home itself takes nothing that is restored."""
    return installation.settings.home.parent


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
