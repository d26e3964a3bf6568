"""Database URLs: parsed to the letter, refused in one sentence, never leaking a password or a connection string."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SourceError, TargetError
from engine.postgres.connection import NAME_BYTES, Connection, check, default_name, hide, parse_url
from engine.postgres.process import Credentials, credentials

SECRET = "hunter2-is-secret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://db", Connection(host="db")),
        ("postgres://u:p@db:5433/shop", Connection("db", 5433, "u", "p", "shop")),
        ("postgresql+psycopg2://u@db/shop", Connection("db", 5432, "u", "", "shop")),
        ("postgresql://u:p%40ss%3Aw%2Frd%25@db/shop", Connection("db", 5432, "u", "p@ss:w/rd%", "shop")),
        ("postgresql://u:a:b@c@db/shop", Connection("db", 5432, "u", "a:b@c", "shop")),
        ("postgresql://[::1]:5432/x", Connection("::1", 5432, database="x")),
        ("postgresql://%2Fvar%2Frun%2Fpg/x", Connection("/var/run/pg", 5432, database="x")),
        ("postgresql:///x?host=/tmp/s&port=6000&user=me", Connection("/tmp/s", 6000, "me", "", "x")),
        ("postgresql://db/*", Connection("db")),
        ("postgresql://db/", Connection("db")),
        ("postgresql://db/host=evil%20dbname=x", Connection("db", database="host=evil dbname=x")),
        ("postgresql://db/caf%C3%A9?sslmode=require", Connection("db", database="café", sslmode="require")),
        (
            "postgresql://db/x?sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k",
            Connection("db", database="x", sslmode="verify-full", sslrootcert="/ca", sslcert="/c", sslkey="/k"),
        ),
    ],
)
def test_urls_are_parsed(url: str, expected: Connection) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://u@db/x", "must look like"),
        ("db.example.com/shop", "must look like"),
        ("host=evil dbname=x", "must look like"),
        ("", "must look like"),
        (f"postgresql://u:{SECRET}#@db/x", "“#”"),
        (f"postgresql://u:{SECRET}%zz@db/x", "“%”"),
        (f"postgresql://u:{SECRET}/4@db/x", "port"),
        ("postgresql://db:0/x", "port"),
        ("postgresql://db:70000/x", "port"),
        (f"postgresql://u:{SECRET}@db/x?colour=red", "unknown parameter “colour”"),
        (f"postgresql://u:{SECRET}@db/x?options=-csearch_path%3Dx", "unknown parameter “options”"),
        (f"postgresql://u:{SECRET}@db/x?service=y", "unknown parameter “service”"),
        (f"postgresql://u:{SECRET}@db/x?user=other", "“user” twice"),
        ("postgresql://db/x?port=1&port=2", "“port” twice"),
        ("postgresql://db/x?sslmode=maybe", "not an sslmode"),
        ("postgresql://db/x?sslmode=verify-full", "needs sslrootcert"),
        ("postgresql://a,b/x", "not the name of one database server"),
        ("postgresql://db%20port=1/x", "not the name of one database server"),
        ("postgresql://db/x%00y", "NUL"),
        (f"postgresql://u:{SECRET}%0A@db/x", "line break"),
        ("postgresql://db/%FF", "not UTF-8"),
        ("postgresql://::1/x", "cannot be told apart"),
        (f"postgresql://db/{'n' * 64}", "longer than the 63 bytes"),
    ],
)
def test_bad_urls_are_refused_in_a_sentence_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=re.escape(sentence)) as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)
    with pytest.raises(TargetError):
        parse_url(url, error=TargetError)


def test_settings_of_the_configuration_go_before_those_of_the_url() -> None:
    found = parse_url("postgresql://db/x?sslmode=disable", sslmode="verify-ca", sslrootcert="/ca")
    assert (found.sslmode, found.sslrootcert) == ("verify-ca", "/ca")


def test_no_spelling_of_a_connection_shows_the_password() -> None:
    connection = parse_url(f"postgresql://u:{SECRET}@db:5433/shop")
    assert connection.password == SECRET
    for spelled in (repr(connection), str(connection), connection.describe(), connection.conninfo()):
        assert SECRET not in spelled
    assert connection.describe() == "postgresql://u@db:5433/shop"
    assert parse_url("postgresql://u@[::1]/x").describe() == "postgresql://u@[::1]:5432/x"
    assert "host=/tmp/s" in parse_url("postgresql:///x?host=/tmp/s").describe()


names = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(names, names)
def test_conninfo_says_to_libpq_exactly_what_the_fields_hold(database: str, user: str) -> None:
    connection = Connection(host="db", user=user, database=database, sslmode="require")
    assert psycopg.conninfo.conninfo_to_dict(connection.conninfo()) == {
        "host": "db", "port": "5432", "user": user, "dbname": database, "sslmode": "require",
    }  # fmt: skip


@given(names)
def test_a_password_file_holds_the_password_and_is_private_and_goes_away(password: str) -> None:
    password = password.replace("\n", "").replace("\r", "") or "x"
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with credentials(Connection(password=password), scratch) as login:
            file = Path(login.environment["PGPASSFILE"])
            assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
            assert _last_field(file.read_bytes().decode()) == password
        assert list(scratch.iterdir()) == []


def test_a_password_file_goes_away_on_an_error_and_early_when_asked(tmp_path: Path) -> None:
    def failing() -> None:
        with credentials(Connection(password="p"), tmp_path) as login:
            assert Path(login.environment["PGPASSFILE"]).exists()
            login.forget()
            assert not Path(login.environment["PGPASSFILE"]).exists()
            raise ValueError

    with pytest.raises(ValueError):
        failing()
    assert list(tmp_path.iterdir()) == []


def test_the_environment_of_children_is_made_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPASSWORD", "PGOPTIONS", "PGSERVICE", "HOME", "HOLDFAST_SECRET"):
        monkeypatch.setenv(name, "leaked")
    environment = Credentials(Connection(password=SECRET), tmp_path).environment
    assert "leaked" not in environment.values()
    assert SECRET not in environment.values()
    assert set(environment) == {"PATH", "LC_ALL", "HOME", "TMPDIR", "PGPASSFILE", "PGCONNECT_TIMEOUT", "PGAPPNAME"}


@given(names)
def test_default_names_fit_and_keep_their_ending(base: str) -> None:
    name = default_name(base * 9, "abcdef123456")
    assert len(name.encode()) <= NAME_BYTES
    assert name.endswith("_restored_abcdef123456")
    assert (base * 9).startswith(name.removesuffix("_restored_abcdef123456"))


def test_a_name_is_cut_at_a_character() -> None:
    assert default_name("ä" * 40, "x" * 12) == "ä" * 20 + "_restored_" + "x" * 12
    assert default_name("shop", "1") == "shop_restored_1"
    with pytest.raises(ValueError, match="leaves no room"):
        default_name("shop", "x" * 60)


def test_a_connection_made_by_hand_is_checked_too() -> None:
    for bad in (Connection(database="a\0b"), Connection(host="a b"), Connection(password="a\nb")):
        with pytest.raises(TargetError):
            check(bad, error=TargetError)


def _last_field(line: str) -> str:
    """What libpq reads as the password of a line of its password file."""
    assert line.startswith("*:*:*:*:")
    assert line.endswith("\n")
    return re.sub(r"\\(.)", r"\1", line.removeprefix("*:*:*:*:")[:-1], flags=re.DOTALL)


@pytest.mark.parametrize(
    ("password", "text", "shown"),
    [
        ("a", "a table has a row", "a table has a row"),
        ("a", "password=a is wrong", "password=*** is wrong"),
        ("a", "postgresql://anna:a@database/a", "postgresql://anna:***@database/a"),
        ("or", 'invalid value "or" for color', 'invalid value "***" for color'),
        ("", "nothing to hide", "nothing to hide"),
        ("long enough", "xlong enoughx", "x***x"),
    ],
)
def test_a_short_password_does_not_mangle_other_words(password: str, text: str, shown: str) -> None:
    assert hide(text, password) == shown
