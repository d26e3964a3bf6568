"""`${NAME}`: replaced when a run starts, named when it is unset, and never a way for secrets to get out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.webapp.support import document
from webapp.errors import ConfigurationInvalid
from webapp.schema import publish
from webapp.schema.document import read
from webapp.schema.redact import hide_password, without_secrets
from webapp.schema.resolve import Resolved, resolve

CWD = Path("/where/typed")
HOME = Path("/the/home")
URL = "postgresql://shop@db/shop"


def resolved(environment: dict[str, str], **changes: Any) -> Resolved:
    return resolve(document(**changes), environment, cwd=CWD, home=HOME)


def test_the_examples_run_with_their_variables_set() -> None:
    environment = {"DATABASE_URL": URL, "UPLOAD_DIR": "/srv/up", "REPORTS_DIR": "/srv/reports"}
    daily, files, weekly = (
        resolve(read(path), environment, cwd=CWD, home=HOME)
        for path in sorted(publish.PUBLISHED.parent.glob("backup-*.json"))
    )
    assert [source.url for source in daily.databases] == [URL]
    assert [source.path for source in files.folders] == [Path("/srv/up")]
    assert [source.path for source in weekly.folders] == [Path("/srv/up"), Path("/srv/reports")]
    assert [source.url for source in weekly.databases] == [URL]


def test_types_take_their_own_sources() -> None:
    environment = {"DATABASE_URL": URL, "UPLOAD_DIR": "/srv/up"}
    assert not resolved(environment, type="database").folders
    assert not resolved(environment, type="files").databases
    both = resolved(environment, type="full")
    assert len(both.databases) == len(both.folders) == 1


@pytest.mark.parametrize(
    ("backup_type", "environment", "words"),
    [
        ("full", {}, "neither DATABASE_URL nor any of"),
        ("database", {"UPLOAD_DIR": "/x"}, "DATABASE_URL is not set"),
        ("files", {"DATABASE_URL": URL}, "none of UPLOAD_DIR"),
        ("files", {"UPLOAD_DIR": ""}, "none of UPLOAD_DIR"),
    ],
)
def test_nothing_to_back_up_is_told(backup_type: str, environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        resolved(environment, type=backup_type)
    assert [fault.pointer for fault in caught.value.faults] == ["/sources"]
    assert words in str(caught.value)


def test_every_unset_variable_is_named_with_its_pointer() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        resolved(
            {"EMPTY": ""},
            sources={"databases": [{"url": "${NOT_SET}"}], "paths": [{"path": "${EMPTY}/x"}]},
            destinations=[{"type": "local", "config": {"path": "${ALSO_NOT}"}}],
        )
    found = {fault.pointer: fault.detail for fault in caught.value.faults}
    assert list(found) == ["/sources/databases/0/url", "/sources/paths/0/path", "/destinations/0/config/path"]
    assert "${NOT_SET}" in found["/sources/databases/0/url"]
    assert "${EMPTY}" in found["/sources/paths/0/path"]


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_a_password_of_any_signs_survives_in_a_url(password: str) -> None:
    from urllib.parse import unquote, urlsplit

    password = password.encode("utf-8", "replace").decode()
    found = resolved({"PW": password}, sources={"databases": [{"url": "postgresql://shop:${PW}@db:5433/shop"}]})
    parts = urlsplit(found.databases[0].url)
    assert (parts.hostname, parts.port, parts.path) == ("db", 5433, "/shop")
    assert unquote(parts.password or "") == password


def test_a_relative_folder_in_a_variable_is_meant_where_it_was_typed() -> None:
    assert resolved({"UPLOAD_DIR": "up/../load"}).folders[0].path == CWD / "load"


def test_two_signs_stand_for_themselves() -> None:
    found = resolved({"UPLOAD_DIR": "/x"}, destinations=[{"type": "local", "config": {"path": "$${A}/$b"}}])
    assert found.destinations[0].settings == {"path": "${A}/$b"}
    assert found.destinations[0].typed == {"path": "$${A}/$b"}


def test_the_fingerprint_follows_the_sources_and_not_the_password() -> None:
    sources = {"databases": [{"url": "postgresql://shop:${PW}@db/shop"}], "paths": [{"path": "/srv/up"}]}
    first = resolved({"PW": "a"}, sources=sources).source_fingerprint
    assert resolved({"PW": "b"}, sources=sources, name="Other").source_fingerprint == first
    others = [
        {**sources, "paths": [{"path": "/srv/up2"}]},
        {**sources, "paths": [{"path": "/srv/up", "exclude": ["x"]}]},
        {**sources, "databases": [{"url": "postgresql://shop:${PW}@db2/shop"}]},
        {**sources, "databases": [{"url": "postgresql://shop:${PW}@db/shop2"}]},
    ]
    found = {resolved({"PW": "a"}, sources=other).source_fingerprint for other in others}
    assert len(found) == 4
    assert first not in found


def test_secrets_are_taken_out_and_placeholders_stay() -> None:
    typed = document(
        sources={
            "databases": [
                {"url": "postgresql://shop:canary@db/shop?sslpassword=canary"},
                {"url": "postgresql://shop:${PW}@db/shop"},
            ]
        },
        destinations=[
            {"type": "s3", "config": {"bucket": "abc", "accessKeyId": "canary", "secretAccessKey": "canary"}},
            {"type": "s3", "config": {"bucket": "abc", "accessKeyId": "${ID}", "secretAccessKey": "${KEY}"}},
        ],
        notifications={"onFailure": ["slack://canary/canary", "ops@example.com", "${CHANNEL}"]},
        pingUrl="https://ping.example.com/canary",
        drill={"server": "postgresql://u:canary@h/"},
    )
    before = json.dumps(typed)
    clean = json.dumps(without_secrets(typed))
    assert "canary" not in clean
    assert json.dumps(typed) == before
    for kept in ("${PW}", "${ID}", "${KEY}", "${CHANNEL}", "ops@example.com", "postgresql://shop:"):
        assert kept in clean


def test_resolved_values_are_not_in_the_repr_or_the_document() -> None:
    found = resolved(
        {"PW": "canary", "KEY": "canary"},
        sources={"databases": [{"url": "postgresql://shop:${PW}@db/shop"}]},
        destinations=[{"type": "s3", "config": {"bucket": "abc", "accessKeyId": "x", "secretAccessKey": "${KEY}"}}],
    )
    assert found.destinations[0].settings["secretAccessKey"] == "canary"
    assert "canary" not in repr(found)
    assert "canary" not in json.dumps(found.document)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40w@h/d", "postgresql://u:(hidden)@h/d"),
        ("postgresql://u:p@w@h/d", "postgresql://u:(hidden)@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql:///d?user=u&password=p", "postgresql:///d?user=u&password=(hidden)"),
        ("${DATABASE_URL}", "${DATABASE_URL}"),
    ],
)
def test_passwords_in_urls_are_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown
