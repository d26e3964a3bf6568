"""What is inside a restore point: files and tables, looked at, fetched, or chosen for a restore."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import parse_qs

from flask import Blueprint, Response, abort, g, redirect, render_template, request, url_for

from engine.errors import EngineError
from webapp.errors import ServiceError
from webapp.extensions import installation
from webapp.models import Backup
from webapp.security import needs
from webapp.sending import MEDIA_TYPE, sent
from webapp.services import browsing, downloads, folders, restore_drafts
from webapp.services.browsing import Point, Table
from webapp.services.downloads import AS_IS, TAR, ZIP, Wish
from webapp.services.folders import Line
from webapp.services.repositories import silent
from webapp.views.showing import unquoted

pages = Blueprint("contents", __name__, url_prefix="/restore-points/<backup_id>")
SQLITE = "sqlite"
_SHOWN, _FOUND, _VERSIONS, _MOST_NAMES = 50, 50, 20, 1000
_SCHEMA_BYTES = 20_000
_ROOM, _ROW = 27_000, 620
_SORTS: dict[str, Callable[[Table], Any]] = {
    "name": lambda table: (table.schema, table.name),
    "rows": lambda table: -(table.rows or 0),
    "size": lambda table: -(table.bytes or 0),
}


@pages.get("/files")
@needs("backups.browse")
def files(backup_id: str) -> str:
    """What a folder of the restore point holds, against the point before; without a path its folders and databases."""
    path = _asked("path")
    with closing(_open(backup_id)) as point:
        if path is None:
            roots = [(root.name, root.kind == SQLITE, browsing.tables(root), root.size) for root in point.databases]
            return render_template(
                "restores/roots.html", point=point.backup, folders=point.folders[:_SHOWN], databases=roots[:_SHOWN]
            )
        return _folder(point, path)


@pages.get("/versions")
@needs("backups.browse")
def versions(backup_id: str) -> str:
    """What one file was in this restore point and those before it."""
    path = _asked("path") or abort(400, "Which file? Choose one in the contents.")
    with closing(_open(backup_id)) as point:
        found, unread = folders.versions(installation(), point, path, limit=_VERSIONS, tell=silent)
    return render_template(
        "restores/versions.html", point=point.backup, path=path, versions=found, unread=unread, most=_VERSIONS
    )


@pages.get("/find")
@needs("backups.browse")
def find(backup_id: str) -> str:
    """Names that fit."""
    pattern = (request.args.get("q") or "").strip()[:200]
    if not pattern:
        abort(400, "What is looked for? Type a part of a name, or a pattern such as *.csv.")
    with closing(_open(backup_id)) as point:
        found = list(itertools.islice(folders.search(point, pattern), _FOUND + 1))
        gave_up = any(not path for path, _ in found)
        shown = [each for each in found if each[0]][:_FOUND]
        return render_template(
            "restores/found.html", point=point.backup, q=pattern, found=shown, more=len(found) > _FOUND, gave_up=gave_up
        )


@pages.get("/database")
@needs("backups.browse")
def database(backup_id: str) -> str:
    """The tables of a dump, with rows and sizes."""
    sort, start = request.args.get("sort", "name"), request.args.get("from", "0")
    if sort not in _SORTS or not (start.isdecimal() and len(start) < 9):
        abort(400, f"Tables are sorted by {', '.join(_SORTS)}, and shown from a number on.")
    with closing(_open(backup_id)) as point:
        root = browsing.database(point, _asked("name") or "database:")
        tables = sorted(browsing.tables(root), key=_SORTS[sort])
    first = int(start)
    return render_template(
        "restores/database.html",
        point=point.backup,
        root=root,
        is_sqlite=root.kind == SQLITE,
        tables=tables[first : first + _SHOWN],
        count=len(tables),
        first=first,
        step=_SHOWN,
        sort=sort,
    )


@pages.get("/schema")
@needs("backups.browse")
def schema(backup_id: str) -> Any:
    """The definitions of a dump as SQL, without a row; with `file=yes` to keep."""
    name = _asked("name") or "database:"
    with closing(_open(backup_id)) as point:
        root = browsing.database(point, name)
        whole = b"".join(downloads.schema(installation(), point, name))
    if request.args.get("file") == "yes":
        response = Response(whole, content_type=MEDIA_TYPE)
        kept_as = downloads.disposition(downloads.safe_name(f"{root.name}-schema.sql"))
        response.headers["Content-Disposition"] = kept_as
        return response
    text = whole[:_SCHEMA_BYTES].decode("utf-8", "replace")
    is_cut = len(whole) > _SCHEMA_BYTES
    return render_template("restores/schema.html", point=point.backup, root=root, text=text, is_cut=is_cut)


@pages.post("/download")
@needs("backups.download")
def download(backup_id: str) -> Response:
    """One file, a folder as an archive, or a dump, as a stream."""
    wish = Wish(backup_id, unquoted(request.form.get("what", "")), request.form.get("form", AS_IS))
    return sent(installation(), g.actor, wish)


@pages.post("/fetch")
@needs("backups.download")
def fetch(backup_id: str) -> Any:
    """What was chosen in a folder: one file (`file`), one folder (`zip`), or all `names` in the archive `form`."""
    folder = unquoted(request.form.get("folder", ""))
    for field, form in (("file", AS_IS), ("zip", ZIP)):
        if name := request.form.get(field):
            return sent(installation(), g.actor, Wish(backup_id, _join(folder, unquoted(name)), form))
    form = request.form.get("form", ZIP)
    names = _names()
    if form not in (ZIP, TAR) or not names:
        abort(400, "Nothing is chosen. Tick some files, then download them as zip or tar.")
    return sent(installation(), g.actor, Wish(backup_id, folder, form, names))


@pages.post("/restore")
@needs("backups.restore")
def restore(backup_id: str) -> Any:
    """Begins a restore of what was chosen: `names` in a folder, or `parts` as a restore names them."""
    folder = unquoted(request.form.get("folder", ""))
    parts = [unquoted(each) for each in request.form.getlist("parts")[:_MOST_NAMES]]
    chosen = [*(_join(folder, name) for name in _names()), *parts]
    if not chosen:
        abort(400, "Nothing is chosen. Tick what shall be restored.")
    with closing(_open(backup_id)) as point:
        draft = restore_drafts.begin(installation(), g.actor.identity, point.backup, chosen)
    return redirect(url_for("restores.target", draft_id=draft.public_id), 303)


def _folder(point: Point, path: str) -> str:
    """A page of a folder: as many entries as fit, behind the name `after`."""
    own, after = installation(), _asked("after")
    only_changed = request.args.get("changed") == "yes"
    earlier = folders.previous(own, point.backup)
    before, blind = _opened(point, earlier)
    try:
        found = folders.lines(point, before, path, only_changed=only_changed and before is not None)
        rest = found if after is None else itertools.dropwhile(lambda each: each.entry.name <= _bytes(after), found)
        lines, more = _fitting(rest, path)
    finally:
        if before is not None and before.reader is not point.reader:
            before.close()
    last = lines[-1].entry.name.decode("utf-8", "surrogateescape") if more else None
    return render_template(
        "restores/files.html",
        point=point.backup,
        path=path,
        lines=lines,
        following=last,
        after=after,
        earlier=earlier,
        blind=blind,
        only_changed=only_changed,
        mode=browsing.file_mode,
    )


def _fitting(rest: Iterator[Line], path: str) -> tuple[list[Line], bool]:
    """As many as a page of 40 KB takes, each with its name in several places, and whether there are more."""
    kept: list[Line] = []
    room = _ROOM
    for line in rest:
        room -= _ROW + 6 * len(line.entry.name) + 2 * len(path)
        if kept and room < 0:
            return kept, True
        kept.append(line)
    return kept, False


def _opened(point: Point, earlier: Backup | None) -> tuple[Point | None, bool]:
    """The point before, and whether it is there but cannot be read now."""
    if earlier is None:
        return None, False
    with suppress(EngineError, ServiceError):
        return browsing.beside(installation(), earlier, point, tell=silent), False
    return None, True


def _open(backup_id: str) -> Point:
    return browsing.open_point(installation(), backup_id, tell=silent)


def _names() -> tuple[str, ...]:
    return tuple(unquoted(each) for each in request.form.getlist("names")[:_MOST_NAMES])


def _join(folder: str, name: str) -> str:
    return name if name.startswith("/") or not folder else f"{folder.rstrip('/')}/{name}"


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _asked(name: str) -> str | None:
    """Names are bytes: Flask would read those that are no UTF-8 wrongly."""
    found = parse_qs(request.query_string.decode("ascii", "replace"), errors="surrogateescape").get(name)
    return found[0] if found else None
