"""A dump restored into a new database, and compared with what was recorded of the old one.

The database is created here, under a temporary name until it is complete, or not at all; when anything fails it is
dropped again. Existing ones are never touched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import Different, EngineError, TargetError
from engine.ids import new_id
from engine.postgres import catalog
from engine.postgres.connection import Connection, check, default_name
from engine.postgres.process import Child, Credentials, credentials
from engine.postgres.programs import Programs, find_restorer, major_of
from engine.postgres.selection import Selection
from engine.postgres.session import connect, connect_anywhere, errors_in_words
from engine.postgres.spooled import require_room, spool
from engine.progress import Progress, Silent
from engine.targets.comparison import DatabaseReport, compare
from engine.targets.database import DIFFERING, apply_properties, create, drop, sweep, take_name, temporary_name

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]

__all__ = ["DatabaseReport", "PostgresTarget", "default_name"]

FORMAT = "pg_dump-custom"
SHOWN_DIFFERENCES = 3


@dataclass(frozen=True)
class _Plan:
    """How this dump goes into this server: the programs, `owner` ("" for whoever signs in), whether owners and
    privileges of the old server can be kept, the roles of the dump that exist here, and what the user should know."""

    programs: Programs
    owner: str
    keeps_owners: bool
    roles: frozenset[str]
    warnings: tuple[str, ...]


class PostgresTarget:
    """A database that does not exist yet: `connection` names it. Call `receive`, then `finish`, once each.

    `label` tells this restore from others in what a killed one leaves behind; see `sweep`. `scratch` is an existing
    private folder, `path` a PATH, `pg_bin` the only folder to take client programs from.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        scratch: Path,
        path: str,
        pg_bin: Path | None = None,
        progress: Progress | None = None,
        label: str = "",
    ) -> None:
        """Raises TargetError when the connection can never work."""
        self._connection = check(connection, error=TargetError)
        if not connection.database:
            raise TargetError("The target needs the name of the new database.")
        self._scratch = scratch
        self._path = path
        self._pg_bin = pg_bin
        self._progress = progress or Silent()
        self._label = label or new_id().hex()
        self._working = connection.with_database(temporary_name(connection.database, self._label))
        self._created = ""  # the name that our database has now
        self._restored: tuple[dict[str, Any], Selection | None, _Plan] | None = None
        self._warnings: list[str] = []

    def describe(self) -> str:
        """For people, without the password."""
        return self._connection.describe()

    def sweep(self, is_dead: Callable[[str], bool]) -> list[str]:
        """Drops what killed restores left at this server; `is_dead` tells by its label whether a restore has ended.
        What became of it, as sentences. Raises TargetError."""
        with self._maintenance() as session:
            return sweep(session, is_dead)

    def probe(
        self, facts: dict[str, Any], *, tables: Selection | None = None, jobs: int = 1, size: int = 0
    ) -> list[str]:
        """Looks whether this dump can be restored here, without changing anything; what the user should know, as
        warnings. Raises TargetError when it cannot."""
        if jobs > 1:
            require_room(self._scratch, tables.size if tables else size)
        with self._maintenance() as session:
            return list(self._plan(session, facts, tables).warnings)

    def receive(
        self,
        facts: dict[str, Any],
        chunks: Iterable[bytes],
        *,
        tables: Selection | None = None,
        jobs: int = 1,
        size: int = 0,
    ) -> None:
        """Creates the database and restores the stream into it, or with `tables` the pieces that this selection's
        `ranges` name. Several `jobs` need the stream's `size` in bytes, and room for it in the scratch folder.

        Raises TargetError and whatever `chunks` raises; then the new database is gone again."""
        if jobs > 1:
            require_room(self._scratch, tables.size if tables else size)
        with self._dropped_on_failure():
            with self._maintenance() as session:
                plan = self._plan(session, facts, tables)
                made = create(session, self._working, facts, owner=plan.owner, label=self._label)
                self._created = self._working.database
                self._warnings = [*plan.warnings, *made]
            with credentials(self._working, self._scratch) as login:
                spooled = self._spool(login, facts, chunks, tables, size) if jobs > 1 else None
                with self._start(login, plan, tables, spooled=spooled, jobs=jobs) as child:
                    self._feed(child, () if spooled else chunks)
                    self._warnings += child.warnings()
        self._restored = (facts, tables, plan)

    def finish(self) -> DatabaseReport:
        """Compares the restored database with the recorded one and gives it its settings. Raises Different when they
        differ; then the new database is kept, since it may be the best copy that is left."""
        assert self._restored is not None, "finish comes after receive"
        facts, selection, plan = self._restored
        with self._dropped_on_failure():
            look = self._progress.checkpoint
            with self._words(), connect(self._working, error=TargetError) as session:
                tables, rows, differences = compare(session, facts, selection=selection, look=look)
            if differences:
                shown = " ".join(differences[:SHOWN_DIFFERENCES])
                more = len(differences) - SHOWN_DIFFERENCES
                with self._maintenance() as session:
                    take_name(session, self._connection, self._created, comment=DIFFERING)
                self._created = ""  # not ours to drop any more
                raise Different(
                    f"The restored database differs from what was backed up. {shown}"
                    + (f" And {more} more differences." if more > 0 else ""),
                    hint=f"It is kept as “{self._connection.database}”; drop it when you have looked at it.",
                )
            with self._maintenance() as session:
                self._warnings += apply_properties(session, self._created, facts, roles=set(plan.roles))
                take_name(session, self._connection, self._created, comment=facts["comment"])
            self._created = self._connection.database
        return DatabaseReport(self._connection.database, tables, rows, (), tuple(self._warnings))

    def discard(self) -> None:
        """Drops the database again if this target created it: for a caller that gives up between the two calls."""
        if self._created:
            with self._maintenance() as session:
                drop(session, self._created)
            self._created = ""

    @contextlib.contextmanager
    def _maintenance(self) -> Iterator[Session]:
        """A session beside the new database."""
        with self._words(), connect_anywhere(self._connection, error=TargetError) as session:
            yield session

    def _words(self) -> contextlib.AbstractContextManager[None]:
        return errors_in_words(self._connection, error=TargetError)

    @contextlib.contextmanager
    def _dropped_on_failure(self) -> Iterator[None]:
        """On any exception in the block the database, if we made it, is dropped, and an engine's error says so."""
        try:
            yield
        except BaseException as failure:
            if not self._created:
                raise
            outcome = f"The new database “{self._created}” could not be dropped: drop it yourself."
            with contextlib.suppress(EngineError):
                with self._maintenance() as session:
                    outcome = drop(session, self._created)
                self._created = ""
            if isinstance(failure, EngineError):
                failure.hint = f"{failure.hint} {outcome}".strip()
            raise

    def _plan(self, session: Session, facts: dict[str, Any], selection: Selection | None) -> _Plan:
        """Raises TargetError with the first reason why this restore cannot work."""
        if facts.get("format") != FORMAT:
            raise TargetError(f"This is no PostgreSQL dump but “{facts.get('format')}”.")
        name, version = self._connection.database, session.info.server_version
        client_major = int(str(facts["clientVersion"]).partition(".")[0])
        programs = find_restorer(client_major, version, pg_bin=self._pg_bin, path=self._path)
        login = catalog.login(session)
        if not login.creates_databases:
            raise TargetError(
                f"The role {login.name} may not create databases at {self.describe()}.",
                hint=f"Let an administrator run: ALTER ROLE {login.name} CREATEDB.",
            )
        if catalog.exists(session, name):
            raise TargetError(
                f"The database “{name}” exists already.", hint="Choose another name: it is never overwritten."
            )
        if not catalog.knows_encoding(session, facts["encoding"]):
            raise TargetError(f"The target server does not know the encoding {facts['encoding']}.")
        warnings = list(selection.warnings) if selection else []
        if version // 10000 < major_of(facts["serverVersion"]):
            warnings.append(
                f"The target is PostgreSQL {major_of(version)}, older than the source, which was "
                f"{major_of(facts['serverVersion'])}: what the old version does not know fails."
            )
        _check_extensions(session, facts, selection)
        usable = catalog.usable_roles(session, facts["roles"])
        missing = [role for role in facts["roles"] if role not in usable]
        _check_policy_roles(facts, missing, selection)
        if missing:
            warnings.append(
                f"Owners and privileges are left out, since the target lacks, or does not let us act as, the roles "
                f"{', '.join(missing)}."
            )
        owner = facts["owner"] if facts["owner"] in usable else ""
        return _Plan(programs, owner, not missing, frozenset(usable), tuple(warnings))

    def _spool(
        self, login: Credentials, facts: dict[str, Any], chunks: Iterable[bytes], selection: Selection | None, size: int
    ) -> Path:
        path = login.folder / "archive"
        ranges = selection.ranges if selection else ((0, size),)
        spool(chunks, path, facts=facts, ranges=ranges, look=self._progress.checkpoint)
        return path

    def _start(
        self, login: Credentials, plan: _Plan, selection: Selection | None, *, spooled: Path | None, jobs: int
    ) -> Child:
        command = [
            plan.programs.path("pg_restore"),
            f"--dbname={self._working.conninfo()}",
            "--format=custom",
            "--exit-on-error",
            "--no-password",
        ]
        if not plan.keeps_owners:
            command += ["--no-owner", "--no-privileges"]
        if selection is not None:
            listing = login.folder / "entries"
            listing.write_text("".join(f"{each};\n" for each in selection.ids))
            command.append(f"--use-list={listing}")
        if spooled is not None:
            command += [f"--jobs={jobs}", str(spooled)]
        try:
            return Child(command, login, reads=spooled is None)
        except OSError as failure:
            raise TargetError(f"pg_restore cannot be started: {failure.strerror or failure}.") from None

    def _feed(self, child: Child, chunks: Iterable[bytes]) -> None:
        """Everything into pg_restore, then its verdict."""
        look = self._progress.checkpoint
        with contextlib.suppress(BrokenPipeError):
            for chunk in chunks:
                look()
                child.write(chunk, look)
        child.close_input()
        status = child.wait(look)
        if status:
            reason = child.complaint() or "it said nothing about the reason"
            what = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
            raise TargetError(f"pg_restore failed ({what}): {reason}.")


def _check_extensions(session: Session, facts: dict[str, Any], selection: Selection | None) -> None:
    needed = [name for name, _ in facts["extensions"] if selection is None or name in selection.extensions]
    missing = sorted(set(needed) - catalog.available_extensions(session))
    if missing:
        raise TargetError(
            f"The target server does not have the extensions {', '.join(missing)}, which the dump needs.",
            hint="Install them there, or restore single tables that do without.",
        )


def _check_policy_roles(facts: dict[str, Any], missing: list[str], selection: Selection | None) -> None:
    """A row security policy for a role that does not exist cannot be created, whatever pg_restore leaves out."""
    needed = [role for role in facts["policyRoles"] if role in missing]
    if needed and selection is None:
        raise TargetError(
            f"Row security policies of the dump name the roles {', '.join(needed)}, which the target server lacks.",
            hint="Create them there first (CREATE ROLE).",
        )
