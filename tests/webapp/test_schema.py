"""The configuration's schema: every fault has its JSON pointer and one sentence; nothing is converted or guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.webapp.support import document, faults_of
from webapp.errors import ConfigurationInvalid
from webapp.schema import publish
from webapp.schema.configuration import Configuration
from webapp.schema.defaults import FOLDER_VARIABLES, complete, default_document
from webapp.schema.document import parse, read, validate

EXAMPLES = sorted(publish.PUBLISHED.parent.glob("backup-*.json"))
EVERYTHING: dict[str, Any] = {
    "$schema": "./schema.json",
    "schedule": "@daily",
    "timezone": "Europe/Berlin",
    "sources": {
        "databases": [
            {
                "url": "postgresql://shop:${PASSWORD}@db/shop",
                "excludeTables": ["public.cache"],
                "excludeTableData": ["log*"],
                "sslmode": "verify-full",
                "sslrootcert": "/etc/ssl/root.crt",
                "environment": "staging",
            }
        ],
        "paths": [{"path": "/srv/up", "exclude": ["*.tmp"], "excludeFile": "/etc/x", "oneFileSystem": True}],
    },
    "retention": {"last": 1, "hourly": 2, "daily": 3, "weekly": 4, "monthly": 5, "yearly": 6, "keepMin": 7},
    "compression": "gzip",
    "encryption": False,
    "cipher": "aes-256-cbc",
    "destinations": [
        {"type": "local", "config": {"path": "/mnt/backups"}, "retention": {"daily": 30}},
        {
            "type": "s3",
            "config": {
                "bucket": "my-bucket",
                "prefix": "p",
                "region": "eu-central-1",
                "endpoint": "https://s3.example.com",
                "accessKeyId": "${ID}",
                "secretAccessKey": "${SECRET}",
            },
        },
        {"ref": "Office NAS", "retention": {"last": 5}},
    ],
    "notifications": {"onSuccess": ["slack://a/b/c"], "onFailure": ["ops@example.com", "${WHO}"]},
    "enabled": False,
    "verify": {"afterBackup": True, "schedule": "0 4 * * 0", "readData": 10},
    "drill": {
        "schedule": "@monthly",
        "server": "postgresql://drill@db/",
        "assertions": [{"name": "orders", "database": "shop", "sql": "select count(*) > 0 from orders"}],
        "fileColumns": [{"table": "public.items", "column": "picture", "folder": "/srv/up"}],
    },
    "hooks": {"before": [{"command": ["/bin/true"], "timeoutSeconds": 5}], "after": []},
    "objectives": {"rpoMinutes": 60, "rtoMinutes": 30},
    "environment": "test",
    "labels": {"team": "shop"},
    "queue": "host:store-12",
    "minCopies": 2,
    "fullEvery": 30,
    "pingUrl": "https://ping.example.com/x",
}


def test_the_smallest_and_the_fullest_document_are_accepted_as_typed() -> None:
    for typed in (document(), document(**EVERYTHING)):
        before = json.dumps(typed)
        assert validate(typed) is typed
        assert json.dumps(typed) == before


def test_the_defaults_without_pydantic_are_those_of_the_models() -> None:
    for typed in (document(), document(**EVERYTHING), document(sources={"paths": [{"path": "/a"}]})):
        dumped = Configuration.model_validate(typed).model_dump(by_alias=True)
        dumped.pop("$schema")
        ours = complete(typed)
        for optional in ("verify", "drill", "hooks", "objectives"):  # not read by a run: kept as typed
            dumped.pop(optional)
            ours.pop(optional)
        assert ours == dumped


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"retenton": {}}, "/retenton", "did you mean retention"),
        ({"a/b~c": 1}, "/a~1b~0c", "not a key"),
        ({"id": ...}, "/id", "is missing"),
        ({"id": "Shop"}, "/id", "lower-case"),
        ({"id": "a" * 65}, "/id", "1 to 64"),
        ({"id": "shop\n"}, "/id", "lower-case"),
        ({"name": ""}, "/name", "must not be empty"),
        ({"name": "a\nb"}, "/name", "line breaks"),
        ({"name": "${NAME}"}, "/name", "placeholders"),
        ({"type": "partial"}, "/type", "'full'"),
        ({"schedule": "61 * * * *"}, "/schedule", "not a schedule"),
        ({"schedule": "* * * *"}, "/schedule", "five fields"),
        ({"schedule": "0 0 30 2 *"}, "/schedule", "schedule"),
        ({"schedule": "@never"}, "/schedule", "@daily"),
        ({"timezone": "Mars/Olympus"}, "/timezone", "not a time zone"),
        ({"timezone": "../etc/passwd"}, "/timezone", "not a time zone"),
        ({"retention": {"daily": "7"}}, "/retention/daily", "whole number"),
        ({"retention": {"daily": 1.5}}, "/retention/daily", "whole number"),
        ({"retention": {"daily": -1}}, "/retention/daily", "0 or more"),
        ({"retention": {"daily": True}}, "/retention/daily", "whole number"),
        ({"retention": {"daily": 10**30}}, "/retention/daily", "or less"),
        ({"retention": {}}, "/retention", "keeps nothing"),
        ({"retention": {"daily": 1, "keepMin": 0}}, "/retention/keepMin", "1 or more"),
        ({"compression": "lz4"}, "/compression", "'zstd'"),
        ({"encryption": "yes"}, "/encryption", "true or false"),
        ({"destinations": []}, "/destinations", "must not be empty"),
        ({"destinations": {}}, "/destinations", "must be a list"),
        ({"destinations": [{"type": "ftp", "config": {}}]}, "/destinations/0", "one of local, s3"),
        ({"destinations": ["backups"]}, "/destinations/0", "needs a type"),
        ({"destinations": [{"type": "local"}]}, "/destinations/0/config", "is missing"),
        ({"destinations": [{"type": "local", "config": {}}]}, "/destinations/0/config/path", "is missing"),
        ({"destinations": [{"type": "local", "config": {"path": ""}}]}, "/destinations/0/config/path", "empty"),
        ({"destinations": [{"type": "local", "config": {"path": "${"}}]}, "/destinations/0/config/path", "${NAME}"),
        ({"destinations": [{"type": "s3", "config": {"bucket": "B"}}]}, "/destinations/0/config/bucket", "3 to 63"),
        ({"destinations": [{"ref": "nas", "config": {}}]}, "/destinations/0/config", "not a key"),
        ({"minCopies": 2}, "/minCopies", "number of destinations"),
        ({"notifications": {"onFailure": ["nobody"]}}, "/notifications/onFailure/0", "e-mail address or"),
        ({"notifications": {"onFailure": ["file:///etc"]}}, "/notifications/onFailure/0", "e-mail address or"),
        ({"sources": {}}, "/sources", "neither a database nor a path"),
        ({"sources": {"paths": [{"path": "uploads"}]}}, "/sources/paths/0/path", "absolute"),
        ({"sources": {"databases": [{"url": "mysql://h/d"}]}}, "/sources/databases/0/url", "postgresql://"),
        ({"type": "database", "sources": {"paths": [{"path": "/a"}]}}, "/sources/databases", "names no database"),
        ({"type": "files", "sources": {"databases": [{"url": "${U}"}]}}, "/sources/paths", "names no path"),
        ({"pingUrl": "${BACKUP_ENCRYPTION_KEY}"}, "/pingUrl", "own settings"),
        ({"pingUrl": "https://h/${HOLDFAST_SECRET_KEY}"}, "/pingUrl", "own settings"),
        ({"labels": {"a": 1}}, "/labels/a", "must be text"),
        ({"hooks": {"before": [{"command": []}]}}, "/hooks/before/0/command", "must not be empty"),
    ],
)
def test_each_fault_names_its_pointer(changes: dict[str, Any], pointer: str, words: str) -> None:
    found = faults_of(document(**changes))
    assert list(found) == [pointer]
    assert words in found[pointer]
    assert found[pointer].endswith((".", "."))


def test_all_faults_come_at_once() -> None:
    found = faults_of(document(id="A", name=..., schedule="x", retention={"daily": "7", "hourl": 1}))
    assert list(found) == ["/id", "/name", "/schedule", "/retention/daily", "/retention/hourl"]


def test_no_value_is_repeated() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        validate(document(sources={"databases": [{"url": "mysql://u:canary@h/d", "canary2": 1, "sslmode": "canary"}]}))
    text = str(caught.value).replace("canary2", "")
    assert "canary" not in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1, column 2"),
        ("[]", "must be an object"),
        ('{"id": "a", "id": "b"}', "'id' twice"),
        ('{"id": NaN}', "not JSON"),
        (b"\xff", "UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        (" " * (1 << 20) + "x", "larger than 1 MiB"),
    ],
)
def test_what_is_not_a_json_object_is_told_so(text: str | bytes, words: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        parse(text, name="x.json")
    assert words in str(caught.value)


def test_the_published_schema_is_up_to_date() -> None:
    assert publish.PUBLISHED.read_text(encoding="utf-8") == publish.rendered()


def test_there_are_three_examples_and_they_are_valid() -> None:
    assert [path.name for path in EXAMPLES] == [
        "backup-daily-db.json",
        "backup-files.json",
        "backup-weekly-full.json",
    ]
    assert {read(path)["type"] for path in EXAMPLES} == {"database", "files", "full"}


def test_the_default_documents_are_valid() -> None:
    for backup_type in ("full", "database", "files"):
        for environment in ({}, {"AWS_S3_BUCKET": "b", "AWS_REGION": "r"}, dict.fromkeys(FOLDER_VARIABLES, "/x")):
            typed = default_document(backup_type, environment)
            assert validate(typed)["type"] == backup_type
