"""What backed up only a part (`--type files` of a configuration that is full) is no backup of its configuration: it
protects nothing, proves nothing, and ends no wait for the next one."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import aliased

from webapp.models import Backup, Configuration, Run

_PARTS = ("database", "files")


def is_whole(made: type[Backup] | type[Run]) -> ColumnElement[bool]:
    """Whether all of the sources are in a restore point or a run that makes one, for SQL. A configuration of databases
    or of files alone is whole with these."""
    each = aliased(Configuration)
    of_parts = select(each.id).where(each.document["type"].as_string().in_(_PARTS))
    return func.coalesce(made.type, "").not_in(_PARTS) | made.config_id.in_(of_parts)
