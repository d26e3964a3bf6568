"""What is in a restore point: folders, tables, and the bytes of a file, a dump or a folder. Not for managers."""

from __future__ import annotations

import base64
import binascii
import itertools
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any, Literal

from pydantic import StringConstraints

from webapp.api.backups import started
from webapp.api.endpoint import Answer, Call, Query, Routes
from webapp.api.schemas import (
    COUNT,
    RUN,
    TEXT,
    TIME,
    Page,
    TypedPath,
    or_null,
    page,
    page_of,
    read_cursor,
    record,
)
from webapp.errors import Fault, Faulty
from webapp.schema.fields import Model
from webapp.sending import sent
from webapp.services import browsing, downloads, exports, links
from webapp.services.browsing import Entry, Point
from webapp.services.downloads import Wish
from webapp.services.repositories import silent

ROUTES = Routes()
Form = Literal["file", "dump", "sql", "zip", "tar"]
_ENTRY = record(
    name=TEXT,
    kind=TEXT,
    mode=or_null(TEXT),
    uid=or_null(COUNT),
    gid=or_null(COUNT),
    owner=or_null(TEXT),
    group=or_null(TEXT),
    size=or_null(COUNT),
    modifiedAt=or_null(TIME),
    target=or_null(TEXT),
)
_TABLE = record(database=TEXT, schema=TEXT, name=TEXT, rows=or_null(COUNT), bytes=or_null(COUNT))
_LINK = record(linkId=TEXT, url=TEXT, name=TEXT, size=or_null(COUNT), expiresAt=TIME)


class Folder(Page):
    """Which folder; none: the folders and databases that were backed up."""

    path: TypedPath | None = None
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=400)] | None = None


class Tables(Page):
    """Of which database; none: of all."""

    database: TypedPath | None = None


class What(Query):
    """What is fetched, in which form: `file` as it is kept, `dump`, `sql`, or a folder as `zip` or `tar`."""

    path: TypedPath
    form: Form = "file"


class Part(Model):
    """What of a restore point, as of a download."""

    path: TypedPath
    form: Form = "file"


@ROUTES.add(
    "GET",
    "/backups/<backup_id>/files",
    permission="backups.browse",
    query=Folder,
    answer=page_of(_ENTRY),
    errors=(404, 409, 503),
)
def list_files(call: Call) -> Answer:
    """What a folder of a restore point holds, by name; names that are not UTF-8 have \\udc80 to \\udcff in them."""
    asked = call.query
    with closing(_point(call)) as point:
        entries = _roots(point) if asked.path is None else browsing.entries(point, asked.path)
        after = _after(asked.cursor)
        rest = entries if after is None else itertools.dropwhile(lambda each: each.name <= after, entries)
        kept = list(itertools.islice(rest, asked.limit + 1))
    more = len(kept) > asked.limit
    items = [_entry(each) for each in kept[: asked.limit]]
    return Answer({"items": items, "nextCursor": _cursor(kept[asked.limit - 1].name) if more else None})


@ROUTES.add(
    "GET",
    "/backups/<backup_id>/tables",
    permission="backups.browse",
    query=Tables,
    answer=page_of(_TABLE),
    errors=(404, 409, 503),
)
def list_tables(call: Call) -> Answer:
    """The tables of the dumps in a restore point."""
    asked = call.query
    with closing(_point(call)) as point:
        roots = point.databases if asked.database is None else [browsing.database(point, asked.database)]
        every = [(root, table) for root in roots for table in browsing.tables(root)]
    first = read_cursor(asked.cursor) or 0
    numbered = list(enumerate(every))[first : first + asked.limit + 1]
    found = page(numbered, asked.limit, lambda row: row[0] + 1)
    items = [
        {
            "database": f"{root.kind}:{root.name}",
            "schema": table.schema,
            "name": table.name,
            "rows": table.rows,
            "bytes": table.bytes,
        }
        for _, (root, table) in found["items"]
    ]
    return Answer({**found, "items": items})


@ROUTES.add(
    "GET",
    "/backups/<backup_id>/download",
    permission="backups.download",
    query=What,
    answer={"type": "string", "format": "binary"},
    media="application/octet-stream",
    errors=(404, 409, 503),
    headers=("Content-Disposition",),
)
def download(call: Call) -> Answer:
    """A file, a dump or its SQL, or a folder as zip or tar, as a stream."""
    asked = call.query
    return Answer(sent(call.installation, call.actor, Wish(call.path["backup_id"], asked.path, asked.form)))


@ROUTES.add(
    "POST",
    "/backups/<backup_id>/download-link",
    permission="backups.download",
    body=Part,
    answer=_LINK,
    status=201,
    errors=(404, 409, 503),
)
def create_download_link(call: Call) -> Answer:
    """A link for a browser or program of the same person, good once, for five minutes."""
    asked = call.body
    with closing(_point(call)) as point:
        found = downloads.open_download(call.installation, point, asked.path, asked.form)
        found.pieces.close()
        wish = Wish(point.backup.public_id, asked.path, asked.form)
    made = links.make(call.installation, call.actor, wish)
    base = (call.installation.settings.public_url or "").rstrip("/")
    document = {
        "linkId": made.link.public_id,
        "url": f"{base}/downloads/{made.secret}",
        "name": found.name,
        "size": found.size,
        "expiresAt": made.link.expires_at,
    }
    return Answer(document, 201)


@ROUTES.add(
    "POST",
    "/backups/<backup_id>/export",
    permission="backups.download",
    body=Part,
    answer=RUN,
    status=202,
    errors=(404, 409, 503),
    starts_work=True,
    headers=("Location",),
)
def export_backup(call: Call) -> Answer:
    """Puts a part of a restore point, as of a download, into the bucket that holds it, as an object in the clear."""
    wish = Wish(call.path["backup_id"], call.body.path, call.body.form)
    return started(exports.send(call.installation, call.actor, wish, tell=silent))


@ROUTES.add(
    "POST",
    "/runs/<run_id>/download-link",
    permission="backups.download",
    answer=_LINK,
    status=201,
    errors=(404, 409, 503),
)
def create_export_link(call: Call) -> Answer:
    """The store's link to what an export has put into a bucket, for five minutes, for anybody who has it."""
    made = exports.link_of(call.installation, call.actor, call.path["run_id"])
    document = {
        "linkId": made.link.public_id,
        "url": made.url,
        "name": made.name,
        "size": made.size,
        "expiresAt": made.expires_at,
    }
    return Answer(document, 201)


def _point(call: Call) -> Point:
    return browsing.open_point(call.installation, call.path["backup_id"], tell=silent)


def _roots(point: Point) -> Iterator[Entry]:
    yield from (Entry(root.path, "folder", size=root.bytes) for root in sorted(point.folders, key=lambda it: it.path))
    named = sorted((os.fsencode(f"{root.kind}:{root.name}"), root.size) for root in point.databases)
    yield from (Entry(name, "database", size=size) for name, size in named)


def _entry(entry: Entry) -> dict[str, Any]:
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
        "target": None if entry.target is None else os.fsdecode(entry.target),
    }


def _cursor(name: bytes) -> str:
    return base64.urlsafe_b64encode(name).decode().rstrip("=")


def _after(cursor: str | None) -> bytes | None:
    if cursor is None:
        return None
    try:
        name = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        name = b""
    if not name or _cursor(name) != cursor:
        raise Faulty("The query does not fit.", [Fault("/cursor", "is not one that this list gave.")])
    return name
