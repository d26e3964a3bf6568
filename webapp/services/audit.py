"""The audit log: who did what, when, from where, with which outcome; added in the transaction of the change itself.

Each entry's hash covers the one before it, and after each commit the newest hash is also noted in a file of the home:
a changed, removed or inserted entry breaks the chain, and a cut tail or a chain made anew contradicts the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from webapp.clock import rfc3339
from webapp.errors import NotFound
from webapp.installation import Installation
from webapp.models.audit import AuditEntry
from webapp.schema.redact import HIDDEN, hide_password, without_secrets
from webapp.services.access import Actor

DONE, DENIED, FAILED = "done", "denied", "failed"
CHECKED = "audit.checked"
BEGINNING = "0" * 64
WITNESS = "audit.witness"
KEPT_CHARACTERS = 20_000
_LOCK = 0x41756469  # any number that is ours: entries of one PostgreSQL database are added one after another
_PAGE = 1000
_NUMBERS = 1 << 31
_NOTED = "holdfast_audit_head"
_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|credential|sealed|recovery|totp|(access|private|encryption)_?key", re.I
)
_USERINFO = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")


@dataclass(frozen=True)
class Flaw:
    """Something that shows that the log is not as it was written; `sequence` is the entry at which it shows."""

    sequence: int
    reason: str


@dataclass(frozen=True)
class Verdict:
    """`head` is the hash of the newest entry; `witnessed` counts the notes in the home that were compared."""

    entries: int
    head: str
    witnessed: int
    flaws: tuple[Flaw, ...]


def record(
    session: Session,
    installation: Installation,
    actor: Actor | str,
    action: str,
    object: str,
    *,
    outcome: str = DONE,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    error: str | None = None,
    trace: str | None = None,
    duration_seconds: float | None = None,
    address: str | None = None,
) -> None:
    """Adds an entry, which stands or falls with the transaction of `session`. Call it last: on PostgreSQL it makes
    other entries wait until this transaction ends. What looks like a secret is hidden in `before` and `after`."""
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    newest = session.execute(
        select(AuditEntry.sequence, AuditEntry.hash).order_by(AuditEntry.sequence.desc()).limit(1)
    ).first()
    sequence, previous = newest or (0, BEGINNING)
    entry = AuditEntry(
        sequence=sequence + 1,
        at=installation.clock(),
        identity=_short(actor if isinstance(actor, str) else actor.identity, 200),
        address=_short(address or (None if isinstance(actor, str) else actor.address), 64),
        action=_short(action, 64),
        object=_short(object, 200),
        outcome=_short(outcome, 16),
        duration_ms=None if duration_seconds is None else round(duration_seconds * 1000),
        before=_json(before),
        after=_json(after),
        error=_short(_without_passwords(error), KEPT_CHARACTERS),
        trace=_short(_without_passwords(trace), KEPT_CHARACTERS),
        previous_hash=previous,
    )
    entry.hash = entry_hash(entry)
    session.add(entry)
    session.flush()
    if session.info.get(_NOTED) is None:
        event.listen(session, "after_commit", lambda ended: _note(installation, ended), once=True)
    session.info[_NOTED] = (entry.sequence, entry.hash)


def add(installation: Installation, actor: Actor | str, action: str, object: str, **facts: Any) -> None:
    """`record` in a transaction of its own: for denials and failures, which change nothing else."""
    with installation.database.transaction() as session:
        record(session, installation, actor, action, object, **facts)


def listing(
    installation: Installation,
    actor: Actor,
    *,
    after: int | None = None,
    limit: int = 50,
    action: str | None = None,
    identity: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    outcome: str | None = None,
    object: str | None = None,
) -> list[AuditEntry]:
    """Entries, newest first, older than the entry `after`; who may not read the whole log sees their own alone.
    An `action` without a dot means all that begin with it: `user` also user.added."""
    query = select(AuditEntry).order_by(AuditEntry.sequence.desc()).limit(limit)
    if not actor.may("audit.everything"):
        query = query.where(AuditEntry.identity == actor.identity)
    if after is not None:
        query = query.where(AuditEntry.sequence < after)
    if action is not None:
        whole = "." in action
        query = query.where(
            AuditEntry.action == action if whole else AuditEntry.action.startswith(f"{action}.", autoescape=True)
        )
    for column, value in (
        (AuditEntry.identity, identity),
        (AuditEntry.outcome, outcome),
        (AuditEntry.object, object),
    ):
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(AuditEntry.at >= since)
    if until is not None:
        query = query.where(AuditEntry.at < until)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def matching(installation: Installation, actor: Actor, **wanted: Any) -> Iterator[AuditEntry]:
    """As `listing`, but all of them, in pages: for export. Never more than a page in memory."""
    after: int | None = None
    while True:
        page = listing(installation, actor, after=after, limit=_PAGE, **wanted)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].sequence


def find(installation: Installation, actor: Actor, sequence: int) -> AuditEntry:
    """One entry. Raises NotFound, also for one of somebody else that the actor may not read."""
    with installation.database.reading() as session:
        entry = session.get(AuditEntry, sequence) if sequence < _NUMBERS else None
    if entry is None or (entry.identity != actor.identity and not actor.may("audit.everything")):
        raise NotFound(f"There is no entry {sequence} that you may read.", hint="The audit log lists what there is.")
    return entry


def is_altered(entry: AuditEntry) -> bool:
    """Whether an entry is not as it was written: alone, without a look at those before it."""
    return entry_hash(entry) != entry.hash


def check(installation: Installation, actor: Actor) -> Verdict:
    """`verify`, and what came of it as an entry of its own: the pages tell when the log was last found whole."""
    verdict = verify(installation)
    first = verdict.flaws[0] if verdict.flaws else None
    after: dict[str, Any] = {"entries": verdict.entries, "notes": verdict.witnessed, "flaws": len(verdict.flaws)}
    if first is not None:
        after |= {"first": first.sequence, "reason": first.reason}
    add(installation, actor, CHECKED, "log", outcome=FAILED if first else DONE, after=after)
    return verdict


def last_check(installation: Installation) -> AuditEntry | None:
    """The entry of the newest `check`."""
    query = select(AuditEntry).where(AuditEntry.action == CHECKED).order_by(AuditEntry.sequence.desc()).limit(1)
    with installation.database.reading() as session:
        return session.scalars(query).first()


def every(installation: Installation) -> Iterator[AuditEntry]:
    """The whole log, oldest first, in pages: for export and for checks. Never more than a page in memory."""
    last = -(1 << 31)
    while True:
        query = select(AuditEntry).where(AuditEntry.sequence > last).order_by(AuditEntry.sequence).limit(_PAGE)
        with installation.database.reading() as session:
            page = list(session.scalars(query))
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].sequence


def verify(installation: Installation) -> Verdict:
    """Follows the chain from its beginning and compares it with the notes in the home."""
    notes = _notes(_witness_path(installation))
    flaws: list[Flaw] = []
    count, number, previous = 0, 0, BEGINNING
    for entry in every(installation):
        count += 1
        if entry.sequence != number + 1:
            flaws.append(Flaw(entry.sequence, f"The entries {number + 1} to {entry.sequence - 1} are gone."))
        elif entry.previous_hash != previous:
            flaws.append(Flaw(entry.sequence, "It does not follow the entry before it."))
        if entry_hash(entry) != entry.hash:
            flaws.append(Flaw(entry.sequence, "It was changed after it was written."))
        if notes.pop(entry.sequence, {entry.hash}) != {entry.hash}:
            flaws.append(Flaw(entry.sequence, f"It is not the entry that {WITNESS} in the home tells of."))
        number, previous = entry.sequence, entry.hash
    if notes:
        newest = max(notes)
        flaws.append(Flaw(newest, f"The log ends at {number}, but {WITNESS} in the home tells of the entry {newest}."))
    return Verdict(count, previous, _count_notes(installation), tuple(flaws))


def entry_hash(entry: AuditEntry) -> str:
    """SHA-256 over all that the entry says and over the hash of the one before it."""
    parts = [
        entry.previous_hash,
        entry.sequence,
        entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.identity,
        entry.address,
        entry.action,
        entry.object,
        entry.outcome,
        entry.duration_ms,
        entry.before,
        entry.after,
        entry.error,
        entry.trace,
    ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def described(entry: AuditEntry, *, with_trace: bool = False) -> dict[str, Any]:
    """An entry as JSON for API, CLI and export; the trace of an error is for administrators."""
    document = {
        "sequence": entry.sequence,
        "at": rfc3339(entry.at),
        "identity": entry.identity,
        "address": entry.address,
        "action": entry.action,
        "object": entry.object,
        "outcome": entry.outcome,
        "durationSeconds": None if entry.duration_ms is None else entry.duration_ms / 1000,
        "before": None if entry.before is None else json.loads(entry.before),
        "after": None if entry.after is None else json.loads(entry.after),
        "error": entry.error,
        "previousHash": entry.previous_hash,
        "hash": entry.hash,
    }
    return {**document, "trace": entry.trace} if with_trace else document


def cleaned(value: Any, *, key: str = "") -> Any:
    """`value` without what looks like a secret: by the name it has, or as a password in a URL."""
    if value is not None and not isinstance(value, bool) and _SECRET.search(key):
        return HIDDEN
    if isinstance(value, Mapping):
        if "destinations" in value or "notifications" in value:
            value = without_secrets(value)
        return {str(name): cleaned(each, key=str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [cleaned(each, key=key) for each in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    return hide_password(value) if isinstance(value, str) else value


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(cleaned(value), ensure_ascii=True, sort_keys=True, default=str)


def _short(value: str | None, length: int) -> Any:
    if value is None:
        return None
    plain = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return plain if len(plain) <= length else plain[: length - 1] + "…"


def _without_passwords(value: str | None) -> str | None:
    return None if value is None else _USERINFO.sub(rf"\1:{HIDDEN}@", value)


def _witness_path(installation: Installation) -> Path:
    return installation.settings.home / WITNESS


def _note(installation: Installation, session: Session) -> None:
    """One line, in one write to the end of the file: several processes never mix theirs."""
    head = session.info.pop(_NOTED, None)
    if head is None:
        return
    line = f"{head[0]} {head[1]}\n".encode()
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_witness_path(installation), flags, 0o600)
    except OSError:
        return  # the change is committed; without its note it is still in the chain
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _notes(path: Path) -> dict[int, set[str]]:
    """Sequence → the hashes noted for it. A last line that was cut off by a power cut says nothing."""
    found: dict[int, set[str]] = {}
    try:
        content = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return found
    for line in content.splitlines():
        match = re.fullmatch(r"(\d{1,10}) ([0-9a-f]{64})", line)
        if match:
            found.setdefault(int(match[1]), set()).add(match[2])
    return found


def _count_notes(installation: Installation) -> int:
    return len(_notes(_witness_path(installation)))
