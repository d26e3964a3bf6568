"""JSON schemas of what the API answers, and the pieces that its questions share."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import Field, PlainValidator, StringConstraints, WithJsonSchema

from webapp.api.endpoint import Query
from webapp.errors import Fault, Faulty

Schema = Mapping[str, Any]
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
ANY: Schema = {}
OPEN: Schema = {"type": "object"}
DEFAULT_LIMIT, MOST = 50, 200
LONGEST_PATH = 4096

Moment = Annotated[str, StringConstraints(max_length=40), WithJsonSchema({"type": "string", "format": "date-time"})]
_ZONED = re.compile(r"(Z|z|[+-]\d\d:?\d\d)$")
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Age = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}[mhdw]$")]
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _typed_path(value: object) -> str:
    """A path or the name of a database. Names that are no UTF-8 have lone surrogates, which pydantic's own texts
    cannot hold."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_PATH:
        raise ValueError(f"must be a text of 1 to {LONGEST_PATH} characters.")
    if "\0" in value or any("\ud800" <= sign <= "\udfff" and not "\udc80" <= sign <= "\udcff" for sign in value):
        raise ValueError("must not hold signs that no name of a file has.")
    return value


TypedPath = Annotated[
    str, PlainValidator(_typed_path), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST_PATH})
]


class Page(Query):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=MOST)] = DEFAULT_LIMIT
    cursor: Cursor | None = None


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": schema}


def record(**fields: Schema) -> Schema:
    """An object with exactly these keys."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def page_of(schema: Schema) -> Schema:
    """A page of a list."""
    return record(items=listed(schema), nextCursor=or_null(TEXT))


def page(items: Sequence[Any], limit: int, position: Any) -> dict[str, Any]:
    """The document of a page: `items` may be one longer than `limit`, which says that there is more; `position` gives
    the number that the next page begins after."""
    more = len(items) > limit
    kept = list(items[:limit])
    return {"items": kept, "nextCursor": write_cursor(position(kept[-1])) if more else None}


def write_cursor(number: int) -> str:
    """Opaque to others."""
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> int | None:
    """Raises Faulty for what `write_cursor` never wrote."""
    if text is None:
        return None
    try:
        number = int(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii"))
        if write_cursor(number) == text and 0 < number < 1 << 62:
            return number
    except (binascii.Error, ValueError):
        pass
    raise Faulty("The query does not fit.", [Fault("/cursor", "is not one that this list gave.")])


def read_age(text: str) -> timedelta:
    """`30d` and the like."""
    return timedelta(seconds=int(text[:-1]) * _UNIT_SECONDS[text[-1]])


def read_moment(text: str | None, pointer: str) -> datetime | None:
    """A time such as 2027-01-31T00:00:00Z. Raises Faulty."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text).astimezone(UTC) if _ZONED.search(text) else None
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise Faulty("The body does not fit.", [Fault(pointer, "must be a time such as 2027-01-31T00:00:00Z.")])
    return found


PROBLEM: Schema = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": COUNT,
        "detail": TEXT,
        "hint": or_null(TEXT),
        "errors": listed(record(pointer=TEXT, detail=TEXT)),
    },
    "required": ["type", "title", "status", "detail", "errors"],
}
RUN: Schema = record(
    runId=TEXT,
    kind=TEXT,
    status={"type": "string", "enum": "queued running succeeded warning failed cancelled interrupted".split()},
    configId=or_null(TEXT),
    backupId=or_null(TEXT),
    type=or_null(TEXT),
    trigger=TEXT,
    afterRun=or_null(TEXT),
    identity=TEXT,
    host=TEXT,
    createdAt=TIME,
    startedAt=or_null(TIME),
    finishedAt=or_null(TIME),
    durationSeconds=or_null(NUMBER),
    items=COUNT,
    files=OPEN,
    databases=listed(OPEN),
    bytes=OPEN,
    destinations=listed(OPEN),
    problems=listed(record(kind=TEXT, path=TEXT, reason=TEXT)),
    problemCount=COUNT,
    result=or_null(OPEN),
    error=or_null(TEXT),
    hint=or_null(TEXT),
)
CONFIGURATION: Schema = record(
    id=TEXT, version=COUNT, createdAt=TIME, updatedAt=TIME, configuration=OPEN, nextRuns=listed(TIME)
)
BACKUP: Schema = record(
    backupId=TEXT,
    configId=TEXT,
    type=TEXT,
    status=TEXT,
    startedAt=TIME,
    finishedAt=TIME,
    totals=OPEN,
    databases=listed(OPEN),
    paths=listed(TEXT),
    problems=COUNT,
    tags=OPEN,
    host=TEXT,
    verifiedAt=or_null(TIME),
    hold=or_null(record(reason=TEXT, by=TEXT, until=or_null(TIME))),
    destinations=listed(record(name=TEXT, type=TEXT, state=TEXT, verifiedAt=or_null(TIME), trashedAt=or_null(TIME))),
)
USER: Schema = record(
    id=TEXT,
    name=TEXT,
    role={"type": "string", "enum": ["manager", "admin", "super_admin"]},
    enabled=FLAG,
    secondFactor=FLAG,
    mustChangePassword=FLAG,
    createdAt=TIME,
    signedInAt=or_null(TIME),
)
TOKEN: Schema = record(
    id=TEXT,
    user=TEXT,
    name=TEXT,
    prefix=TEXT,
    scope={"type": "string", "enum": ["read", "run", "admin", "super_admin"]},
    networks=listed(TEXT),
    createdAt=TIME,
    expiresAt=or_null(TIME),
    usedAt=or_null(TIME),
    usedFrom=or_null(TEXT),
)
