"""What `create` stores and says before it runs: only what can run stays, and what has no effect is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e_cli.shop import Shop, told


def configured(shop: Shop) -> list[str]:
    return [each["id"] for each in shop.cli("config", "list", "--json", code=0).json]


def test_a_file_that_cannot_run_is_not_stored(shop: Shop) -> None:
    unset = shop.write(sources={"paths": [{"path": "${NOT_SET}"}]})
    assert "NOT_SET" in shop.cli("create", "--file", unset, code=2).stderr
    hooked = shop.write(hooks={"before": [{"command": ["/bin/true"]}]})
    assert "hooks is not built yet" in told(shop.cli("create", "--file", hooked, code=2))
    assert configured(shop) == []
    shop.create()
    shop.cli("create", "--file", shop.write(sources={"paths": [{"path": "${NOT_SET}"}]}), code=2)
    document = shop.cli("config", "show", "shop", "--json", code=0).json
    assert document["sources"]["paths"][0]["path"] == str(shop.uploads), "the version that works stays"


def test_a_file_is_stored_before_a_run_that_fails(shop: Shop) -> None:
    """Contract: `--file` stores the configuration, then runs it."""
    gone = shop.write(sources={"paths": [{"path": "/nowhere/at/all"}]})
    assert "does not exist" in told(shop.cli("create", "--file", gone, code=1))
    assert configured(shop) == ["shop"]


@pytest.mark.parametrize(
    ("variables", "code"),
    [({}, 2), ({"UPLOAD_DIR": "/nowhere/at/all"}, 1), ({"DATABASE_URL": "sqlite:///nothing.db"}, 1)],
)
def test_defaults_that_fail_are_not_left_configured(shop: Shop, variables: dict[str, str], code: int) -> None:
    shop.cli("create", "--type", "full", env=variables, code=code)
    assert configured(shop) == []
    good = {"UPLOAD_DIR": str(shop.uploads)}
    shop.cli("create", "--type", "full", env=good, code=0)
    assert configured(shop) == ["default-full"]
    shop.cli("create", "--type", "full", env={"UPLOAD_DIR": "/nowhere/at/all"}, code=1)
    assert configured(shop) == ["default-full"], "one that has restore points stays"


def test_settings_without_effect_are_told_in_one_line(shop: Shop) -> None:
    idle = shop.write(verify={"afterBackup": True}, drill={"schedule": "0 3 * * 0"}, schedule="0 2 * * *")
    outcome = shop.cli("create", "--file", idle, code=0)
    (line,) = [line for line in outcome.stderr.splitlines() if "no effect" in line]
    assert line == "Warning: drill of shop has no effect: not built yet."
    with_schedule = shop.write(schedule="@daily", notifications={"onFailure": ["ops@example.com"]})
    assert "no effect" not in shop.cli("create", "--file", with_schedule, code=0).stderr
    both = shop.write(verify={"schedule": "@weekly"}, drill={"schedule": "0 3 * * 0"})
    one = shop.cli("create", "--file", both, "--json", code=0)
    assert one.json["status"] == "succeeded"
    assert "verify.schedule and drill of shop have no effect" in one.stderr


def test_a_backup_is_read_back_where_its_configuration_asks_for_it(shop: Shop) -> None:
    made = shop.cli("create", "--file", shop.write(verify={"afterBackup": True}), "--json", code=0)
    assert f"{made.json['backupId']} was read back (100 % of its data) and is sound." in made.stderr
    listed = shop.cli("list", "--runs", "--json", code=0).json
    found = {run["kind"]: run for run in listed}
    assert (found["verify"]["trigger"], found["verify"]["backupId"]) == ("after-backup", made.json["backupId"])


def test_a_destination_of_a_user_who_does_not_exist(shop: Shop) -> None:
    place = {"type": "local", "config": {"path": "~no-such-user/backups"}}
    assert "there is no user no-such-user" in told(
        shop.cli("create", "--file", shop.write(destinations=[place]), code=1)
    )
    add = shop.cli("destination", "add", "x", "--path", "~no-such-user/backups", code=1)
    assert "there is no user no-such-user" in told(add)


def test_a_pipe_that_nobody_writes_to_is_given_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.schema.document.PIPE_SECONDS", 1.0)
    pipe = shop.cli.folder / "pipe"
    os.mkfifo(pipe)
    for command in (("create", "--file"), ("config", "validate"), ("config", "import")):
        assert "did not come in 1 s" in told(shop.cli(*command, pipe, code=2))


def test_a_pipe_with_a_configuration_works(shop: Shop) -> None:
    """As a shell's `--file <(…)` makes one."""
    pipe = shop.cli.folder / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", 'cat "$1" >"$2"', "sh", shop.write(), pipe])
    shop.cli("create", "--file", pipe, code=0)
    assert writer.wait() == 0


@pytest.mark.parametrize("endless", ["/dev/zero", "/dev/urandom"])
def test_endless_input_is_bounded(shop: Shop, endless: str) -> None:
    assert "larger than 1 MiB" in shop.cli("create", "--file", endless, code=2).stderr


def test_what_a_restore_compared_is_told(shop: Shop) -> None:
    made = shop.create()["backupId"]
    plain = shop.cli("restore", "--backup", made, "--to", "a", code=0).stdout
    whole = shop.cli("restore", "--backup", made, "--to", "b", "--verify", code=0).stdout
    assert "every byte was read back" in plain
    assert "compared  names, attributes and every byte of 12 files" in whole


def test_groups_mark_what_is_not_built(shop: Shop) -> None:
    """The short help of a command ends at its first sentence, so the mark must be in it."""
    from cli.commands.unbuilt import unbuilt

    command = unbuilt("later", "Does it later.")
    assert command.get_short_help_str() == "Does it later (not built yet)."


def test_a_folder_is_no_configuration(shop: Shop, tmp_path: Path) -> None:
    assert "Is a directory" in told(shop.cli("create", "--file", tmp_path, code=2))
