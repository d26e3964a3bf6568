"""How a run that has ended is told: the contract's document, or a few lines for people; and its exit code."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cli import exits, output

if TYPE_CHECKING:
    from cli.state import Door
    from webapp.services.work import Finished

_SHOWN_FILES = 10


def tell_backup(door: Door, finished: Finished) -> int:
    """The end of a `create`."""
    from webapp.services import work

    found = work.document(finished.run, finished.problems)
    if door.json:
        output.document(door, found)
    elif found["backupId"]:
        _print_backup(found)
    return ended(door, finished)


def tell_restore(door: Door, finished: Finished) -> int:
    """The end of a `restore`: the contract's document, and where it went on which host."""
    from webapp.services import work

    found = work.document(finished.run, finished.problems)
    result = finished.run.result or {}
    found["host"] = finished.run.host
    found["targets"] = result.get("targets", [])
    swapped = result.get("replaced") or result.get("undone")
    if swapped:
        found["replaced" if "replaced" in result else "undone"] = swapped
    if door.json:
        output.document(door, found)
    elif found["targets"]:
        _print_restore(found)
    if swapped and not door.json:
        _print_swap(swapped, door.settings.timezone, is_undone="undone" in result)
    return ended(door, finished)


def tell_verification(door: Door, finished: Finished, read_percent: int) -> int:
    """The end of a `verify`."""
    from webapp.services import verifications

    found = verifications.document(finished)
    if door.json:
        output.document(door, found)
        return ended(door, finished)
    for error in found["errors"]:
        output.line(
            f"{error['kind']:<11} {error['object']} at {output.visible(error['destination'])}: {error['reason']}"
        )
        for backup in error["backups"]:
            output.line(f"            hits {backup}")
        for path in error["files"][:_SHOWN_FILES]:
            output.line(f"            hits {output.visible(path)}")
        if len(error["files"]) > _SHOWN_FILES:
            output.line(f"            and {len(error['files']) - _SHOWN_FILES} more files; --json lists them")
    if finished.run.state == "succeeded":
        share = "every byte" if read_percent == 100 else f"{read_percent} % of the data"
        output.line(
            f"{output.counted(found['backupsChecked'], 'restore point')} found sound: "
            f"{output.counted(found['objectsChecked'], 'object')} checked, "
            f"{output.size(found['bytesRead'])} read back ({share}) "
            f"in {output.duration(finished.run.duration_seconds)}"
        )
    return ended(door, finished)


def ended(door: Door, finished: Finished) -> int:
    """Tells the error of a run on stderr, if there is one; the exit code."""
    run = finished.run
    if finished.error is not None:
        return exits.report(finished.error, door)
    if run.error:
        door.tell(f"Error: {run.error}" + (f"\n{run.hint}" if run.hint else ""))
    return exits.code_of(run.state, run.cause)


def _print_restore(found: dict[str, Any]) -> None:
    took = output.duration(found["durationSeconds"])
    output.line(f"{found['backupId']} restored on {output.visible(found['host'])}: {found['status']} in {took}")
    databases = iter(found["databases"])
    for place in found["targets"]:
        if place["kind"] == "folder":
            what = output.counted(found["files"]["new"], "file")
        else:
            database = next(databases)
            what = f"{output.counted(database['tables'], 'table')}, {output.size(database['bytes'])}"
        output.line(f"  {place['kind']:<9} {output.visible(place['target'])} ({what})")
        output.line(f"  compared  {_compared(place['compared'])}")
    if found["problems"]:
        output.line(f"  problems  {len(found['problems'])}, told above")


def _print_swap(swapped: dict[str, Any], zone: str, *, is_undone: bool) -> None:
    if is_undone:
        output.line(f"{output.visible(swapped['target'])} is as it was before {swapped['restoreId']}")
    else:
        output.line(f"  before    restore point {swapped['previousBackupId']}")
        output.line(f"  undo      backup-cli undo {swapped['restoreId']}")
    until = output.when(datetime.fromisoformat(swapped["keptUntil"]), zone)
    output.line(f"  kept      {output.visible(swapped['keptAs'])} until {until}")


def _compared(what: dict[str, int] | None) -> str:
    """What a restore compared with the restore point, in words."""
    if what is None:
        return "every byte was read back after it was written; --verify compares names and attributes too"
    if "files" in what:
        return f"names, attributes and every byte of {output.counted(what['files'], 'file')}"
    return f"{output.counted(what['tables'], 'table')}, {output.counted(what['rows'], 'row')}"


def _print_backup(found: dict[str, Any]) -> None:
    took = output.duration(found["durationSeconds"])
    output.line(f"{found['backupId']}  {found['type']} backup of {found['configId']}: {found['status']} in {took}")
    files = found["files"]
    if files["total"]:
        parts = [f"{files[key]:,} {key}" for key in ("new", "changed", "unchanged", "unreadable") if files[key]]
        output.line(f"  files     {files['total']:,} ({', '.join(parts)})")
    for database in found["databases"]:
        name = output.visible(database["name"])
        tables = output.counted(database["tables"], "table")
        output.line(f"  database  {name}: {tables}, {output.size(database['bytes'])}")
    sizes = found["bytes"]
    output.line(
        f"  bytes     {output.size(sizes['read'])} read, {output.size(sizes['new'])} new, "
        f"{output.size(sizes['stored'])} stored"
    )
    for place in found["destinations"]:
        output.line(f"  kept at   {output.visible(place['name'])}: {place['error'] or place['status']}")
    if found["problems"]:
        output.line(f"  problems  {len(found['problems'])}, told above; `backup-cli show` lists them")
