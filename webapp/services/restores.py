"""`restore`: a restore point, or a part of it, into a new folder and new databases. Nothing that exists is touched."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.compare import NOT_IN_BACKUP, compare_folder
from engine.errors import TargetError
from engine.metadata import ATTRIBUTE_DIFFERS
from engine.model.manifest import Manifest, StreamRoot
from engine.progress import Progress, Silent
from engine.repository.failover import FailoverReader
from engine.restore import restore_folders
from engine.spool import scratch_folder
from engine.targets.base import Restored
from engine.targets.directory import DirectoryTarget
from webapp.errors import Conflict, Difference, Invalid, NotFound
from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import FAILED, SUCCEEDED, WARNING
from webapp.services import repositories, restore_plans, runs, staging, target_places, work
from webapp.services.backups import SPOOL
from webapp.services.heartbeat import Heartbeat
from webapp.services.keyrings import Tell
from webapp.services.replaceable import DatabasePlace, FolderPlace, Place
from webapp.services.restore_plans import DatabasePart, FolderPart, Plan, Typed
from webapp.services.runs import NewRun
from webapp.services.work import Ended, Finished

if TYPE_CHECKING:
    from engine.postgres.connection import Connection
    from engine.targets.postgres import PostgresTarget

_NAMED = 5


@dataclass(frozen=True)
class Order:
    """Who wants which restore point where. `jobs` restore a database side by side; `verify` compares the restored
    folder with what was backed up again; `practice` removes everything that was restored when it has been compared."""

    backup: str
    identity: str
    targets: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    jobs: int = 1
    verify: bool = False
    practice: bool = False
    run_id: int | None = None


def plan(installation: Installation, order: Order, *, cwd: Path, tell: Tell) -> Plan:
    """What `restore` would do; nothing is touched. The targets are asked whether they would take it.

    Raises NotFound, Invalid, TargetError, and what opening the repository raises.
    """
    typed = _typed(installation, order, cwd)
    backup = repositories.find_backup(installation, order.backup)
    reader, manifest = repositories.reader_for(installation, backup, tell=tell)
    with closing(reader):
        made = restore_plans.make(installation, typed, backup, reader, manifest, cwd=cwd)
    if made.folder is not None and not order.practice:
        target_places.refuse(installation, made.folder.target)
    with scratch_folder(installation.settings.home / SPOOL) as scratch:
        warnings = _probe(installation, made, scratch, order.jobs)
    return Plan(made.backup, made.folder, made.databases, made.left_out, (*made.warnings, *warnings))


def restore(installation: Installation, order: Order, *, cwd: Path, progress: Progress, tell: Tell) -> Finished:
    """Carries a restore out; how it ended, with its error, is in the answer. A folder takes its name when all is in it,
    a database that fails is dropped again.

    A queued run that carries out a plan, or an undo, is handed on to services/replacing.py. Raises what stops it before
    it becomes a run: NotFound, Invalid.
    """
    if order.run_id is not None and (handed := _handed_on(installation, order, cwd, progress, tell)):
        return handed
    typed = _typed(installation, order, cwd)
    backup = repositories.find_backup(installation, order.backup)
    new = NewRun(
        "restore",
        order.identity,
        config_id=backup.config_id,
        backup_id=backup.public_id,
        type=backup.type,
        arguments={"only": [each.encode("utf-8", "backslashreplace").decode() for each in order.only]},
        run_id=order.run_id,
    )

    def carry_out(run: Run, watch: Heartbeat) -> Ended:
        reader, manifest = repositories.reader_for(installation, backup, tell=tell)
        with closing(reader), scratch_folder(installation.settings.home / SPOOL) as scratch:
            made = restore_plans.make(installation, typed, backup, reader, manifest, cwd=cwd)
            if made.folder is not None and not order.practice:
                target_places.refuse(installation, made.folder.target)
            for part in made.left_out:
                tell(f"Left out, since no --to is for it: {part}")
            return fill(installation, order, made, reader, manifest, run, watch, scratch, tell)

    return work.carry_out(installation, new, progress, carry_out)


def fill(
    installation: Installation,
    order: Order,
    made: Plan,
    reader: FailoverReader,
    manifest: Manifest,
    run: Run,
    watch: Heartbeat,
    scratch: Path,
    tell: Tell,
) -> Ended:
    """Restores what the plan says to places that are new, inside of a run. Raises EngineError."""
    _probe(installation, made, scratch, order.jobs)
    for each in made.databases:
        _sweep(installation, each.connection, scratch, tell)
    return _Restore(installation, order, made, reader, manifest, run, watch, scratch, tell).carry_out()


def sweep_beside(installation: Installation, place: Place, *, tell: Tell) -> None:
    """Removes what restores left beside a target whose process was killed. Raises EngineError."""
    if isinstance(place, DatabasePlace):
        _sweep(installation, place.connection, installation.settings.home, tell)
    elif isinstance(place, FolderPlace):
        staging.sweep(installation, place.path.parent)


def _handed_on(installation: Installation, order: Order, cwd: Path, progress: Progress, tell: Tell) -> Finished | None:
    from webapp.services import replace_plans, replacing

    assert order.run_id is not None
    asked = runs.fetch(installation, order.run_id).arguments
    if "undo" in asked:
        return replacing.undo(
            installation, order.identity, asked["undo"], progress=progress, tell=tell, run_id=order.run_id
        )
    if "planId" not in asked:
        return None
    plan = replace_plans.find(installation, asked["planId"])
    return replacing.execute(
        installation, order.identity, plan, cwd=cwd, progress=progress, tell=tell, run_id=order.run_id
    )


class _Restore:
    """The state of one restore: what it works with and what it has done so far."""

    def __init__(
        self,
        installation: Installation,
        order: Order,
        made: Plan,
        reader: FailoverReader,
        manifest: Manifest,
        run: Run,
        watch: Heartbeat,
        scratch: Path,
        tell: Tell,
    ) -> None:
        self._installation = installation
        self._order = order
        self._plan = made
        self._reader = reader
        self._manifest = manifest
        self._run = run
        self._watch = watch
        self._scratch = scratch
        self._tell = tell
        self._restored = Restored()
        self._databases: list[dict[str, Any]] = []
        self._targets: list[dict[str, Any]] = []
        self._differences: list[tuple[str, str]] = []
        self._differing = 0  # with those that were told as problems already

    def carry_out(self) -> Ended:
        """Databases first: most of what can go wrong goes wrong there."""
        try:
            for part in self._plan.databases:
                self._restore_database(part)
            if self._plan.folder is not None:
                self._restore_folder(self._plan.folder)
        except BaseException:
            for done in [] if self._order.practice else self._databases:
                self._tell(f"The database {done['name']} was restored completely before that, and stays.")
            raise
        for each in self._reader.substitutions():
            self._watch.problem("destination", each.place, each.describe())
        error = self._error()
        state = FAILED if error else WARNING if self._watch.counters.problems else SUCCEEDED
        return Ended(state, self._document(), self._plan.backup.public_id, error)

    def _restore_database(self, part: DatabasePart) -> None:
        target = _target(
            self._installation, part.connection, self._scratch, progress=self._watch, label=self._run.public_id
        )
        self._watch.phase(f"database {part.root.name}", expected=part.bytes)
        with closing(self._chunks(part)) as chunks:
            target.receive(part.root.facts, chunks, tables=part.selection, jobs=self._order.jobs, size=part.root.size)
        self._watch.phase(f"comparing {part.connection.database}")
        report = target.finish()
        # What a choice of tables leaves out was asked for; anything else is not as it was.
        expected = part.selection.warnings if part.selection else ()
        differing = [warning for warning in report.warnings if warning not in expected]
        for warning in report.warnings:
            if warning in expected:
                self._tell(f"Note: {warning}")
            else:
                self._watch.problem("database", report.database, warning)
        self._watch.advance(items=1)
        self._databases.append({"name": report.database, "tables": report.tables, "bytes": part.bytes})
        compared = _compared(len(differing), tables=report.tables, rows=report.rows)
        self._targets.append({"kind": "database", "target": target.describe(), "compared": compared})
        if self._order.practice:
            target.discard()

    def _chunks(self, part: DatabasePart) -> Generator[bytes]:
        root, selection = part.root, part.selection
        ranges = ((0, root.size),) if selection is None else selection.ranges
        for offset, length in ranges:
            whole = (offset, length) == (0, root.size)
            if whole:
                yield from self._stream(root)
                continue
            for piece in self._reader.slice(root.content, root.size, offset, length):
                self._watch.advance(read=len(piece))
                yield piece

    def _restore_folder(self, part: FolderPart) -> None:
        if self._order.practice:
            self._fill(part, self._scratch / "restored")
            return
        with staging.staged(self._installation, part.target, self._run) as folder:
            self._fill(part, folder)
        if part.roots:
            compared = _compared(self._differing, files=self._restored.items) if self._order.verify else None
            self._targets.append({"kind": "folder", "target": str(part.target), "compared": compared})

    def _fill(self, part: FolderPart, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for root in part.databases:  # first: there is no link yet that could lead out of the folder
            self._restore_sqlite(root, folder)
        if not part.roots:
            return
        target = DirectoryTarget(folder, self._watch)
        self._restored = restore_folders(self._reader, self._manifest, target, only=part.only, progress=self._watch)
        if self._order.verify:
            found = compare_folder(self._reader, self._manifest, folder, only=part.only, progress=self._watch)
            found = [each for each in found if not _is_ours(each, part.databases)]
            self._differing = len(found)
            self._differences = _unknown(found, self._watch.problems)

    def _restore_sqlite(self, root: StreamRoot, folder: Path) -> None:
        from engine.targets.sqlite import place_below, restore_sqlite

        self._watch.phase(f"database {root.name}", expected=root.size)
        place = place_below(folder, root.name)
        with closing(self._stream(root)) as chunks:
            rows = restore_sqlite(chunks, place, root.facts)
        self._watch.advance(items=1)
        tables = len(root.facts["tables"])
        self._databases.append({"name": root.name, "tables": tables, "bytes": root.size})
        shown = place_below(self._plan.folder.target if self._plan.folder else folder, root.name)
        self._targets.append({"kind": "database", "target": str(shown), "compared": {"tables": tables, "rows": rows}})

    def _stream(self, root: StreamRoot) -> Generator[bytes]:
        for piece in self._reader.stream(root.content, root.size):
            self._watch.advance(read=len(piece))
            yield piece

    def _error(self) -> Exception | None:
        if self._restored.lost:
            lost = [path for kind, path, _ in self._watch.problems if kind == "lost"]
            return TargetError(
                f"{self._restored.lost} items could not be restored: {_named(lost, self._restored.lost)}.",
                hint="The rest is there. `backup-cli verify` says what is damaged; another restore point may have it.",
            )
        if self._differences:
            found = [f"{path} ({reason})" for path, reason in self._differences]
            return Difference(
                f"The restored folder differs from what was backed up: {_named(found, len(found))}.",
                hint="Did something write to it meanwhile? It is kept for you to look at.",
            )
        return None

    def _document(self) -> dict[str, Any]:
        restored = self._restored
        lost = restored.lost
        size = restored.bytes + sum(database["bytes"] for database in self._databases)
        return {
            "files": {**work.NO_FILES, "total": restored.items + lost, "new": restored.items, "unreadable": lost},
            "databases": self._databases,
            "bytes": {"read": size, "new": 0, "stored": 0},
            "destinations": [self._origin()],
            "targets": self._targets,
        }

    def _origin(self) -> dict[str, Any]:
        """The destination that was read."""
        identity = self._reader.repository.id.hex()
        origin = next(
            copy.destination for copy in self._plan.backup.copies if copy.destination.repository_id == identity
        )
        return {
            "name": origin.name,
            "type": origin.kind,
            "status": "succeeded",
            "backupId": self._plan.backup.public_id,
            "error": None,
        }


def _compared(differing: int, **counts: int) -> dict[str, int]:
    """What a comparison proved: how much is as recorded, and nothing of that where anything differs."""
    return {"differences": differing} if differing else counts


def _unknown(found: Sequence[tuple[str, str]], problems: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """The differences that the restore has not told as problems already."""
    absent = {path for kind, path, _ in problems if kind in ("lost", "skipped")}
    told = {(path, reason) for _, path, reason in problems}
    marked = {path for kind, path, _ in problems if kind == "attribute"}
    return [
        (path, reason)
        for path, reason in found
        if path not in absent
        and (path, reason) not in told
        and not (path in marked and reason.startswith(ATTRIBUTE_DIFFERS))
    ]


def _is_ours(difference: tuple[str, str], databases: Sequence[StreamRoot]) -> bool:
    """Whether it is a SQLite database that was put between the files, or a folder that was made for one."""
    path, reason = difference
    return reason == NOT_IN_BACKUP and any(f"{root.name}/".startswith(f"{path}/") for root in databases)


def _typed(installation: Installation, order: Order, cwd: Path) -> Typed:
    return restore_plans.read_typed(order.targets, order.only, cwd=cwd, environment=installation.settings.environment)


def _target(
    installation: Installation,
    connection: Connection,
    scratch: Path,
    *,
    progress: Progress | None = None,
    label: str = "",
) -> PostgresTarget:
    from engine.targets.postgres import PostgresTarget

    return PostgresTarget(
        connection,
        scratch=scratch,
        path=installation.settings.environment.get("PATH", ""),
        pg_bin=installation.settings.pg_bin,
        progress=progress,
        label=label,
    )


def _sweep(installation: Installation, connection: Connection, scratch: Path, tell: Tell) -> None:
    """Drops what restores left at the server whose process was killed."""

    def is_dead(label: str) -> bool:
        with suppress(NotFound, Conflict):
            return not runs.find(installation, label).is_active
        return False  # of another installation, which may be at work

    for outcome in _target(installation, connection, scratch).sweep(is_dead):
        tell(f"Left behind by a restore that was killed. {outcome}")


def _probe(installation: Installation, made: Plan, scratch: Path, jobs: int) -> list[str]:
    """Whether the targets would take it. Raises Invalid, TargetError; warnings otherwise."""
    warnings: list[str] = []
    if jobs > 1 and not made.databases:
        raise Invalid("--jobs is for PostgreSQL databases, and none is restored here.", hint="Leave it out.")
    if made.folder is not None:
        DirectoryTarget(made.folder.target, Silent()).probe(made.folder.needed_bytes)
    for part in made.databases:
        target = _target(installation, part.connection, scratch)
        warnings += target.probe(part.root.facts, tables=part.selection, jobs=jobs, size=part.root.size)
    return warnings


def _named(items: Sequence[str], count: int) -> str:
    return ", ".join(items[:_NAMED]) + (" …" if count > _NAMED else "")
