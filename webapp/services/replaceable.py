"""What a restore can replace: a folder or a PostgreSQL database, in the same words for both. Names and numbers are
those of the journal (webapp/models/replacement.py)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from engine.errors import TargetError
from engine.postgres.connection import Connection, parse_url
from engine.targets import replace_folder
from webapp.models.replacement import DATABASE, FOLDER
from webapp.services import staging

NEW, BUILD, OLD, UNDONE, ASIDE = "new", "build", "old", "undone", "aside"
_NAME_BYTES, _SHORT = 200, slice(3, 11)
Names = Mapping[str, Any]


class Place(Protocol):
    """Every method raises TargetError with a sentence for people; `label` is the public id of the replacement."""

    @property
    def kind(self) -> str: ...

    @property
    def target(self) -> str:
        """What has to be typed to replace it."""

    def refuse(self, needed_bytes: int) -> None:
        """Raises unless what stands here can be replaced."""

    def look(self, checkpoint: Callable[[], None]) -> dict[str, Any]:
        """What stands here: `identity`, `digest`, and what people want to know."""

    def beside(self, part: str, label: str) -> str:
        """The name of something beside the target; `part` is one of NEW, BUILD, OLD, UNDONE, ASIDE."""

    def identity(self, name: str | None = None) -> int | None:
        """The number of what has this name (None: the target's), by which it is known again."""

    def take_over_rights(self, name: str) -> None:
        """Gives what has this name the owner and privileges of what stands at the target."""

    def swap(self, names: Names) -> None:
        """Puts `incoming` in the place of the target, which becomes `outgoing`."""

    def settle(self, names: Names) -> bool:
        """Finishes a swap that was cut short; whether it has happened."""

    def withdraw(self, names: Names, aside: str) -> None:
        """Moves `incoming` aside: a swap that has not happened cannot happen any more."""

    def remove(self, name: str, identity: int | None = None) -> None:
        """Removes what lies beside the target; with a number, only if it is still that one."""


@dataclass(frozen=True)
class FolderPlace:
    """A folder."""

    path: Path
    kind = FOLDER

    @property
    def target(self) -> str:
        return str(self.path)

    def refuse(self, needed_bytes: int) -> None:
        replace_folder.refuse(self.path, needed_bytes)

    def look(self, checkpoint: Callable[[], None]) -> dict[str, Any]:
        found = replace_folder.look(self.path, checkpoint)
        newest = datetime.fromtimestamp(found.newest_ns // 1_000_000_000, UTC).isoformat()
        about = {"items": found.items, "bytes": found.bytes, "newestAt": newest}
        return {"identity": found.inode, "digest": found.digest, **about}

    def beside(self, part: str, label: str) -> str:
        name = os.fsdecode(os.fsencode(self.path.name)[:_NAME_BYTES])
        return str(self.path.with_name(f".{name}.holdfast-{part}-{label[_SHORT]}"))

    def identity(self, name: str | None = None) -> int | None:
        return replace_folder.inode_of(self.path if name is None else Path(name))

    def take_over_rights(self, name: str) -> None:
        replace_folder.take_over_rights(self.path, Path(name))

    def swap(self, names: Names) -> None:
        replace_folder.swap(self._swap(names))

    def settle(self, names: Names) -> bool:
        return replace_folder.settle(self._swap(names))

    def withdraw(self, names: Names, aside: str) -> None:
        replace_folder.withdraw(self._swap(names), Path(aside))

    def remove(self, name: str, identity: int | None = None) -> None:
        if identity is None or self.identity(name) == identity:
            replace_folder.refuse_mounts(Path(name))
            staging.remove(Path(name))
            if self.identity(name) is not None:
                raise TargetError(f"{name} could not be removed whole.", hint="It is tried again; else remove it.")

    def _swap(self, names: Names) -> replace_folder.Swap:
        return replace_folder.Swap(
            self.path, Path(names["incoming"]), Path(names["outgoing"]), names["new"], names["old"]
        )


@dataclass(frozen=True)
class DatabasePlace:
    """A PostgreSQL database."""

    connection: Connection = field(repr=False)
    kind = DATABASE

    @property
    def target(self) -> str:
        return self.connection.describe()

    def refuse(self, needed_bytes: int) -> None:
        from engine.targets import replace_database

        replace_database.refuse(self.connection)

    def look(self, checkpoint: Callable[[], None]) -> dict[str, Any]:
        from engine.targets import replace_database

        found = replace_database.look(self.connection, checkpoint)
        about = {"tables": found.tables, "rows": found.rows, "bytes": found.bytes}
        return {"identity": found.oid, "digest": found.digest, **about}

    def beside(self, part: str, label: str) -> str:
        from engine.targets import replace_database

        words = {NEW: "restored", BUILD: "restored", OLD: "before", UNDONE: "undone", ASIDE: "aside"}
        return replace_database.beside_name(self.connection.database, f"{words[part]}_{label[_SHORT]}")

    def identity(self, name: str | None = None) -> int | None:
        from engine.targets import replace_database

        return replace_database.oid_of(self.connection, name or self.connection.database)

    def take_over_rights(self, name: str) -> None:
        from engine.targets import replace_database

        kept = replace_database.properties(self.connection)
        replace_database.take_over_rights(self.connection, kept, name)

    def swap(self, names: Names) -> None:
        from engine.targets import replace_database

        replace_database.swap(self._swap(names))

    def settle(self, names: Names) -> bool:
        from engine.targets import replace_database

        return replace_database.settle(self._swap(names))

    def withdraw(self, names: Names, aside: str) -> None:
        from engine.targets import replace_database

        replace_database.withdraw(self._swap(names), aside)

    def remove(self, name: str, identity: int | None = None) -> None:
        from engine.targets import replace_database

        replace_database.remove(self.connection, name, identity)

    def _swap(self, names: Names) -> Any:
        from engine.targets import replace_database

        return replace_database.Swap(self.connection, names["incoming"], names["outgoing"], names["new"], names["old"])


def key_of(place: Place, host: str) -> str:
    """64 hex digits that are the same for the same target, whoever is signed in there."""
    if isinstance(place, DatabasePlace):
        to = place.connection
        said = ["database", to.host, str(to.port), to.database]
    else:
        said = ["folder", host, place.target]
    return hashlib.sha256("\0".join(said).encode("utf-8", "surrogateescape")).hexdigest()


def url_of(connection: Connection) -> str:
    """The connection as a URL that `parse_url` reads, password and all: to be sealed, never shown."""
    login = quote(connection.user, safe="")
    if connection.password:
        login += ":" + quote(connection.password, safe="")
    host = f"[{connection.host}]" if ":" in connection.host else quote(connection.host, safe="")
    more = {name: getattr(connection, name) for name in ("sslmode", "sslrootcert", "sslcert", "sslkey")}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in more.items() if value)
    at = f"{login}@" if login else ""
    return f"postgresql://{at}{host}:{connection.port}/{quote(connection.database, safe='')}?{query}"


def of_url(url: str) -> DatabasePlace:
    """The place that `url_of` wrote down."""
    return DatabasePlace(parse_url(url))
