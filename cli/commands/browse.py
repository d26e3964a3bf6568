"""`show`, `ls`, `get` and `diff`: what is in a restore point."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

import click

from cli import exits, output
from cli.commands import points
from cli.options import json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from engine.model.manifest import FilesRoot, StreamRoot
    from engine.progress import Progress
    from webapp.services.browsing import Entry, Point
    from webapp.services.differences import Difference

STDOUT = "-"


@click.command("show")
@click.argument("backup")
@json_option
@pass_door
def show(door: Door, backup: str) -> int:
    """One restore point in full. BACKUP is an id, the beginning of one, or CONFIG@latest.

    When no destination can be read, what is on record is shown, and the exit code is 3.
    """
    from webapp.services import browsing

    found, manifest = browsing.recorded(door.installation, backup, tell=door.tell)
    if door.json:
        output.document(door, points.document(found, manifest))
    else:
        points.print_whole(found, manifest, door.settings.timezone)
    return exits.DONE if manifest is not None else exits.WARNINGS


@click.command("ls")
@click.argument("backup")
@click.argument("path", required=False)
@json_option
@pass_door
def ls(door: Door, backup: str, path: str | None) -> None:
    """The files and tables in a restore point.

    Without PATH its folders and databases. PATH is a path as it was at the source, or a database as listed
    (`postgres:NAME`, `sqlite:/path`, or NAME alone; `database:` for the only one).

    Names that a terminal cannot show are printed as $'…', which a shell reads back. With --json, bytes that are not
    UTF-8 are the escapes \\udc80 to \\udcff, one for each byte.
    """
    from webapp.services import browsing

    with closing(browsing.open_point(door.installation, backup, tell=door.tell)) as point:
        if path is None:
            _list_roots(door, point)
        elif browsing.is_path(point, path):
            _list_entries(door, point, path)
        else:
            _list_tables(door, point, path)


@click.command("get")
@click.argument("backup")
@click.argument("path")
@click.option("-o", "--output", "target", metavar="FILE", help="Write to this new file or folder; - is stdout.")
@click.option("--as", "form", type=click.Choice(["sql", "tar", "zip"]), help="A dump as SQL, a folder as tar or zip.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@json_option
@pass_door
def get(door: Door, backup: str, path: str, target: str | None, form: str | None, force: bool) -> None:
    """One file or dump out of a restore point; with --as also a folder, or a dump as SQL.

    PATH is the path of a file as it was at the source, or a database as `ls` lists it: its dump, for pg_restore, or
    the SQLite file. Written is a file of the same name in the current folder, NAME.dump or NAME.sqlite, mode 0600.
    """
    if target == STDOUT and door.json:
        raise click.UsageError("With -o - stdout has the content; leave --json out.")
    if target == STDOUT and force:
        raise click.UsageError("--force is about a file; leave it out with -o -.")
    from cli import saving
    from webapp.services import browsing, downloads
    from webapp.services.access import local_actor

    with closing(browsing.open_point(door.installation, backup, tell=door.tell)) as point:
        if form is None:
            content = browsing.content(point, path)
        else:
            made = downloads.open_download(door.installation, point, path, form)
            content = browsing.Content(made.name, 0, made.pieces)  # nobody knows its size before
        wish = downloads.Wish(point.backup.public_id, path, form or downloads.AS_IS)
        with (
            closing(content.pieces),
            downloads.audited(door.installation, local_actor(door.identity), wish),
            _watched(door, quiet=target == STDOUT and sys.stdout.isatty()) as progress,
        ):
            if target == STDOUT:
                saving.to_stdout(content, progress)
                return
            place = saving.place(door.cwd, target, content.name)
            saving.to_file(content, place, progress, force=force)
    size = place.stat().st_size
    if door.json:
        answer = {"backupId": point.backup.public_id, "path": path, "output": str(place), "bytes": size}
        output.document(door, answer)
    else:
        door.tell(f"Written to {points.pasteable(str(place))} ({output.size(size)}).")


@click.command("diff")
@click.argument("first")
@click.argument("second")
@json_option
@pass_door
def diff(door: Door, first: str, second: str) -> None:
    """What changed from the restore point FIRST to SECOND.

    Paths are added, removed, changed, or differ in metadata (owner, mode, attributes, time); tables come with their
    rows. Not compared are definitions without rows (views, functions, indexes) and the bytes of large objects.
    """
    from webapp.services import browsing

    with (
        closing(browsing.open_point(door.installation, first, tell=door.tell)) as before,
        closing(browsing.open_beside(door.installation, second, before, tell=door.tell)) as after,
    ):
        _diff(door, before, after)


def _diff(door: Door, before: Point, after: Point) -> None:
    from webapp.services import differences

    if before.backup.config_id != after.backup.config_id:
        door.tell(
            f"Note: these are of different configurations, {before.backup.config_id} and {after.backup.config_id}."
        )
    found = differences.differences(before, after)
    if door.json:
        _print_document(door, before, after, list(found))
        return
    counts: Counter[str] = Counter()
    for difference in found:
        counts[difference.what] += 1
        output.line(f"{difference.what:<8}  {_name_of(difference)}")
    told = ", ".join(f"{counts[what]} {what}" for what in differences.WHATS if counts[what])
    door.tell(f"{told}." if told else "No differences.")


def _watched(door: Door, *, quiet: bool) -> AbstractContextManager[Progress]:
    """Progress on stderr; with `quiet` none, since the content goes to the same terminal."""
    from cli.work import working
    from engine.progress import Silent

    return nullcontext(Silent()) if quiet else working(door)


def _list_roots(door: Door, point: Point) -> None:
    from webapp.services import browsing

    if door.json:
        entries = [_folder_document(root) for root in point.folders]
        entries += [_database_document(root, len(browsing.tables(root))) for root in point.databases]
        output.document(door, {"backupId": point.backup.public_id, "path": None, "entries": entries})
        return
    rows = [
        [points.pasteable(os.fsdecode(root.path)), f"{root.files} files", output.size(root.bytes)]
        for root in point.folders
    ]
    rows += [
        [points.pasteable(_database_path(root)), f"{len(browsing.tables(root))} tables", output.size(root.size)]
        for root in point.databases
    ]
    output.table(["PATH", "HOLDS", "SIZE"], rows, right=("SIZE",))


def _folder_document(root: FilesRoot) -> dict[str, Any]:
    return {"path": os.fsdecode(root.path), "kind": "folder", "files": root.files, "bytes": root.bytes}


def _database_document(root: StreamRoot, tables: int) -> dict[str, Any]:
    return {
        "path": _database_path(root),
        "kind": "database",
        "name": root.name,
        "tables": tables,
        "bytes": root.size,
    }


def _database_path(root: StreamRoot) -> str:
    """What `ls` and `get` take."""
    return f"{root.kind}:{root.name}"


def _list_entries(door: Door, point: Point, path: str) -> None:
    from webapp.services import browsing

    found = browsing.entries(point, path)
    if door.json:
        listed = [_entry_document(entry) for entry in found]
        output.document(door, {"backupId": point.backup.public_id, "path": path, "entries": listed})
        return
    for text in _entry_lines(found, door.settings.timezone):
        output.line(text)


def _entry_lines(found: Iterator[Entry], zone: str) -> Iterator[str]:
    """One line at a time: a folder may hold a million entries, and `| head` wants only the first."""
    from webapp.services import browsing

    for entry in found:
        moment = output.when(entry.modified_at, zone)
        target = "" if entry.target is None else f" -> {points.pasteable(os.fsdecode(entry.target))}"
        owner, group = output.visible(entry.owner or "-"), output.visible(entry.group or "-")
        name = points.pasteable(os.fsdecode(entry.name))
        yield (
            f"{browsing.file_mode(entry)}  {owner:<8}  {group:<8}  {output.size(entry.size):>10}  {moment:<23}  "
            f"{name}{target}"
        )


def _entry_document(entry: Entry) -> dict[str, Any]:
    return {
        "name": os.fsdecode(entry.name),
        "kind": entry.kind,
        "mode": None if entry.mode is None else f"{entry.mode & 0o7777:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "owner": entry.owner or None,
        "group": entry.group or None,
        "size": entry.size,
        "modifiedAt": entry.modified_at,
        "modifiedNs": entry.modified,
        "target": None if entry.target is None else os.fsdecode(entry.target),
    }


def _list_tables(door: Door, point: Point, text: str) -> None:
    from webapp.services import browsing

    root = browsing.database(point, text)
    tables = browsing.tables(root)
    if door.json:
        answer = {
            "backupId": point.backup.public_id,
            "path": _database_path(root),
            "database": root.name,
            "bytes": root.size,
            "tables": [points.table_document(table) for table in tables],
        }
        output.document(door, answer)
        return
    rows = [
        [table.schema, table.name, "-" if table.rows is None else str(table.rows), output.size(table.bytes)]
        for table in tables
    ]
    if not rows:
        door.tell("It has no tables.")
    output.table(["SCHEMA", "TABLE", "ROWS", "SIZE"], rows, right=("ROWS", "SIZE"))


def _name_of(difference: Difference) -> str:
    from webapp.services import differences as kinds

    if difference.kind == kinds.PATH:
        return points.pasteable(difference.path)
    before, after = ("-" if rows is None else str(rows) for rows in (difference.rows_before, difference.rows_after))
    if difference.kind == kinds.DATABASE:
        return f"database {output.visible(difference.database)}"
    if difference.kind == kinds.LARGE_OBJECTS:
        return f"{output.visible(difference.database)}: large objects ({before} → {after})"
    name = output.visible(f"{difference.database}:{difference.schema}.{difference.table}")
    if difference.what == kinds.CHANGED:
        same = ", other content" if before == after else ""
        return f"{name} ({before} → {after} rows{same})"
    return f"{name} ({before if difference.what == kinds.REMOVED else after} rows)"


def _print_document(door: Door, before: Point, after: Point, found: list[Difference]) -> None:
    from webapp.services import differences as kinds

    counts = Counter(difference.what for difference in found)
    answer = {
        "before": _side(before),
        "after": _side(after),
        "summary": {what: counts[what] for what in kinds.WHATS},
        "changes": [_difference_document(difference) for difference in found],
    }
    output.document(door, answer)


def _side(point: Point) -> dict[str, Any]:
    backup = point.backup
    return {"backupId": backup.public_id, "configId": backup.config_id, "finishedAt": backup.finished_at}


def _difference_document(difference: Difference) -> dict[str, Any]:
    from webapp.services import differences as kinds

    common = {"change": difference.what, "kind": difference.kind}
    if difference.kind == kinds.PATH:
        return common | {"path": difference.path}
    common["database"] = difference.database
    if difference.kind == kinds.DATABASE:
        return common
    rows = {"before": difference.rows_before, "after": difference.rows_after}
    if difference.kind == kinds.LARGE_OBJECTS:
        return common | {"count": rows}
    return common | {"schema": difference.schema, "table": difference.table, "rows": rows}
