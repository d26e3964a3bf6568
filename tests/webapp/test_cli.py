"""The command line as a process: exit codes, one JSON document, sentences on stderr, nothing imported in vain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import COMMANDS, UNBUILT
from tests.support.command import CHECKOUT, CommandLine
from tests.webapp.support import document
from webapp.version import VERSION

CONTRACT_COMMANDS = """create list show ls get diff restore undo verify schedule stats cleanup restore-point destination
    config user token key audit logs cancel pin unpin approve drill doctor serve worker scheduler completion
    rescue""".split()
SLOW = {"alembic", "boto3", "flask", "psycopg", "pydantic", "redis", "rich", "rq"}


@pytest.fixture
def shop(cli: CommandLine) -> Path:
    """A valid configuration file in the folder where commands are typed."""
    path = cli.folder / "shop.json"
    path.write_text(json.dumps(document()))
    return path


def test_every_command_of_the_contract_is_there(cli: CommandLine) -> None:
    assert set(CONTRACT_COMMANDS) == {*COMMANDS, *UNBUILT}
    text = cli("--help", code=0).stdout
    for name in CONTRACT_COMMANDS:
        assert f"\n  {name} " in text
    assert not cli.home.exists()


def test_the_version(cli: CommandLine) -> None:
    assert VERSION in cli("--version", code=0).stdout
    assert f'version = "{VERSION}"' in (CHECKOUT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        *([name, "--any", "thing"] for name in UNBUILT),
        ["verify", "--all", "--drill"],
    ],
    ids=" ".join,
)
def test_what_is_not_built_ends_with_2_and_one_sentence(cli: CommandLine, arguments: list[str]) -> None:
    outcome = cli(*arguments, code=2)
    assert outcome.output == b""
    assert outcome.stderr.startswith("Error: `")
    assert outcome.stderr.endswith("is not built yet.\n")
    assert outcome.stderr.count("\n") == 1


def test_a_flag_that_is_not_built_gives_json_too(cli: CommandLine) -> None:
    outcome = cli("verify", "--all", "--drill", "--json", code=2)
    assert outcome.json == {"error": "`verify --drill` is not built yet.", "hint": None, "errors": []}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["list", "--nonsense"],
        ["list", "--since", "yesterday"],
        ["list", "--limit", "0"],
        ["list", "--runs", "--configs"],
        ["create"],
        ["create", "--config", "a", "--file", "b"],
        ["create", "--type", "partial"],
        ["create", "--type", "full", "--tag", "novalue"],
        ["verify", "--all", "--backup", "x"],
        ["verify", "--read-data", "0"],
        ["restore"],
        ["config", "validate"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(cli: CommandLine, arguments: list[str]) -> None:
    outcome = cli(*arguments, code=2)
    assert outcome.output == b""
    assert outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_configurations_from_import_to_delete(cli: CommandLine, shop: Path) -> None:
    assert cli("config", "list", "--json", code=0).json == []
    assert cli("config", "import", "shop.json", "--json", code=0).json == [{"configId": "shop", "result": "created"}]
    assert cli("config", "import", "shop.json", code=0).stdout == "shop: unchanged\n"
    shop.write_text(json.dumps(document(name="Other")))
    assert cli("config", "import", "shop.json", code=0).stdout == "shop: updated\n"
    listed = cli("list", "--configs", "--json", code=0).json
    assert [(item["id"], item["version"]) for item in listed] == [("shop", 2)]
    assert listed[0]["createdAt"].endswith("Z")
    assert cli("config", "show", "shop", code=0).json == document(name="Other")
    assert "Other" in cli("config", "list", code=0).stdout
    assert "--confirm shop" in cli("config", "delete", "shop", code=5).stderr
    assert cli("config", "delete", "shop", "--confirm", "other", code=5).output == b""
    assert cli("config", "delete", "shop", "--confirm", "shop", "--json", code=0).json["backupsKept"] == 0
    assert "no configuration shop" in cli("config", "show", "shop", code=10).stderr


def test_nothing_is_stored_when_one_of_several_files_is_wrong(cli: CommandLine, shop: Path) -> None:
    (cli.folder / "wrong.json").write_text(json.dumps(document(id="other", schedule="never")))
    outcome = cli("config", "import", "shop.json", "wrong.json", "--json", code=2)
    assert outcome.json["errors"][0]["pointer"] == "/schedule"
    assert "/schedule: is not a schedule" in outcome.stderr
    assert cli("config", "list", "--json", code=0).json == []


def test_an_export_has_no_secrets_and_overwrites_nothing(cli: CommandLine) -> None:
    typed = document(sources={"databases": [{"url": "postgresql://shop:canary@db/shop"}]})
    (cli.folder / "shop.json").write_text(json.dumps(typed))
    cli("config", "import", "shop.json", code=0)
    cli("config", "export", "shop", "-o", "out.json", code=0)
    assert "canary" not in (cli.folder / "out.json").read_text()
    cli("config", "validate", "out.json", code=0)
    cli("config", "export", "shop", "-o", "shop.json", code=2)
    assert json.loads((cli.folder / "shop.json").read_text()) == typed
    for command in (("config", "show", "shop"), ("config", "list", "--json"), ("config", "export", "shop")):
        assert "canary" not in str(cli(*command, code=0))


def test_the_examples_are_valid_for_the_command_line_too(cli: CommandLine) -> None:
    files = sorted((CHECKOUT / "configs").glob("backup-*.json"))
    answer = cli("config", "validate", *files, "--json", code=0).json
    assert [item["valid"] for item in answer] == [True] * 3
    assert not cli.home.exists()


def test_all_faults_of_the_environment_at_once(cli: CommandLine) -> None:
    environment = {"BACKUP_ENCRYPTION_KEY": "canary", "HOLDFAST_BIND": "canary:x", "HOLDFAST_TIMEZONE": "Mars"}
    outcome = cli("config", "list", env=environment, code=2)
    for name in environment:
        assert f"\n  {name}: " in outcome.stderr
    assert "canary" not in outcome.stderr
    assert not cli.home.exists()


def test_a_home_that_cannot_be_used(cli: CommandLine) -> None:
    cli.home.write_text("a file")
    outcome = cli("list", "--runs", code=2)
    assert "HOLDFAST_HOME" in outcome.stderr
    assert cli.home.read_text() == "a file"


def test_a_misspelt_variable_is_a_warning(cli: CommandLine) -> None:
    outcome = cli("list", "--runs", "--json", env={"HOLDFAST_TIMEZON": "UTC"}, code=0)
    assert outcome.json == []
    assert "HOLDFAST_TIMEZON is not a variable" in outcome.stderr


def test_a_new_key_is_printed_and_nothing_is_stored(cli: CommandLine) -> None:
    keys = {cli("key", "generate", code=0).stdout.strip() for _ in range(2)}
    assert len(keys) == 2
    assert all(len(bytes.fromhex(key)) == 32 for key in keys)
    assert not cli.home.exists()


def test_a_reader_that_goes_away_is_no_crash(cli: CommandLine) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-P", "-m", "cli", "config", "list", "--json"]
    with os.fdopen(write_end) as closed:
        outcome = subprocess.run(
            command, env=cli.base_environment(), stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert outcome.returncode == 1
    assert outcome.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [(["--help"], SLOW | {"sqlalchemy"}), (["list", "--runs"], SLOW), (["key", "generate"], SLOW | {"sqlalchemy"})],
    ids=["help", "runs", "key"],
)
def test_nothing_slow_is_imported_in_vain(cli: CommandLine, arguments: list[str], forbidden: set[str]) -> None:
    cli("list", "--runs", code=0)
    script = (
        "import sys; from cli.main import run; code = run(sys.argv[1:]); print(code, *sys.modules, file=sys.stderr)"
    )
    outcome = subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        env=cli.base_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    code, *modules = outcome.stderr.split("\n")[-2].split(" ")
    assert code == "0"
    assert "cli.main" in modules
    assert not forbidden & set(modules)


def test_an_error_that_nobody_foresaw_is_a_sentence_and_debug_shows_where(cli: CommandLine) -> None:
    cli("list", "--runs", code=0)
    broken = "UPDATE alembic_version SET version_num = '0001'; ALTER TABLE runs RENAME COLUMN kind TO sort"
    import sqlite3

    with sqlite3.connect(cli.home / "holdfast.db") as connection:
        connection.executescript(broken)
    outcome = cli("list", "--runs", code=1)
    assert outcome.stderr.startswith("Error: ")
    assert "Traceback" not in outcome.stderr
    assert "Traceback" in cli("--debug", "list", "--runs", code=1).stderr


@pytest.mark.parametrize("arguments", [["restore"], ["create", "--type", "odd"], ["list", "--limit", "x"], ["no-such"]])
def test_wrong_usage_is_one_document_too(cli: CommandLine, arguments: list[str]) -> None:
    outcome = cli(*arguments, "--json", code=2)
    assert outcome.json["error"]
    assert outcome.json["errors"] == []
