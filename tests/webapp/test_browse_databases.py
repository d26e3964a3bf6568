"""`ls`, `show`, `get` and `diff` on real dumps: exact rows, a dump that pg_restore takes, changes found by content."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from urllib.parse import quote

import pytest

from tests.support.forked import ForkedCommandLine
from tests.support.postgres import PostgresServer, fresh_database
from tests.webapp.points import Shop
from webapp.errors import Invalid, NotFound
from webapp.installation import open_installation
from webapp.services import browsing
from webapp.services.differences import Difference, differences
from webapp.settings import read_settings

FILLED = """
    CREATE TABLE same (id int PRIMARY KEY, word text);
    INSERT INTO same SELECT n, 'word ' || n FROM generate_series(1, 30000) n;
    CREATE TABLE grown (id int);
    INSERT INTO grown VALUES (1), (2), (3);
    CREATE TABLE rewritten (id int, word text);
    INSERT INTO rewritten SELECT n, 'before' FROM generate_series(1, 30000) n;
    CREATE TABLE dropped (id int);
    CREATE SCHEMA "Odd ""one";
    CREATE TABLE "Odd ""one"."a.b" (id int);
    INSERT INTO "Odd ""one"."a.b" VALUES (1), (NULL);
    CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9);
    INSERT INTO parts VALUES (1);
    SELECT lo_from_bytea(0, 'large');
"""
CHANGED = """
    CREATE TABLE added (id int);
    INSERT INTO added VALUES (1);
    INSERT INTO grown VALUES (4), (5);
    UPDATE rewritten SET word = 'after!' WHERE id = 29000;
    DROP TABLE dropped;
    CREATE INDEX first_of_all ON same (word);
    SELECT lo_from_bytea(0, 'larger');
"""


@dataclass(frozen=True)
class Dumps:
    shop: Shop
    server: PostgresServer
    database: str
    first: str
    second: str
    before: browsing.Point
    after: browsing.Point


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Dumps]:
    cli = ForkedCommandLine(tmp_path_factory.mktemp("dumps"))
    shop = Shop.at(cli)
    cli.environment["HOLDFAST_PG_BIN"] = str(postgres.bin)
    with fresh_database(postgres, "Shop one") as name:
        shop.configure(type="database", sources={"databases": [{"url": postgres.url(name)}]})
        postgres.query(name, FILLED)
        first = shop.create()
        postgres.query(name, CHANGED)
        second = shop.create()
        with closing(open_installation(read_settings({"HOLDFAST_HOME": str(cli.home)}))) as installation:
            before = browsing.open_point(installation, first, tell=lambda text: None)
            after = browsing.open_beside(installation, second, before, tell=lambda text: None)
            yield Dumps(shop, postgres, name, first, second, before, after)
    cli.close()


def test_tables_are_listed_with_exact_rows(dumps: Dumps) -> None:
    cli = dumps.shop.cli
    (root,) = cli("ls", dumps.first, "--json", code=0).json["entries"]
    assert (root["path"], root["kind"], root["name"]) == (f"postgres:{dumps.database}", "database", dumps.database)
    answer = cli("ls", dumps.first, root["path"], "--json", code=0).json
    rows = {(table["schema"], table["name"]): table["rows"] for table in answer["tables"]}
    assert rows == {
        ("public", "same"): 30000,
        ("public", "grown"): 3,
        ("public", "rewritten"): 30000,
        ("public", "dropped"): 0,
        ('Odd "one', "a.b"): 2,
        ("public", "part"): 1,
        ("public", "parts"): None,
    }
    assert root["tables"] == len(rows)
    assert all(table["bytes"] > 0 for table in answer["tables"] if table["rows"])
    text = cli("ls", dumps.first, "database:", code=0).stdout
    assert any(line.split() == ["public", "same", "30000", *line.split()[3:]] for line in text.splitlines())


def test_a_database_has_several_spellings(dumps: Dumps) -> None:
    name = dumps.database
    for text in (name, f"postgres:{name}", f"database:{name}", f"{name}:", f"{name}.dump", "database:"):
        assert browsing.database(dumps.before, text).name == name
    for text in ("", "shop", f"mysql:{name}", f"{name}.sql", ":", "database"):
        with pytest.raises(NotFound, match="shows what it holds"):
            browsing.database(dumps.before, text)


def test_one_name_for_two_databases_is_refused(dumps: Dumps) -> None:
    manifest = dumps.before.manifest
    twice = replace(dumps.before, manifest=replace(manifest, roots=manifest.roots * 2))
    with pytest.raises(Invalid, match="more than one database"):
        browsing.database(twice, dumps.database)


def test_show_tells_the_versions_and_rows(dumps: Dumps) -> None:
    answer = dumps.shop.cli("show", dumps.second, "--json", code=0).json
    (found,) = answer["databases"]
    assert (found["name"], found["tables"], found["rowsFrom"]) == (dumps.database, 7, "archive")
    assert found["serverVersion"].startswith("18")
    assert found["clientVersion"].startswith("18")
    assert found["largeObjects"] == 2
    assert {"schema": "public", "name": "grown", "rows": 5} in [
        {key: table[key] for key in ("schema", "name", "rows")} for table in found["contents"]
    ]
    text = dumps.shop.cli("show", dumps.second, code=0).stdout
    assert f"Database postgres:{dumps.database} (" in text
    assert "server 18" in text
    assert dumps.server.password not in text + str(answer)
    assert quote(dumps.server.password, safe="") not in text + str(answer)


def test_a_dump_comes_out_for_pg_restore(dumps: Dumps) -> None:
    cli, server = dumps.shop.cli, dumps.server
    cli("get", dumps.first, f"postgres:{dumps.database}", code=0)
    written = cli.folder / f"{dumps.database}.dump"
    piped = cli("get", dumps.first, f"{dumps.database}.dump", "-o", "-", code=0)
    assert piped.output == written.read_bytes()
    with fresh_database(server) as name:
        subprocess.run(
            [server.bin / "pg_restore", "--exit-on-error", f"--dbname={server.url(name)}", written],
            check=True,
            capture_output=True,
        )
        assert server.query(name, "SELECT count(*), min(word) FROM same") == [(30000, "word 1")]
        assert server.query(name, "SELECT count(*) FROM rewritten WHERE word = 'before'") == [(30000,)]
        assert server.query(name, 'SELECT id FROM "Odd ""one"."a.b" ORDER BY id') == [(1,), (None,)]
    written.unlink()


def test_changed_tables_are_found_by_their_content(dumps: Dumps) -> None:
    def table(what: str, name: str, before: int | None, after: int | None) -> Difference:
        return Difference(what, "table", "", dumps.database, "public", name, before, after)

    assert list(differences(dumps.before, dumps.after)) == [
        table("added", "added", None, 1),
        table("removed", "dropped", 0, None),
        table("changed", "grown", 3, 5),
        table("changed", "rewritten", 30000, 30000),
        Difference("changed", "large-objects", "", dumps.database, rows_before=1, rows_after=2),
    ]
    assert list(differences(dumps.after, dumps.after)) == []


def test_the_differences_as_text_and_json(dumps: Dumps) -> None:
    cli, name = dumps.shop.cli, dumps.database
    outcome = cli("diff", dumps.first, dumps.second, code=0)
    assert outcome.stdout.splitlines() == [
        f"added     {name}:public.added (1 rows)",
        f"removed   {name}:public.dropped (0 rows)",
        f"changed   {name}:public.grown (3 → 5 rows)",
        f"changed   {name}:public.rewritten (30000 → 30000 rows, other content)",
        f"changed   {name}: large objects (1 → 2)",
    ]
    answer = cli("diff", dumps.first, dumps.second, "--json", code=0).json
    assert answer["summary"] == {"added": 1, "removed": 1, "changed": 3, "metadata": 0}
    assert answer["changes"][2] == {
        "change": "changed",
        "kind": "table",
        "database": name,
        "schema": "public",
        "table": "grown",
        "rows": {"before": 3, "after": 5},
    }


def test_a_table_is_no_file(dumps: Dumps) -> None:
    outcome = dumps.shop.cli("get", dumps.first, f"{dumps.database}:public.same", code=10)
    assert "is not in the restore point" in outcome.stderr
    assert outcome.output == b""
