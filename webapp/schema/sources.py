"""What a configuration backs up: databases and folders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from webapp.schema import database_urls
from webapp.schema.defaults import DATABASE, PATH
from webapp.schema.fields import MAX_ITEMS, AbsolutePath, DatabaseUrl, Model, Plain, misfit

Environment = Literal["production", "staging", "test"]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class Database(Model):
    """A PostgreSQL database (a URL without a name, or with the name `*`, means every database of the server), or a
    SQLite database (`sqlite:////absolute/path`; a relative one is below HOLDFAST_HOME)."""

    url: DatabaseUrl
    exclude_tables: Annotated[
        list[Plain], Field(default_factory=list, max_length=MAX_ITEMS, description="Tables that are left out.")
    ]
    exclude_table_data: Annotated[
        list[Plain], Field(default_factory=list, max_length=MAX_ITEMS, description="Tables kept without their rows.")
    ]
    sslmode: SslMode | None = DATABASE["sslmode"]
    sslrootcert: AbsolutePath | None = DATABASE["sslrootcert"]
    environment: Environment | None = DATABASE["environment"]

    @model_validator(mode="after")
    def _fits_sqlite(self) -> Database:
        if database_urls.is_sqlite(self.url):
            for key in database_urls.misplaced(self.model_dump(by_alias=True)):
                raise misfit(key, "is for PostgreSQL; a SQLite database is always kept whole.")
        return self


class Folder(Model):
    """A folder with everything below it."""

    path: AbsolutePath
    exclude: Annotated[list[Plain], Field(default_factory=list, max_length=MAX_ITEMS, description="Patterns.")]
    exclude_file: Annotated[AbsolutePath | None, Field(description="One pattern a line.")] = PATH["excludeFile"]
    one_file_system: Annotated[bool, Field(description="Do not enter mounted file systems.")] = PATH["oneFileSystem"]
    environment: Environment | None = PATH["environment"]


class Sources(Model):
    """Databases and folders; both lists may be left out, not both empty."""

    databases: Annotated[list[Database], Field(default_factory=list, max_length=MAX_ITEMS)]
    paths: Annotated[list[Folder], Field(default_factory=list, max_length=MAX_ITEMS)]
