"""Round trips through real servers: what was dumped comes back identical, whole or in single tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Cancelled, Corrupt, Different, TargetError
from engine.postgres.connection import Connection
from engine.targets.postgres import PostgresTarget, default_name
from tests.engine.pgfakes.content import content
from tests.engine.pgfakes.use import Dump, Impatient, dump, restore, target
from tests.support.postgres import PostgresServer, fresh_database

SAMPLE = (Path(__file__).parent / "pgfakes" / "sample.sql").read_text()
ODD = 'Odd "schema".x'


@pytest.fixture(scope="module", params=["postgres16", "postgres18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def made(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dump]:
    """The dump of the sample, whose database stays there to be compared with."""
    with fresh_database(server) as name:
        server.query(name, SAMPLE)
        yield dump(server.url(name), tmp_path_factory.mktemp("scratch"))


@pytest.fixture
def new(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database of the newer server that is not there yet; dropped afterwards."""
    yield "a new database"
    postgres.drop_database("a new database")


def test_everything_comes_back_as_it_was(server: PostgresServer, made: Dump, tmp_path: Path) -> None:
    into = target(server, "restored “copy”", tmp_path)
    try:
        assert into.probe(made.facts) == []
        report = restore(made, into)
        assert content(server, "restored “copy”") == content(server, made.name)
        assert report.warnings == report.differences == ()
        assert report.rows == sum(made.rows().values())
        assert report.tables == len(made.rows()) + len(made.facts["tablesWithoutData"])
        assert report.database == "restored “copy”"
        assert list(tmp_path.iterdir()) == []
    finally:
        server.drop_database("restored “copy”")


def test_a_dump_goes_into_a_newer_server(
    postgres16: PostgresServer, postgres18: PostgresServer, tmp_path: Path, new: str
) -> None:
    with fresh_database(postgres16) as name:
        postgres16.query(name, SAMPLE)
        report = restore(dump(postgres16.url(name), tmp_path), target(postgres18, new, tmp_path))
        assert content(postgres18, new)[0] == content(postgres16, name)[0]
    assert (report.differences, report.warnings) == ((), ())


def test_a_dump_by_a_newer_program_is_refused_before_anything_is_made(
    postgres16: PostgresServer, postgres18: PostgresServer, tmp_path: Path
) -> None:
    with fresh_database(postgres18) as name:
        made = dump(postgres18.url(name), tmp_path)
    into = target(postgres16, "never", tmp_path)
    for action in (lambda: into.probe(made.facts), lambda: restore(made, into)):
        with pytest.raises(TargetError, match="made by pg_dump 18 and does not restore into PostgreSQL 16"):
            action()
    assert "never" not in postgres16.databases()


SELECTIONS = [
    ((f"{ODD}.a.b",), {f"{ODD}.a.b": 2}),
    (("public.host=evil dbname=x",), {"public.host=evil dbname=x": 0}),
    (("public.orders",), {"public.orders": 6000}),
    (("public.customers", "public.orders"), {"public.customers": 1000, "public.orders": 6000}),
    (("public.events",), {"public.events_2025": 214, "public.events_2026_a": 62, "public.events_2026_rest": 124}),
    (("public.child",), {"public.child": 1}),
    (("public.narrow", 'public."empty"', '"public"."no_columns"'), None),
]


@pytest.mark.parametrize(("tables", "expected"), SELECTIONS, ids=lambda value: "+".join(value) if value else "")
def test_single_tables_come_back_without_reading_the_rest(
    server: PostgresServer, made: Dump, tmp_path: Path, tables: tuple[str, ...], expected: dict[str, int] | None
) -> None:
    if expected is None:
        with pytest.raises(TargetError, match=r'holds no table public\."empty"'):
            made.select(*tables)
        tables = ("public.narrow", '"public"."empty"', '"public"."no_columns"')
        expected = {"public.narrow": 30_000, "public.empty": 0, "public.no_columns": 2}
    selection = made.select(*tables)
    name = default_name("single", tmp_path.name[-20:])
    try:
        report = restore(made, target(server, name, tmp_path), selection)
        old_rows, old_definitions = content(server, made.name)
        new_rows, new_definitions = content(server, name)
        assert [row for row in new_rows if f"{row[0]}.{row[1]}" in expected] == [
            row for row in old_rows if f"{row[0]}.{row[1]}" in expected
        ]
        assert [definition for definition in new_definitions if definition not in old_definitions] == []
    finally:
        server.drop_database(name)
    blocks = [table for table in made.facts["tables"] if f"{table['schema']}.{table['name']}" in expected]
    assert report.rows == sum(expected.values()) == sum(table["rows"] for table in blocks)
    assert selection.size == made.facts["toc"]["length"] + sum(table["length"] for table in blocks)
    assert selection.size < len(made.data)


def test_a_selected_table_keeps_all_that_belongs_to_it(postgres: PostgresServer, tmp_path: Path, new: str) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, SAMPLE)
        made = dump(postgres.url(name), tmp_path)
        report = restore(
            made, target(postgres, new, tmp_path), made.select(f"{name}:public.customers", "public.orders")
        )
        definitions = content(postgres, name)[1]
    words = ("customers", "orders", "touch", "who buys", "a column")
    wanted = [
        (kind, text)
        for kind, text in definitions
        if any(word in text for word in words) and kind not in ("view", "matview") and "good_customers" not in text
    ]
    assert report.warnings == ()
    found = content(postgres, new)[1]
    assert [each for each in wanted if each not in found] == []
    assert {each[0] for each in wanted} == {
        "column", "comment", "constraint", "function", "index", "sequence", "statistics", "trigger",
    }  # fmt: skip


def test_a_foreign_key_to_a_table_that_is_not_selected_is_left_out_and_said(made: Dump) -> None:
    assert made.select("public.orders").warnings == (
        "The foreign key orders orders_customer_fkey is left out: it joins a table that is not selected.",
    )
    assert made.select("public.orders", "public.customers").warnings == ()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("public.nothing", "holds no table public.nothing"),
        ("orders", "holds no table orders"),
        ("other:public.orders", "holds no table other:public.orders"),
        ("public.good_customers", "is a view; only tables"),
        ("public.totals", "is a materialized view; only tables"),
    ],
)
def test_what_is_no_table_cannot_be_selected(made: Dump, name: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        made.select(name)


def test_names_that_can_be_read_in_two_ways_need_quotes(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(
            name, 'CREATE SCHEMA "a.b"; CREATE SCHEMA a; CREATE TABLE "a.b".c (v int); CREATE TABLE a."b.c" (v int)'
        )
        made = dump(postgres.url(name), tmp_path)
    with pytest.raises(TargetError, match=r"More than one table is meant by a\.b\.c"):
        made.select("a.b.c")
    assert made.select('"a.b"."c"').tables == (("a.b", "c"),)
    assert made.select('"a"."b.c"').tables == (("a", "b.c"),)


def test_settings_owner_and_privileges_of_the_database_come_back(
    postgres: PostgresServer, tmp_path: Path, new: str
) -> None:
    described = (
        "SELECT pg_get_userbyid(datdba), datconnlimit, datacl::text, shobj_description(d.oid, 'pg_database'),"
        " (SELECT array_agg(coalesce(rolname, '') || setting ORDER BY setting) FROM pg_db_role_setting s"
        "  LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) setting WHERE setdatabase = d.oid),"
        " pg_encoding_to_char(encoding), datcollate"
        " FROM pg_database d WHERE datname = %s"
    )
    postgres.query("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        postgres.query(
            "latin",
            """CREATE ROLE boss; CREATE ROLE guest; CREATE TABLE U&"stra\\00dfe" AS SELECT U&'\\00fc'::text AS v;
            GRANT SELECT ON U&"stra\\00dfe" TO guest; ALTER TABLE U&"stra\\00dfe" OWNER TO boss;
            ALTER DATABASE latin OWNER TO boss; COMMENT ON DATABASE latin IS 'it''s';
            ALTER DATABASE latin SET search_path TO "$user", public, "x y"; ALTER DATABASE latin SET work_mem TO '5MB';
            ALTER DATABASE latin SET default_transaction_read_only TO on;
            ALTER ROLE guest IN DATABASE latin SET "my.app" TO 'a''b';
            REVOKE ALL ON DATABASE latin FROM PUBLIC; GRANT CONNECT ON DATABASE latin TO guest WITH GRANT OPTION;
            ALTER DATABASE latin CONNECTION LIMIT 17""",
        )
        made = dump(postgres.url("latin"), tmp_path)
        assert made.rows() == {"public.straße": 1}
        report = restore(made, target(postgres, new, tmp_path))
        assert report.warnings == ()
        assert postgres.query("postgres", described, (new,)) == postgres.query("postgres", described, ("latin",))
        table = "SELECT relowner::regrole::text, relacl::text FROM pg_class WHERE relname = U&'stra\\00dfe'"
        assert postgres.query(new, table) == postgres.query("latin", table)
    finally:
        postgres.drop_database("latin")
        postgres.drop_database(new)
        postgres.query("postgres", "DROP ROLE IF EXISTS boss; DROP ROLE IF EXISTS guest")


def test_roles_that_are_missing_are_a_warning_and_the_data_comes_back(
    postgres: PostgresServer, tmp_path: Path, new: str
) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE ROLE gone; CREATE TABLE t AS SELECT 1 AS v; ALTER TABLE t OWNER TO gone")
        made = dump(postgres.url(name), tmp_path)
        postgres.query(name, "DROP OWNED BY gone; DROP ROLE gone")
    report = restore(made, target(postgres, new, tmp_path))
    assert (report.rows, len(report.warnings)) == (1, 1)
    assert "Owners and privileges are left out" in report.warnings[0]
    assert "gone" in report.warnings[0]


def test_extensions_come_back_and_missing_ones_are_refused(
    postgres16: PostgresServer, postgres: PostgresServer, tmp_path: Path, new: str
) -> None:
    with fresh_database(postgres) as name:
        postgres.query(
            name,
            "CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore; CREATE TABLE t (v text, h hstore);"
            "INSERT INTO t VALUES ('words', 'a=>1'); CREATE INDEX ON t USING gin (v gin_trgm_ops);"
            "CREATE TABLE plain AS SELECT 1 AS v",
        )
        made = dump(postgres.url(name), tmp_path)
        assert restore(made, target(postgres, new, tmp_path)).rows == 2
        assert content(postgres, new) == content(postgres, name)
    assert made.select("public.t").extensions == ("hstore", "pg_trgm")
    older = replace(made, facts={**made.facts, "clientVersion": "16.1", "serverVersion": 160001})
    into = target(postgres16, "never", tmp_path)
    with pytest.raises(TargetError, match="does not have the extensions hstore, pg_trgm"):
        into.probe(older.facts)
    assert into.probe(older.facts, tables=made.select("public.plain")) == []


def test_what_stands_in_the_way_is_found_before_anything_is_made(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE t AS SELECT 1 AS v")
        made = dump(postgres.url(name), tmp_path)
        with pytest.raises(TargetError, match="exists already"):
            restore(made, target(postgres, name, tmp_path))
        assert postgres.query(name, "SELECT v FROM t") == [(1,)]
        weak = Connection("127.0.0.1", postgres.port, "weak", "w", "never")
        postgres.query(name, "CREATE ROLE weak LOGIN PASSWORD 'w'")
        with pytest.raises(TargetError, match="role weak may not create databases"):
            PostgresTarget(weak, scratch=tmp_path, path="").probe(made.facts)
        postgres.query(name, "DROP ROLE weak")
    policy = {**made.facts, "policyRoles": ["nobody here"], "roles": ["nobody here"]}
    encoding = {**made.facts, "encoding": "EBCDIC"}
    for facts, sentence in (
        (policy, "name the roles nobody here"),
        (encoding, "encoding EBCDIC"),
        ({"format": "tar"}, "no PostgreSQL dump"),
    ):
        with pytest.raises(TargetError, match=sentence):
            target(postgres, "never", tmp_path).probe(facts)
    with pytest.raises(TargetError, match="needs the name"):
        PostgresTarget(Connection("127.0.0.1"), scratch=tmp_path, path="")
    assert "never" not in postgres.databases()


def test_a_role_that_is_no_superuser_restores_what_it_can_own(
    postgres: PostgresServer, tmp_path: Path, new: str
) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE ROLE maker LOGIN CREATEDB PASSWORD 'm'; CREATE TABLE t AS SELECT 1 AS v")
        made = dump(postgres.url(name), tmp_path)
    maker = Connection("127.0.0.1", postgres.port, "maker", "m", new)
    report = restore(made, PostgresTarget(maker, scratch=tmp_path, path=""))
    assert report.rows == 1
    assert "Owners and privileges are left out" in report.warnings[0]
    postgres.drop_database(new)
    postgres.query("postgres", "DROP ROLE maker")


@pytest.mark.parametrize("failure", [Corrupt("A pack is damaged."), KeyboardInterrupt()])
def test_a_stream_that_breaks_leaves_no_database(
    postgres: PostgresServer, tmp_path: Path, new: str, failure: BaseException
) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS v")
        made = dump(postgres.url(name), tmp_path)

    def breaking() -> Iterator[bytes]:
        yield made.data[:9000]
        assert leftovers(postgres, new)
        raise failure

    with pytest.raises(type(failure)) as caught:
        target(postgres, new, tmp_path).receive(made.facts, breaking())
    assert not leftovers(postgres, new)
    assert isinstance(failure, KeyboardInterrupt) or "was dropped again" in str(caught.value)


def test_a_cancelled_or_short_restore_leaves_no_database(postgres: PostgresServer, tmp_path: Path, new: str) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS v")
        made = dump(postgres.url(name), tmp_path)
    with pytest.raises(Cancelled):
        restore(made, target(postgres, new, tmp_path, progress=Impatient(looks=0)))
    for length in (3, made.facts["toc"]["length"], len(made.data) - 2000):
        with pytest.raises(TargetError, match="pg_restore failed"):
            restore(replace(made, data=made.data[:length]), target(postgres, new, tmp_path))
    assert not leftovers(postgres, new)


def test_rows_that_differ_are_found_and_the_database_kept(postgres: PostgresServer, tmp_path: Path, new: str) -> None:
    with fresh_database(postgres) as name:
        postgres.query(
            name, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS v; CREATE TABLE p (k int) PARTITION BY LIST (k)"
        )
        made = dump(postgres.url(name), tmp_path)
    (table,) = made.facts["tables"]
    wrong = {
        "has 1000 rows instead of 1001": {"tables": [{**table, "rows": 1001}]},
        "table public.other is missing": {"tables": [table, {**table, "name": "other"}]},
        "table public.q is missing": {"tablesWithoutData": [["public", "q"]]},
        "sequence public.s is missing": {"sequences": [["public", "s"]]},
        "0 large objects instead of 4": {"largeObjects": 4},
    }
    for sentence, change in wrong.items():
        with pytest.raises(Different, match=sentence) as caught:
            restore(replace(made, facts={**made.facts, **change}), target(postgres, new, tmp_path))
        assert f"It is kept as “{new}”" in str(caught.value)
        postgres.drop_database(new)


COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"


def leftovers(server: PostgresServer, name: str) -> list[str]:
    """Databases of this name, or of restores into it."""
    return [each for each in server.databases() if each == name or each.startswith(f"{name}_restore_")]


def test_a_database_has_its_name_only_when_it_is_complete(postgres: PostgresServer, tmp_path: Path, new: str) -> None:
    with fresh_database(postgres) as name:
        postgres.query("postgres", f'COMMENT ON DATABASE "{name}" IS $$its own$$')
        made = dump(postgres.url(name), tmp_path)
    into = target(postgres, new, tmp_path)
    into.receive(made.facts, [made.data])
    (working,) = leftovers(postgres, new)
    assert working != new
    assert "not complete" in postgres.query("postgres", COMMENT, (working,))[0][0]
    into.discard()
    assert not leftovers(postgres, new)
    report = restore(made, target(postgres, new, tmp_path))
    assert (report.tables, postgres.query("postgres", COMMENT, (new,))) == (0, [("its own",)])
    assert leftovers(postgres, new) == [new]


def test_what_a_killed_restore_left_is_dropped_by_the_next(postgres: PostgresServer, tmp_path: Path, new: str) -> None:
    """Only what carries our comment and a dead restore's label: not one that is at work, nor somebody's database."""
    with fresh_database(postgres) as name:
        made = dump(postgres.url(name), tmp_path)
    for label in ("run_dead0000", "run_alive000"):
        target(postgres, new, tmp_path, label=label).receive(made.facts, [made.data])
    foreign = f"{new}_restore_dead0000x"
    postgres.query("postgres", f'CREATE DATABASE "{foreign}"')
    copied = postgres.query("postgres", COMMENT, (f"{new}_restore_dead0000",))[0][0]
    postgres.query("postgres", f'COMMENT ON DATABASE "{foreign}" IS $${copied}$$')
    outcomes = target(postgres, new, tmp_path).sweep(lambda label: label == "run_dead0000")
    assert outcomes == [f"The new database “{new}_restore_dead0000” was dropped again."]
    assert sorted(leftovers(postgres, new)) == [f"{new}_restore_alive000", foreign]
    for each in leftovers(postgres, new):
        postgres.drop_database(each)


def test_the_longest_name_can_be_restored(postgres: PostgresServer, tmp_path: Path) -> None:
    longest = "ä" * 31 + "x"
    assert len(longest.encode()) == 63
    with fresh_database(postgres) as name:
        made = dump(postgres.url(name), tmp_path)
    try:
        assert restore(made, target(postgres, longest, tmp_path)).database == longest
        assert longest in postgres.databases()
    finally:
        postgres.drop_database(longest)


def test_a_name_that_was_taken_meanwhile_is_left_alone(postgres: PostgresServer, tmp_path: Path, new: str) -> None:
    with fresh_database(postgres) as name:
        made = dump(postgres.url(name), tmp_path)
    into = target(postgres, new, tmp_path)
    into.receive(made.facts, [made.data])
    postgres.query("postgres", f'CREATE DATABASE "{new}"')
    with pytest.raises(TargetError, match="made by somebody else meanwhile"):
        into.finish()
    assert leftovers(postgres, new) == [new]
