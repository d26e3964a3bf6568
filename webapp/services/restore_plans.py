"""What a restore will put where: from what was typed and what the restore point holds, before anything is touched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.errors import EngineError, TargetError
from engine.errors import NotFound as Absent
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from engine.postgres.connection import Connection, default_name, parse_url
from engine.postgres.selection import Selection, select
from engine.repository.reader import BlobReader
from engine.restore import find, walk
from engine.sources.sqlite import KIND as SQLITE
from webapp.errors import ConfigurationInvalid, Invalid, NotFound
from webapp.installation import Installation
from webapp.models import Backup, Configuration
from webapp.schema import placeholders
from webapp.schema.redact import HIDDEN
from webapp.schema.resolve import resolve_databases
from webapp.services import configurations

SCHEMES = ("postgresql://", "postgres://")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SHORT = slice(3, 11)


@dataclass(frozen=True)
class Typed:
    """What was typed, made sense of: `folder` and `server` where things go (None: the defaults), `paths` and `tables`
    what is wanted (none at all: everything)."""

    folder: Path | None
    server: Connection | None
    paths: tuple[bytes, ...]
    tables: tuple[str, ...]

    @property
    def has_target(self) -> bool:
        return self.folder is not None or self.server is not None

    @property
    def is_part(self) -> bool:
        return bool(self.paths or self.tables)


@dataclass(frozen=True)
class FolderPart:
    """What is restored below `target`, each at its own path: folders (`roots`; of these `only` these paths, if any) and
    the SQLite `databases`. `files` and `bytes` are those of the folders."""

    target: Path
    only: tuple[bytes, ...]
    roots: tuple[str, ...]
    files: int
    bytes: int
    databases: tuple[StreamRoot, ...] = ()

    @property
    def needed_bytes(self) -> int:
        """What all of it takes."""
        return self.bytes + sum(root.size for root in self.databases)


@dataclass(frozen=True)
class DatabasePart:
    """A dump to restore into the new database that `connection` names; with `selection` only some of its tables."""

    root: StreamRoot
    connection: Connection
    selection: Selection | None

    @property
    def bytes(self) -> int:
        """Bytes to read."""
        return self.root.size if self.selection is None else self.selection.size

    @property
    def tables(self) -> int:
        """How many tables."""
        if self.selection is not None:
            return len(self.selection.tables)
        return len(self.root.facts.get("tables", ())) + len(self.root.facts.get("tablesWithoutData", ()))


@dataclass(frozen=True)
class Plan:
    """`left_out` are parts of the restore point that nothing was typed for; `warnings` what the user should know."""

    backup: Backup
    folder: FolderPart | None
    databases: tuple[DatabasePart, ...]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())


def read_typed(targets: Sequence[str], only: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Typed:
    """`--to` and `--only`. Raises Invalid."""
    if any("\0" in text for text in (*targets, *only)):
        raise Invalid("No path and no name holds a NUL character.", hint="Type it again.")
    folder: Path | None = None
    server: Connection | None = None
    for text in targets:
        if text.startswith(SCHEMES) or placeholders.is_whole(text):
            if server is not None:
                raise Invalid("--to names two databases.", hint="Restore them one after the other, each with --only.")
            server = _server(text, environment)
        elif _URL.match(text):
            scheme = text.partition("://")[0]
            raise Invalid(
                f"--to takes no {scheme}:// URL.",
                hint="Give postgresql://host/database, or a folder; SQLite databases land in a folder too.",
            )
        elif folder is not None:
            raise Invalid("--to names two folders.", hint="Give one; every folder lands below it at its own path.")
        elif not text:
            raise Invalid("--to is empty.", hint="Give a folder or postgresql://host/database.")
        else:
            folder = Path(os.path.normpath(cwd / text))
    paths = tuple(os.fsencode(os.path.normpath(text)) for text in only if text.startswith("/"))
    tables = tuple(text for text in only if not text.startswith("/"))
    if "" in tables:
        raise Invalid("--only is empty.", hint="Give /a/path or [database:]schema.table.")
    return Typed(folder, server, tuple(path.replace(b"//", b"/") for path in paths), tables)


def make(
    installation: Installation, typed: Typed, backup: Backup, reader: BlobReader, manifest: Manifest, *, cwd: Path
) -> Plan:
    """The plan of a restore. Raises Invalid for what does not fit together, NotFound for a path or table that is not
    in the restore point, and TargetError when the target's server cannot be asked."""
    folders = [root for root in manifest.roots if isinstance(root, FilesRoot)]
    streams = [root for root in manifest.roots if isinstance(root, StreamRoot)]
    dumps = [root for root in streams if root.kind != SQLITE]
    files = tuple(root for root in streams if root.kind == SQLITE)
    takes_folders, takes_dumps, is_part = bool(folders), bool(dumps), typed.is_part
    if is_part:
        typed, files = _choose_files(typed, files, has_dumps=takes_dumps)
        takes_folders, takes_dumps = bool(typed.paths), bool(typed.tables)
    _refuse_unused(typed, backup, takes_files=takes_folders or bool(files), takes_dumps=takes_dumps, is_part=is_part)
    left_out: list[str] = []
    if typed.has_target and typed.folder is None:
        left_out += [os.fsdecode(root.path) for root in folders if takes_folders]
        left_out += [f"the database {root.name}" for root in files]
        takes_folders, files = False, ()
    if typed.has_target and typed.server is None and takes_dumps:
        left_out += [f"the database {root.name}" for root in dumps]
        takes_dumps = False
    folder = None
    if takes_folders or files:
        folder = _folder_part(typed, folders if takes_folders else (), files, reader, manifest, cwd, backup)
    databases = _database_parts(installation, typed, backup, dumps, reader, manifest, cwd) if takes_dumps else ()
    warnings = tuple(warning for part in databases if part.selection for warning in part.selection.warnings)
    return Plan(backup, folder, tuple(databases), tuple(left_out), warnings)


def _choose_files(
    typed: Typed, files: Sequence[StreamRoot], *, has_dumps: bool
) -> tuple[Typed, tuple[StreamRoot, ...]]:
    """The SQLite databases that `--only` names, by their path or as `sqlite:PATH`, and what else is typed. Raises
    Invalid for a single table of one."""
    names = {spelled for root in files for spelled in (root.name, f"{SQLITE}:{root.name}")}
    texts = {os.fsdecode(path) for path in typed.paths} | {text.removesuffix(":") for text in typed.tables}
    chosen = tuple(root for root in files if {root.name, f"{SQLITE}:{root.name}"} & texts)
    tables = tuple(text for text in typed.tables if text.removesuffix(":") not in names)
    if tables and files and (not has_dumps or tables[0].startswith(f"{SQLITE}:")):
        raise Invalid(
            f"--only {tables[0]}: no single table can be restored out of a SQLite database.",
            hint=f"Restore it whole (--only {SQLITE}:{files[0].name}) and copy the table with sqlite3.",
        )
    paths = tuple(path for path in typed.paths if os.fsdecode(path) not in names)
    return replace(typed, paths=paths, tables=tables), chosen


def _refuse_unused(typed: Typed, backup: Backup, *, takes_files: bool, takes_dumps: bool, is_part: bool) -> None:
    """Raises Invalid where `--to` and `--only` do not fit together: nothing that was typed is silently ignored."""
    if is_part and takes_files and typed.has_target and typed.folder is None:
        raise Invalid("--only names paths, but no --to is a folder.", hint="Add --to FOLDER.")
    if typed.tables and typed.has_target and typed.server is None:
        raise Invalid("--only names tables, but no --to is a database.", hint="Add --to postgresql://host/name.")
    why = "--only names none" if is_part else f"{backup.public_id} holds none"
    if typed.server is not None and not takes_dumps:
        raise Invalid(f"--to names a PostgreSQL database, but {why}.", hint="Leave that --to out.")
    if typed.folder is not None and not takes_files:
        raise Invalid(f"--to names a folder, but {why}.", hint="Leave that --to out.")
    if not takes_files and not takes_dumps:
        raise Invalid(f"{backup.public_id} holds nothing that could be restored.")


def _server(text: str, environment: Mapping[str, str]) -> Connection:
    if detail := placeholders.fault(text):
        raise Invalid(f"--to {detail}")
    try:
        return parse_url(placeholders.substitute(text, environment, in_url=True), error=TargetError)
    except KeyError as error:
        raise Invalid(f"--to names ${{{error.args[0]}}}, but that variable is not set.") from None
    except EngineError as error:
        raise Invalid(error.message, hint=error.hint) from None


def _folder_part(
    typed: Typed,
    roots: Sequence[FilesRoot],
    databases: tuple[StreamRoot, ...],
    reader: BlobReader,
    manifest: Manifest,
    cwd: Path,
    backup: Backup,
) -> FolderPart:
    target = typed.folder or _free_folder(cwd / f"restored-{backup.public_id[_SHORT]}")
    only = tuple(_expand(typed.paths, roots))
    if not only:
        names = tuple(os.fsdecode(root.path) for root in roots)
        files, size = sum(root.files for root in roots), sum(root.bytes for root in roots)
        return FolderPart(target, (), names, files, size, databases)
    files = size = 0
    for path in only:
        count, total = measure(reader, manifest, path)
        files, size = files + count, size + total
    return FolderPart(target, only, tuple(os.fsdecode(path) for path in only), files, size, databases)


def _expand(paths: Sequence[bytes], roots: Sequence[FilesRoot]) -> Iterator[bytes]:
    """A path above folders of the restore point means these folders."""
    for path in paths:
        above = path.rstrip(b"/") + b"/"
        below = [root.path for root in roots if root.path.startswith(above)]
        yield from below or [path]


def measure(reader: BlobReader, manifest: Manifest, path: bytes) -> tuple[int, int]:
    """Files and bytes at and below a path. Raises NotFound."""
    try:
        node = find(reader, manifest, path)
    except Absent as error:
        raise NotFound(error.message, hint="`backup-cli ls` shows what is in it.") from None
    if node.kind != tree.DIRECTORY:
        return 1, node.size
    files = size = 0
    for _, below in walk(reader, FilesRoot(path, node, 0, 0)):
        files += below.kind != tree.DIRECTORY
        size += below.size
    return files, size


def _free_folder(wanted: Path) -> Path:
    number = 1
    path = wanted
    while os.path.lexists(path):
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


def _database_parts(
    installation: Installation,
    typed: Typed,
    backup: Backup,
    streams: Sequence[StreamRoot],
    reader: BlobReader,
    manifest: Manifest,
    cwd: Path,
) -> tuple[DatabasePart, ...]:
    wanted = _wanted_tables(typed.tables, streams)
    chosen = [root for root in streams if not typed.tables or root.name in wanted]
    if typed.server is not None and typed.server.database and len(chosen) > 1:
        names = ", ".join(root.name for root in chosen)
        raise Invalid(
            f"{backup.public_id} holds several databases ({names}), but --to names one.",
            hint="Name the server alone (postgresql://host/), or choose one with --only NAME:",
        )
    parts = []
    for root in chosen:
        selection = _selection(reader, root, wanted.get(root.name, ()))
        server = typed.server or source_server(installation, backup, manifest, root, cwd)
        if typed.server is None or not server.database:
            server = server.with_database(_free_name(server, root.name, backup.public_id[_SHORT]))
        parts.append(DatabasePart(root, server, selection))
    return tuple(parts)


def _wanted_tables(tables: Sequence[str], streams: Sequence[StreamRoot]) -> dict[str, list[str]]:
    """The tables that are wanted of each database; an empty list means the whole of it (`--only NAME:`)."""
    wanted: dict[str, list[str]] = {}
    whole: set[str] = set()
    for text in tables:
        named = [root for root in streams if text.startswith(f"{root.name}:")]
        candidates = named or list(streams)
        if len(candidates) != 1:
            names = ", ".join(root.name for root in candidates) or "none"
            raise Invalid(
                f"It is not clear which database --only {text} is meant for ({names}).",
                hint="Write database:schema.table.",
            )
        root = candidates[0]
        table = text.removeprefix(f"{root.name}:") if named else text
        wanted.setdefault(root.name, [])
        if table:
            wanted[root.name].append(table)
        else:
            whole.add(root.name)
    return {name: [] if name in whole else chosen for name, chosen in wanted.items()}


def _selection(reader: BlobReader, root: StreamRoot, tables: Sequence[str]) -> Selection | None:
    if not tables:
        return None
    from engine.postgres.toc import parse_toc

    contents = root.facts.get("toc")
    if contents is None:
        raise Invalid(
            f"Single tables cannot be taken out of this dump of {root.name}: its format is not known.",
            hint="Restore the whole database.",
        )
    data = b"".join(reader.slice(root.content, root.size, contents["offset"], contents["length"]))
    try:
        return select(parse_toc(data), root.facts, tables, database=root.name)
    except TargetError as error:
        raise NotFound(error.message, hint=error.hint) from None


def source_server(
    installation: Installation, backup: Backup, manifest: Manifest, root: StreamRoot, cwd: Path
) -> Connection:
    """Where the dump came from, as the configuration says today. Raises Invalid."""
    hint = "Say where it shall go: --to postgresql://host/name"
    with installation.database.reading() as session:
        configuration = session.get(Configuration, backup.config_id)
    document = manifest.config if configuration is None else configurations.typed(installation, configuration)
    try:
        settings = installation.settings
        sources = resolve_databases(document, settings.environment, cwd=cwd, home=settings.home)
    except ConfigurationInvalid as error:
        reason = " ".join(str(fault) for fault in error.faults)
        raise Invalid(f"The server of the database {root.name} is not known here: {reason}", hint=hint) from None
    for source in sources:
        if HIDDEN in source.url or source.sqlite_path is not None:
            continue
        connection = parse_url(
            source.url, sslmode=source.sslmode or "", sslrootcert=str(source.sslrootcert or ""), error=TargetError
        )
        if connection.database in ("", root.name):
            return connection
    raise Invalid(
        f"The configuration {backup.config_id} does not say where the database {root.name} came from.", hint=hint
    )


def _free_name(server: Connection, base: str, short: str) -> str:
    """`<base>_restored_<id>`, with a number behind it where there is one already."""
    from engine.postgres import catalog
    from engine.postgres.session import connect_anywhere, errors_in_words

    session = connect_anywhere(server, error=TargetError)
    try:
        with errors_in_words(server, error=TargetError):
            number = 1
            name = default_name(base, short)
            while catalog.exists(session, name):
                number += 1
                name = default_name(base, f"{short}_{number}")
            return name
    finally:
        session.close()
