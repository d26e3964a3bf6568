"""How restore points are told of: the documents of `list` and `show`, and their tables and words for people."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cli import output

if TYPE_CHECKING:
    from engine.model.manifest import FilesRoot, Manifest, StreamRoot
    from webapp.models import Backup, BackupCopy, Hold
    from webapp.services.restore_points import Trouble

SHOWN_PROBLEMS = 50
_VERSIONS = (
    ("serverVersionText", "server"),
    ("clientVersion", "pg_dump"),
    ("encoding", "encoding"),
    ("sqliteVersion", "SQLite"),
)
_KEPT_FACTS = {
    "serverVersion": "serverVersionText",
    "clientVersion": "clientVersion",
    "encoding": "encoding",
    "owner": "owner",
    "largeObjects": "largeObjects",
    "rowsFrom": "rowsFrom",
    "warnings": "warnings",
}


def summary(backup: Backup, troubles: Mapping[int, Trouble]) -> dict[str, Any]:
    """A restore point in the words of the contract. A copy that is on record as present at a destination that cannot
    be used now has the state of that destination, and why."""
    from webapp.services import restore_points

    totals = backup.totals
    return {
        "backupId": backup.public_id,
        "configId": backup.config_id,
        "status": restore_points.status_of(backup),
        "type": backup.type,
        "sequence": backup.sequence,
        "parentId": backup.parent_id,
        "startedAt": backup.started_at,
        "finishedAt": backup.finished_at,
        "durationSeconds": (backup.finished_at - backup.started_at).total_seconds(),
        "verifiedAt": restore_points.verified_at(backup),
        "files": {
            "total": totals.get("files", 0),
            "new": totals.get("filesNew", 0),
            "changed": totals.get("filesChanged", 0),
            "unchanged": totals.get("filesUnchanged", 0),
            "unreadable": totals.get("unreadable", 0),
        },
        "databases": backup.databases,
        "paths": backup.paths,
        "bytes": {
            "total": totals.get("bytes", 0),
            "read": totals.get("bytesRead", 0),
            "new": totals.get("bytesNew", 0),
            "stored": totals.get("bytesStored", 0),
            "differences": totals.get("bytesDifferences", 0),
            "fetched": totals.get("bytesFetched", 0),
        },
        "problemCount": backup.problem_count,
        "tags": backup.tags,
        "host": backup.host,
        "program": backup.program,
        "pinned": hold_document(backup.hold),
        "destinations": [
            _copy(copy, troubles.get(copy.destination_id)) for copy in backup.copies if copy.state != "removed"
        ],
    }


def document(backup: Backup, manifest: Manifest | None) -> dict[str, Any]:
    """All about one restore point; without its manifest, what is on record."""
    whole = summary(backup, {})
    if manifest is None:
        return whole | {"manifestRead": False, "configuration": None, "folders": None, "problems": None}
    folders, databases = _roots(manifest)
    return whole | {
        "manifestRead": True,
        "configuration": manifest.config,
        "folders": [{"path": os.fsdecode(root.path), "files": root.files, "bytes": root.bytes} for root in folders],
        "databases": [_database(root) for root in databases],
        "problems": [{"kind": each.kind, "path": each.path, "reason": each.reason} for each in manifest.problems],
    }


def print_list(backups: list[Backup], troubles: Mapping[int, Trouble], zone: str) -> None:
    """One line for each."""
    from webapp.services import restore_points

    rows = []
    for backup in backups:
        found = summary(backup, troubles)
        verified = restore_points.verified_at(backup)
        places = [f"{copy['name']}{_unless_present(copy['status'])}" for copy in found["destinations"]]
        rows.append(
            [
                backup.public_id,
                backup.config_id,
                backup.type,
                found["status"],
                output.when(backup.finished_at, zone),
                str(found["files"]["total"]),
                str(len(backup.databases)),
                output.size(found["bytes"]["total"]),
                output.size(found["bytes"]["stored"]),
                output.when(verified, zone) if verified else "never",
                ", ".join(places) or "-",
                _pin(found["pinned"], zone),
                _tags(backup.tags),
            ]
        )
    headings = "BACKUP CONFIG TYPE STATUS MADE FILES DBS SIZE STORED VERIFIED AT PINNED TAGS".split()
    for number in (-2, -1):  # the last two columns are shown only where they say something
        if any(row[number] for row in rows):
            continue
        headings.pop(number)
        for row in rows:
            row.pop(number)
    output.table(headings, rows, right=("FILES", "DBS", "SIZE", "STORED"))


def print_whole(backup: Backup, manifest: Manifest | None, zone: str) -> None:
    """One restore point in full."""
    found = summary(backup, {})
    files, sizes = found["files"], found["bytes"]
    took = output.duration(found["durationSeconds"])
    after = f", after {backup.parent_id}" if backup.parent_id else ""
    facts = {
        "Restore point": backup.public_id,
        "Configuration": f"{backup.config_id}, number {backup.sequence} of it",
        "Type": f"{backup.type}{after}",
        "Status": found["status"],
        "Made": f"{output.when(backup.started_at, zone)} to {output.when(backup.finished_at, zone)} ({took})",
        "By": f"{backup.program} on {backup.host}",
        "Files": "{total} ({new} new, {changed} changed, {unchanged} unchanged, {unreadable} unreadable)".format(
            **files
        ),
        "Size": "{} in all, {} read, {} new, {} stored, {} of it as differences{}".format(
            *(output.size(sizes[name]) for name in ("total", "read", "new", "stored", "differences")),
            f", {output.size(sizes['fetched'])} fetched for them" if sizes["fetched"] else "",
        ),
        "Pinned": _pin(found["pinned"], zone) or "no",
        "Tags": _tags(backup.tags) or "-",
        "Problems": str(backup.problem_count),
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        output.line(f"{name:<{width}}  {output.visible(value)}")
    _print_copies(found["destinations"], zone)
    if manifest is not None:
        _print_contents(manifest)


def _print_copies(copies: list[dict[str, Any]], zone: str) -> None:
    from webapp.services import trash

    rows = [
        [
            copy["name"],
            copy["type"],
            copy["status"],
            output.when(copy["verifiedAt"], zone) if copy["verifiedAt"] else "never",
        ]
        for copy in copies
    ]
    _titled("Copies", ["DESTINATION", "TYPE", "STATE", "VERIFIED"], rows)
    for copy in copies:
        if copy["status"] == "trashed":
            since = output.when(copy["trashedAt"], zone)
            output.line(output.visible(f"In the trash at {copy['name']} since {since} ({copy['removalReason']})."))
        elif trash.is_given_up(copy["removalReason"]):
            since = output.when(copy["trashedAt"], zone)
            output.line(output.visible(f"Given up at {copy['name']} on {since} ({copy['removalReason']})."))
    if any(copy["status"] == "trashed" for copy in copies):
        output.line("It can be restored until a cleanup empties the trash after seven days; `pin` brings it back.")


def _print_contents(manifest: Manifest) -> None:
    from webapp.services import browsing

    folders, databases = _roots(manifest)
    rows = [[pasteable(os.fsdecode(root.path)), str(root.files), output.size(root.bytes)] for root in folders]
    _titled("Folders", ["PATH", "FILES", "SIZE"], rows, right=("FILES", "SIZE"))
    for root in databases:
        facts = root.facts
        versions = [f"{title} {facts[name]}" for name, title in _VERSIONS if facts.get(name)]
        tables = browsing.tables(root)
        title = f"Database {root.kind}:{root.name} ({', '.join([output.size(root.size), *versions])})"
        shown = [[table.schema, table.name, _number(table.rows), output.size(table.bytes)] for table in tables]
        _titled(title, ["SCHEMA", "TABLE", "ROWS", "SIZE"], shown, right=("ROWS", "SIZE"))
        for warning in facts.get("warnings", ()):
            output.line(f"Warning: {output.visible(warning)}")
    problems = [[each.kind, each.path, each.reason] for each in manifest.problems[:SHOWN_PROBLEMS]]
    _titled("Problems", ["KIND", "PATH", "REASON"], problems)
    if len(manifest.problems) > SHOWN_PROBLEMS:
        output.line(f"And {len(manifest.problems) - SHOWN_PROBLEMS} more; --json has all.")


def _titled(title: str, headings: list[str], rows: list[list[str]], *, right: tuple[str, ...] = ()) -> None:
    if rows or title.startswith("Database"):
        output.line()
        output.line(output.visible(title))
        output.table(headings, rows, right=right)


def _copy(copy: BackupCopy, trouble: Trouble | None) -> dict[str, Any]:
    from webapp.models.backup import LOST, PRESENT
    from webapp.services import trash

    hidden = trouble is not None and copy.state == PRESENT
    state = LOST if trash.is_given_up(copy.removal_reason) else "trashed" if copy.trashed_at else copy.state
    return {
        "name": copy.destination.name,
        "type": copy.destination.kind,
        "status": trouble.state if hidden and trouble else state,
        "verifiedAt": copy.verified_at,
        "trashedAt": copy.trashed_at,
        "removalReason": copy.removal_reason,
        "error": trouble.error if hidden and trouble else None,
    }


def _database(root: StreamRoot) -> dict[str, Any]:
    from webapp.services import browsing

    tables = browsing.tables(root)
    facts = {name: root.facts.get(fact) for name, fact in _KEPT_FACTS.items()}
    return {
        "name": root.name,
        "kind": root.kind,
        "tables": len(tables),
        "bytes": root.size,
        **facts,
        "extensions": [{"name": name, "version": version} for name, version in root.facts.get("extensions", ())],
        "contents": [table_document(table) for table in tables],
    }


def table_document(table: Any) -> dict[str, Any]:
    """One table of a dump."""
    return {"schema": table.schema, "name": table.name, "rows": table.rows, "bytes": table.bytes}


def pasteable(name: str) -> str:
    """A name of any bytes on one line: as it is, or where that is not safe as `$'…'`, which a shell reads back."""
    if name.isprintable() and not name.startswith("$'"):
        return name
    spelled = []
    for sign in name:
        if sign in "'\\":
            spelled.append(f"\\{sign}")
        elif sign.isprintable():
            spelled.append(sign)
        else:
            spelled.extend(f"\\x{byte:02x}" for byte in os.fsencode(sign))
    return f"$'{''.join(spelled)}'"


def _roots(manifest: Manifest) -> tuple[list[FilesRoot], list[StreamRoot]]:
    from engine.model.manifest import FilesRoot, StreamRoot

    folders = [root for root in manifest.roots if isinstance(root, FilesRoot)]
    return folders, [root for root in manifest.roots if isinstance(root, StreamRoot)]


def hold_document(hold: Hold | None) -> dict[str, Any] | None:
    """Why a restore point stays whatever the retention says; None when nobody pinned it."""
    if hold is None:
        return None
    return {"reason": hold.reason, "until": hold.until_at, "by": hold.identity, "since": hold.created_at}


def _pin(hold: dict[str, Any] | None, zone: str) -> str:
    if hold is None:
        return ""
    end = f" until {output.when(hold['until'], zone)}" if hold["until"] else ""
    return f"{hold['reason']}{end}"


def _unless_present(state: str) -> str:
    return "" if state == "present" else f" ({state})"


def _tags(tags: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in tags.items())


def _number(count: int | None) -> str:
    return "-" if count is None else str(count)
