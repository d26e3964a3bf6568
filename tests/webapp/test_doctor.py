"""`doctor`: finds each thing that is wrong, says what to do, and is content with what is right."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.command import CommandLine
from tests.support.forked import ForkedCommandLine
from tests.webapp.points import Shop
from tests.webapp.support import document
from webapp.clock import utc_now
from webapp.errors import SettingsInvalid, Unavailable
from webapp.installation import Installation, open_installation
from webapp.models.backup import DAMAGED, Backup
from webapp.services import configurations, doctor, records, restore_points, runs
from webapp.services.doctor import Finding
from webapp.services.runs import NewRun, Outcome
from webapp.settings import read_settings


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    cli = ForkedCommandLine(tmp_path_factory.mktemp("doctor"))
    shop = Shop.at(cli)
    (shop.source / "file").write_text("content")
    shop.configure(schedule="0 2 * * *", timezone="Europe/Berlin")
    made = cli("create", "--config", "shop", code=0)
    (code,) = re.findall(r"(?:[A-Z2-7]{4}-?\s*){14}", made.stderr)
    cli("key", "kit", "--confirm", input="".join(code.split()), code=0)
    yield shop
    cli.close()


@pytest.fixture
def home(healthy: Shop, tmp_path: Path) -> Path:
    """A copy of a healthy home, to be made ill."""
    shutil.copytree(healthy.cli.home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def installation(home: Path) -> Iterator[Installation]:
    opened = open_installation(read_settings({"HOLDFAST_HOME": str(home), "PATH": os.defpath}))
    yield opened
    opened.close()


def examine(installation: Installation) -> list[Finding]:
    return doctor.examine(installation.settings, opened=lambda: installation, cwd=Path("/"))


def bad(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(each.level, each.check, each.message) for each in found if each.level != "ok"]


def test_a_healthy_installation(healthy: Shop) -> None:
    answer = healthy.cli("doctor", "--json", code=0).json
    assert answer["status"] == "ok"
    assert {check["status"] for check in answer["checks"]} == {"ok"}
    names = [check["check"] for check in answer["checks"]]
    for expected in ("home", "database", "key", "keyring", "destination backups", "configuration shop"):
        assert expected in names
    text = healthy.cli("doctor", code=0).stdout
    assert all(line.startswith("ok ") for line in text.splitlines())


def test_before_the_first_backup_nothing_is_made(cli: CommandLine) -> None:
    outcome = cli("doctor", code=0)
    assert "is not there yet" in outcome.stdout
    assert not cli.home.exists()


def test_all_faults_of_the_environment(cli: CommandLine) -> None:
    environment = {"BACKUP_ENCRYPTION_KEY": "canary", "HOLDFAST_TIMEZONE": "Mars"}
    answer = cli("doctor", "--json", env=environment, code=1).json
    assert [check["status"] for check in answer["checks"]] == ["error", "error"]
    assert "BACKUP_ENCRYPTION_KEY" in answer["checks"][0]["message"]
    assert "canary" not in str(answer)


def test_warnings_end_with_3_and_say_what_to_do(healthy: Shop) -> None:
    outcome = healthy.cli("doctor", env={"HOLDFAST_TIMEZON": "UTC"}, code=3)
    assert "warning  environment: HOLDFAST_TIMEZON is not a variable" in outcome.stdout


def _open_home(home: Path) -> None:
    home.chmod(0o755)


def _open_key(home: Path) -> None:
    (home / "backup.key").chmod(0o644)


def _no_key(home: Path) -> None:
    (home / "backup.key").unlink()


def _broken_key(home: Path) -> None:
    (home / "backup.key").write_text("not a key")


def _other_key(home: Path) -> None:
    (home / "backup.key").write_text("ab" * 32)


def _no_keyring_and_no_place(home: Path) -> None:
    shutil.rmtree(home / "keys")
    shutil.rmtree(home / "backups")


def _no_place(home: Path) -> None:
    shutil.rmtree(home / "backups")


def _emptied_place(home: Path) -> None:
    _no_place(home)
    (home / "backups").mkdir()


def _broken_place(home: Path) -> None:
    (home / "backups" / "holdfast.json").write_text("{}")


def _leftovers(home: Path) -> None:
    (home / "spool" / "0123456789abcdef").mkdir(parents=True)
    (home / "spool" / "0123456789abcdef" / "lock").touch()
    staged = home / ".keys.0123456789abcdef"
    staged.mkdir()
    os.utime(staged, (1, 1))


@pytest.mark.parametrize(
    ("harm", "level", "check", "words"),
    [
        (_open_home, "warning", "home", "mode 0755"),
        (_open_key, "warning", "key", "mode 0644"),
        (_no_key, "error", "key", "There is no encryption key"),
        (_broken_key, "error", "key", "64 hexadecimal digits"),
        (_other_key, "error", "keyring", "is not the one"),
        (_no_keyring_and_no_place, "error", "keyring", "is gone"),
        (_no_place, "error", "destination backups", "is not there"),
        (_emptied_place, "error", "destination backups", "holds no repository"),
        (_broken_place, "error", "destination backups", "damaged"),
        (_leftovers, "warning", "leftovers", "1 scratch folders"),
        (_leftovers, "warning", "leftovers", ".keys.0123456789abcdef"),
    ],
)
def test_what_is_wrong_is_found(
    installation: Installation, home: Path, harm: Callable[[Path], None], level: str, check: str, words: str
) -> None:
    harm(home)
    found = examine(installation)
    matching = [each for each in found if (each.level, each.check) == (level, check) and words in each.message]
    assert matching, found
    assert all(each.hint for each in matching)
    assert doctor.worst(found) == level


def test_a_living_run_is_no_leftover(installation: Installation, home: Path) -> None:
    folder = home / "spool" / "0123456789abcdef"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert bad(examine(installation)) == []


def test_a_database_that_cannot_be_opened(installation: Installation) -> None:
    def refuse() -> Installation:
        raise Unavailable("The database is at revision 9999.", hint="Use a newer version.")

    found = doctor.examine(installation.settings, opened=refuse, cwd=Path("/"))
    assert ("error", "database", "The database is at revision 9999.") in bad(found)
    assert "key" in {each.check for each in found}


def test_a_damaged_database(installation: Installation, home: Path) -> None:
    installation.close()
    database = home / "holdfast.db"
    with database.open("r+b") as file:
        for page in range(3, database.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    found = examine(installation)
    assert [each.check for each in found if each.level == "error"] == ["database"]


def test_configurations_that_cannot_run(installation: Installation) -> None:
    unset = {"sources": {"paths": [{"path": "${NOWHERE}"}]}}
    configurations.store(installation, document(id="unset", **unset))
    configurations.store(installation, document(id="paused", enabled=False, **unset))
    found = {each.check: each for each in examine(installation) if each.level != "ok"}
    assert found["configuration unset"].level == "error"
    assert "${NOWHERE}" in found["configuration unset"].message
    assert found["configuration paused"].level == "warning"
    assert found["backups of unset"].message == "There is no restore point."
    assert "backups of paused" not in found


def test_a_backup_that_is_due(installation: Installation) -> None:
    assert bad(examine(installation)) == []
    later = replace(installation, clock=lambda: utc_now() + timedelta(days=3))
    ((level, check, message),) = bad(examine(later))
    assert (level, check) == ("warning", "backups of shop")
    assert "3 days old: one is due" in message


def test_an_objective_counts_before_the_schedule(installation: Installation) -> None:
    stored = configurations.find(installation, "shop").document
    configurations.store(installation, {**stored, "objectives": {"rpoMinutes": 10}})
    assert bad(examine(installation)) == []
    later = replace(installation, clock=lambda: utc_now() + timedelta(minutes=11))
    assert [check for _, check, _ in bad(examine(later))] == ["backups of shop"]


def test_a_last_run_that_failed(installation: Installation) -> None:
    run = runs.start(installation, NewRun("create", "local:test", config_id="shop"))
    runs.finish(installation, run.id, Outcome("failed", error="The disk is full.", hint="Free some space."))
    (found,) = [each for each in examine(installation) if each.level != "ok"]
    assert (found.level, found.check, found.hint) == ("warning", "backups of shop", "Free some space.")
    assert found.message == f"The last run {run.public_id} failed: The disk is full."


def test_copies_that_are_damaged(installation: Installation) -> None:
    (place,) = restore_points.places(installation)
    (identity,) = records.known_copies(installation, place.destination)
    records.set_states(installation, place.destination, {identity: DAMAGED})
    assert bad(examine(installation)) == [
        ("error", "destination backups", "1 of its restore points are damaged."),
        ("error", "backups of shop", "Not one of the 1 restore points is whole."),
    ]


def test_a_run_of_one_part_alone_makes_nothing_whole(installation: Installation) -> None:
    stored = configurations.find(installation, "shop").document
    configurations.store(installation, {**stored, "type": "full"})
    with installation.database.transaction() as session:
        session.execute(update(Backup).values(type="files"))
    assert bad(examine(installation)) == [
        ("error", "backups of shop", "Not one of the 1 restore points is whole."),
    ]


def test_programs_are_missed_only_where_they_are_needed(installation: Installation, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bare = replace(installation, settings=replace(installation.settings, pg_bin=empty))
    assert bad(examine(bare)) == []
    configurations.store(installation, document(id="db", sources={"databases": [{"url": "postgresql://h/d"}]}))
    assert ("error", "PostgreSQL programs") in {(level, check) for level, check, _ in bad(examine(bare))}


def test_refused_settings_become_findings() -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read_settings({"HOLDFAST_BIND": "x", "HOLDFAST_TIMEZONE": "Mars"})
    assert [each.level for each in doctor.refused(raised.value)] == ["error", "error"]
