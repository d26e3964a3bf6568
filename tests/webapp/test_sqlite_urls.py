"""`sqlite:///…` in a configuration: what is accepted, what it means, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.webapp.support import document
from webapp.errors import ConfigurationInvalid
from webapp.schema import database_urls
from webapp.schema.document import validate
from webapp.schema.resolve import Resolved, resolve, resolve_databases
from webapp.services import sources

CWD, HOME = Path("/where/typed"), Path("/the/home")


def sqlite(url: str, **more: Any) -> dict[str, Any]:
    return document(type="full", sources={"databases": [{"url": url, **more}], "paths": [{"path": "/srv"}]})


def resolved(url: str, environment: dict[str, str] | None = None, **changes: Any) -> Resolved:
    return resolve(sqlite(url), environment or {}, cwd=CWD, home=HOME, **changes)


def faults(url: str, environment: dict[str, str], **more: Any) -> dict[str, str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        resolve(sqlite(url, **more), environment, cwd=CWD, home=HOME)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////srv/shop.db", "/srv/shop.db"),
        ("sqlite:///shop.db", "/the/home/shop.db"),
        ("sqlite:///../shop.db", "/the/shop.db"),
        ("sqlite:////srv/odd%3F%23%25.db", "/srv/odd?#%.db"),
        ("sqlite:////srv/ä b.db", "/srv/ä b.db"),
        ("sqlite:///${FOLDER}/shop.db", "/data/shop.db"),
        ("${SHOP_DB}", "/where/typed/shop.db"),
    ],
)
def test_what_a_url_means(url: str, path: str) -> None:
    validate(sqlite(url))
    environment = {"FOLDER": "/data", "SHOP_DB": "sqlite:///shop.db"}
    (source,) = resolved(url, environment).databases
    assert source.sqlite_path == Path(path)
    (again,) = resolve_databases(sqlite(url), environment, cwd=CWD, home=HOME)
    assert again == source


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://host/shop.db", "sqlite:////a?mode=ro", "sqlite:////a#b", "mysql://h/d"]
)
def test_what_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        validate(sqlite(url))
    assert [fault.pointer for fault in caught.value.faults] == ["/sources/databases/0/url"]
    assert list(faults("${SHOP_DB}", {"SHOP_DB": url})) == ["/sources/databases/0/url"]


@pytest.mark.parametrize("key", database_urls.ONLY_POSTGRES)
def test_what_only_postgresql_has(key: str) -> None:
    value: Any = {"sslmode": "require", "sslrootcert": "/ca.pem"}.get(key, ["orders"])
    with pytest.raises(ConfigurationInvalid) as caught:
        validate(sqlite("sqlite:////srv/shop.db", **{key: value}))
    assert [fault.pointer for fault in caught.value.faults] == [f"/sources/databases/0/{key}"]
    validate(sqlite("${SHOP_DB}", **{key: value}))
    found = faults("${SHOP_DB}", {"SHOP_DB": "sqlite:////srv/shop.db"}, **{key: value})
    assert found == {f"/sources/databases/0/{key}": "is for PostgreSQL; a SQLite database is always kept whole."}


def test_the_live_file_is_left_out_of_folders_of_the_same_run_only() -> None:
    (folder,) = resolved("sqlite:////srv/shop.db").folders
    assert folder.sqlite == (Path("/srv/shop.db"),)
    (alone,) = resolved("sqlite:////srv/shop.db", as_type="files").folders
    assert alone.sqlite == ()
    (beside,) = resolved("postgresql://db/shop").folders
    assert beside.sqlite == ()


def test_the_side_files_are_left_out_even_when_they_appear_later(tmp_path: Path) -> None:
    from engine.progress import Silent
    from engine.sources.files import Found

    names = ["shop.db", "shop.db-wal", "shop.db-shm", "shop.db-journal", "shop.db.txt"]
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    text = sqlite(f"sqlite:///{tmp_path}/link/shop.db")
    text["sources"]["paths"] = [{"path": str(tmp_path)}]
    (folder,) = resolve(text, {}, cwd=CWD, home=HOME).folders
    walk = sources.folder(folder, skip=()).walk(Silent())
    next(walk)
    for name in names:
        (real / name).touch()
    assert [event.node.name for event in walk if isinstance(event, Found)] == [b"link", b"shop.db.txt"]


def test_the_sources_are_the_same_however_they_are_spelled() -> None:
    one = resolved("sqlite:////the/home/a b.db").source_fingerprint
    assert resolved("sqlite:///a%20b.db").source_fingerprint == one
    assert resolved("sqlite:////the/home/other.db").source_fingerprint != one


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=("Cs",)), min_size=1))
def test_every_path_has_a_url(name: str) -> None:
    path = Path("/srv") / name
    assert database_urls.sqlite_path(database_urls.sqlite_url(path)) == path
