"""What an optional key of a configuration means when it is left out: the one home of every default.

The pydantic models take theirs from here, and `complete` fills a checked document without pydantic (a test keeps the
two equal).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from webapp.schema import kinds

Document = dict[str, Any]

TYPES = ("full", "incremental", "differential", "database", "files")
FOLDER_VARIABLES = ("UPLOAD_DIR", "REPORTS_DIR", "EXPORTS_DIR")
DATABASE_VARIABLE = "DATABASE_URL"
BUCKET_VARIABLE = "AWS_S3_BUCKET"
DEFAULT_LOCAL_PATH = "./backups"

CONFIGURATION: Document = {
    "schedule": None,
    "timezone": None,
    "sources": None,
    "retention": None,
    "compression": "zstd",
    "encryption": True,
    "cipher": "aes-256-gcm",
    "notifications": {},
    "enabled": True,
    "verify": None,
    "drill": None,
    "hooks": None,
    "objectives": None,
    "environment": "production",
    "labels": {},
    "queue": None,
    "minCopies": 1,
    "fullEvery": None,
    "pingUrl": None,
}
RETENTION: Document = {
    "last": 0,
    "hourly": 0,
    "daily": 0,
    "weekly": 0,
    "monthly": 0,
    "yearly": 0,
    "keepMin": 3,
}
SOURCES: Document = {"databases": [], "paths": []}
DATABASE: Document = {
    "excludeTables": [],
    "excludeTableData": [],
    "sslmode": None,
    "sslrootcert": None,
    "environment": None,
}
PATH: Document = {"exclude": [], "excludeFile": None, "oneFileSystem": False, "environment": None}
DESTINATION: Document = {"retention": None}
NOTIFICATIONS: Document = {"onSuccess": [], "onFailure": []}


def complete(document: Mapping[str, Any]) -> Document:
    """A checked document with every key of the parts that a run reads; placeholders stay as typed."""
    full = _filled(document, CONFIGURATION)
    full.pop("$schema", None)
    if full["retention"] is not None:
        full["retention"] = _filled(full["retention"], RETENTION)
    full["notifications"] = _filled(full["notifications"], NOTIFICATIONS)
    if full["sources"] is not None:
        sources = _filled(full["sources"], SOURCES)
        sources["databases"] = [_filled(item, DATABASE) for item in sources["databases"]]
        sources["paths"] = [_filled(item, PATH) for item in sources["paths"]]
        full["sources"] = sources
    full["destinations"] = [_destination(item) for item in full["destinations"]]
    return full


def default_document(backup_type: str, environment: Mapping[str, str]) -> Document:
    """The configuration of `create --type TYPE`: sources and destination as the environment's defaults say."""
    if environment.get(BUCKET_VARIABLE):
        settings: Document = {"bucket": f"${{{BUCKET_VARIABLE}}}"}
        if environment.get("AWS_REGION"):
            settings["region"] = "${AWS_REGION}"
        destination: Document = {"type": "s3", "config": settings}
    else:
        destination = {"type": "local", "config": {"path": DEFAULT_LOCAL_PATH}}
    return {
        "id": f"default-{backup_type}",
        "name": f"Default {backup_type} backup",
        "type": backup_type,
        "destinations": [destination],
    }


def default_sources(environment: Mapping[str, str]) -> Document:
    """The sources of a configuration that names none: DATABASE_URL and those of the three folders that are set."""
    databases = [{"url": f"${{{DATABASE_VARIABLE}}}"}] if environment.get(DATABASE_VARIABLE) else []
    paths = [{"path": f"${{{name}}}"} for name in FOLDER_VARIABLES if environment.get(name)]
    return {
        "databases": [_filled(item, DATABASE) for item in databases],
        "paths": [_filled(item, PATH) for item in paths],
    }


def _destination(item: Mapping[str, Any]) -> Document:
    full = _filled(item, DESTINATION)
    if full["retention"] is not None:
        full["retention"] = _filled(full["retention"], RETENTION)
    if "ref" not in full:
        full["config"] = _filled(full["config"], kinds.settings_defaults(full["type"]))
    return full


def _filled(given: Mapping[str, Any], defaults: Document) -> Document:
    return {**copy.deepcopy(defaults), **copy.deepcopy(dict(given))}
