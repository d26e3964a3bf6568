"""docs/cli.md, docs/configuration.md and configs/example.env say what the code does."""

from __future__ import annotations

import re

from cli import exits
from cli.main import COMMANDS, UNBUILT
from tests.support.command import CHECKOUT
from webapp.schema import defaults, publish, retention
from webapp.settings import KNOWN, read_settings

CLI = (CHECKOUT / "docs" / "cli.md").read_text(encoding="utf-8")
CONFIGURATION = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = (CHECKOUT / "configs" / "example.env").read_text(encoding="utf-8")
GIVEN = {
    "BACKUP_ENCRYPTION_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "REDIS_URL",
    defaults.BUCKET_VARIABLE,
    defaults.DATABASE_VARIABLE,
    *defaults.FOLDER_VARIABLES,
}


def test_every_command_is_described() -> None:
    missing = [name for name in (*COMMANDS, *UNBUILT) if not re.search(rf"`{re.escape(name)}[ `]", CLI)]
    assert missing == []
    unbuilt = CLI.partition("Not built yet")[2].partition("## ")[0]
    assert [name for name in UNBUILT if f"`{name}`" not in unbuilt] == []
    assert [name for name in COMMANDS if f"`{name}`" in unbuilt] == []


def test_every_exit_code_is_described() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", CLI, flags=re.MULTILINE)}
    assert documented == {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}


def test_every_variable_is_described_and_in_the_example() -> None:
    table = CONFIGURATION.partition("## A backup configuration")[0]
    documented = set(re.findall(r"`([A-Z][A-Z0-9_]{5,})`", table))
    assert documented >= KNOWN | GIVEN
    named = set(re.findall(r"^([A-Z0-9_]+)=", EXAMPLE, flags=re.MULTILINE))
    assert named == (KNOWN | GIVEN) - {"HOLDFAST_VENV"}


def test_the_example_environment_is_acceptable() -> None:
    values = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if line and not line.startswith("#"))
    assert read_settings(values).warnings == ()


def test_every_key_of_the_schema_is_described() -> None:
    schema = publish.schema()
    keys = {*schema["properties"], *retention.Retention.model_json_schema()["properties"]}
    for name in ("Database", "Folder", "s3", "Notifications", "Verify", "Drill", "Hooks", "Objectives"):
        keys.update(schema["$defs"][name]["properties"])
    assert [key for key in sorted(keys - {"$schema"}) if not re.search(rf"\b{key}\b", CONFIGURATION)] == []
