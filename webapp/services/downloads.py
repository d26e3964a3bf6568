"""What is in a restore point as one stream of bytes: a file, a dump, its SQL, a folder as tar or zip.

Memory stays the same however large it is: nothing is whole in memory or on a disk."""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from engine.errors import EngineError
from engine.errors import NotFound as Absent
from engine.model import tree
from engine.model.manifest import FilesRoot
from engine.restore import find
from engine.spool import scratch_folder
from webapp.errors import Invalid, NotFound, ServiceError
from webapp.installation import Installation
from webapp.services import archives, audit, browsing
from webapp.services.access import Actor
from webapp.services.backups import SPOOL
from webapp.services.browsing import Point
from webapp.services.keyrings import Tell

AS_IS, DUMP, SQL, ZIP, TAR = "file", "dump", "sql", "zip", "tar"
FORMS = (AS_IS, DUMP, SQL, ZIP, TAR)
_LONGEST_NAME = 150
_AUDITED = 100
_POSTGRES = "postgres"


@dataclass(frozen=True)
class Wish:
    """What shall be fetched: `backup_id` names a restore point, `path` a path as it was at the source or a database as
    it is listed, `form` is one of FORMS. With `names` only these entries of the folder are in the archive."""

    backup_id: str
    path: str
    form: str = AS_IS
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Download:
    """`name` is what a file with it may be called, safe in a header and on every system; `size` in bytes where it is
    known before. Reading `pieces` raises Corrupt, StorageError and TargetError; close them when leaving early."""

    name: str
    size: int | None
    pieces: Generator[bytes, None, None]


def fetch(installation: Installation, actor: Actor, wish: Wish, *, tell: Tell) -> Download:
    """Opens the restore point and begins; who fetches what, and how it ended, is noted in the audit log.

    Raises what `browsing.open_point` and `open_download` raise, and what reading the first bytes does: nobody is
    promised what cannot be read at all. Close the pieces in any case."""
    began = installation.clock()
    point = browsing.open_point(installation, wish.backup_id, tell=tell)
    try:
        found = open_download(installation, point, wish.path, wish.form, names=wish.names)
        first = next(found.pieces, b"")
    except BaseException:
        point.close()
        raise
    backup_id = point.backup.public_id
    audit.add(installation, actor, "download.begun", backup_id, after=described(wish))

    def pieces() -> Generator[bytes, None, None]:
        count, outcome, error = 0, audit.FAILED, "It was left before its end."
        try:
            yield b""  # begun, so that closing it ends it in order
            for piece in itertools.chain([first], found.pieces):
                count += len(piece)
                yield piece
            outcome, error = audit.DONE, ""
        except (EngineError, ServiceError) as failure:
            error = str(failure)
            raise
        finally:
            found.pieces.close()
            point.close()
            took = (installation.clock() - began).total_seconds()
            after = {**described(wish), "bytes": count}
            audit.add(
                installation,
                actor,
                "download.ended",
                backup_id,
                outcome=outcome,
                after=after,
                error=error or None,
                duration_seconds=took,
            )

    begun = pieces()
    next(begun)
    return Download(found.name, found.size, begun)


@contextmanager
def audited(installation: Installation, actor: Actor, wish: Wish) -> Iterator[None]:
    """Notes that `actor` reads this in the block, and how that ended: for who does not `fetch` it."""
    began = installation.clock()
    audit.add(installation, actor, "download.begun", wish.backup_id, after=described(wish))
    outcome, error = audit.FAILED, "It was left before its end."
    try:
        yield
        outcome, error = audit.DONE, ""
    except (EngineError, ServiceError) as failure:
        error = str(failure)
        raise
    finally:
        facts = {"after": described(wish), "outcome": outcome, "error": error or None}
        took = (installation.clock() - began).total_seconds()
        audit.add(installation, actor, "download.ended", wish.backup_id, duration_seconds=took, **facts)


def described(wish: Wish) -> dict[str, Any]:
    """What the audit log keeps of a wish."""
    kept: dict[str, Any] = {"backupId": wish.backup_id, "path": _text(wish.path), "form": wish.form}
    return {**kept, "names": [_text(name) for name in wish.names[:_AUDITED]]} if wish.names else kept


def open_download(
    installation: Installation, point: Point, path: str, form: str = AS_IS, *, names: Sequence[str] = ()
) -> Download:
    """What `path` names (a path as it was at the source, or a database as it is listed) in this form.

    Raises NotFound, and Invalid for a form that does not suit it."""
    if form not in FORMS:
        raise Invalid(f"There is no form {form}.", hint=f"The forms are {', '.join(FORMS)}.")
    if form in (ZIP, TAR):
        return _archive(point, path, form, names)
    if form == AS_IS:
        content = browsing.content(point, path)
        return Download(safe_name(content.name), content.size, content.pieces)
    root = browsing.database(point, path)
    content = browsing.content(point, f"{root.kind}:{root.name}")
    if root.kind != _POSTGRES:
        raise Invalid(f"{path} is a {root.kind} database, which is kept as a file.", hint="Ask for the form `file`.")
    if form == DUMP:
        return Download(safe_name(content.name), content.size, content.pieces)
    name = safe_name(content.name.removesuffix(browsing.DUMP_SUFFIX) + ".sql")
    return Download(name, None, _script(installation, root.facts, content.pieces))


def safe_name(text: str) -> str:
    """A file's name without what could lead elsewhere, hide its end, or end the header that it stands in."""
    plain = "".join(sign if sign.isprintable() and sign not in '/\\:*?"<>|' else "_" for sign in text)
    stem, suffix = posixpath.splitext(plain.strip(" "))
    return (stem[: _LONGEST_NAME - len(suffix[:20])] + suffix[:20]).strip(". ") or "download"


def disposition(name: str) -> str:
    """The header that makes a browser keep it as a file of this name, never show it (RFC 6266)."""
    plain = "".join(sign if " " <= sign <= "~" else "_" for sign in name).replace('"', "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _archive(point: Point, path: str, form: str, names: Sequence[str]) -> Download:
    """A folder, below its own name, with what is in it: files, folders and links; or of it only what is named."""
    root = _folder(point, path)
    name = os.fsdecode(posixpath.basename(root.path)) or "folder"
    roots = _children(point, root, names) if names else [root]
    members = itertools.chain.from_iterable(archives.members(point.reader, each) for each in roots)
    if form == ZIP:
        return Download(safe_name(f"{name}.zip"), None, archives.zipped(point.reader, members))
    return Download(safe_name(f"{name}.tar"), None, archives.tarred(point.reader, members))


def _children(point: Point, root: FilesRoot, names: Sequence[str]) -> list[FilesRoot]:
    """Entries of a folder, each as a root of its own. Raises NotFound."""
    wanted = set(map(os.fsencode, names))
    above = root.path.rstrip(b"/") + b"/"
    nodes = point.reader.nodes(root.node.content or b"")
    found = [replace(root, path=above + node.name, node=node) for node in nodes if node.name in wanted]
    if missing := wanted - {each.node.name for each in found}:
        raise NotFound(f"{os.fsdecode(min(missing))} is not in {os.fsdecode(root.path)} of {point.backup.public_id}.")
    return found


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _folder(point: Point, path: str) -> FilesRoot:
    """The folder as a root of its own."""
    wanted = b"/" + posixpath.normpath(os.fsencode(path)).strip(b"/")
    for root in sorted(point.folders, key=lambda root: -len(root.path)):
        with suppress(Absent):
            node = find(point.reader, replace(point.manifest, roots=(root,)), wanted)
            if node.kind != tree.DIRECTORY:
                raise Invalid(f"{path} is not a folder.", hint=f"Ask for the form `{AS_IS}`.")
            return replace(root, path=wanted, node=node)
    raise NotFound(
        f"{path} is not a folder in the restore point {point.backup.public_id}.",
        hint="Paths begin with / as they were at the source, within one of the folders that were backed up.",
    )


def _script(
    installation: Installation, facts: dict[str, Any], pieces: Iterable[bytes], *, schema_only: bool = False
) -> Generator[bytes, None, None]:
    from engine.postgres.script import as_sql

    settings = installation.settings
    with scratch_folder(settings.home / SPOOL) as scratch:
        path = settings.environment.get("PATH", "")
        yield from as_sql(
            pieces, facts=facts, scratch=scratch, pg_bin=settings.pg_bin, path=path, schema_only=schema_only
        )


def schema(installation: Installation, point: Point, name: str) -> Iterator[bytes]:
    """The definitions in a PostgreSQL dump as SQL, without a row: only its table of contents is read. Raises NotFound,
    and Invalid where they cannot be told."""
    root = browsing.database(point, name)
    contents = root.facts.get("toc")
    if root.kind != _POSTGRES or contents is None:
        raise Invalid(f"The definitions of {root.name} cannot be shown.", hint="Download the database to see them.")
    head = point.reader.slice(root.content, root.size, contents["offset"], contents["length"])
    return _script(installation, root.facts, head, schema_only=True)
