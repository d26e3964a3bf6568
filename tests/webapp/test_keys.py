"""Keys are changed whatever happens on the way: old and new ones open everything to the end, then the new alone."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from engine import keyring as keys
from engine.errors import WrongKey
from tests.support.faults import DIED, run_and_wait
from tests.support.forked import ForkedCommandLine
from tests.webapp.keyring_home import (
    CODE,
    NEW,
    PLACES,
    change_until,
    finish,
    key_of,
    opened_at,
    opens,
    reads_everything,
    silent,
)
from webapp.errors import Invalid, NotFound
from webapp.installation import Installation
from webapp.models import Configuration, Destination, User
from webapp.services import accounts, destinations, doctor, keyrings, kit, repositories, sealed, secrets
from webapp.services import keys as service
from webapp.services.access import SYSTEM

_STEPS = {"os.link", "os.rename", "os.remove"}


@pytest.fixture
def installation(home: Path) -> Iterator[Installation]:
    with closing(opened_at(home)) as opened:
        yield opened


def test_a_new_epoch_and_a_new_code(home: Path, installation: Installation, code: str) -> None:
    told: list[str] = []
    change = service.rotate(installation, new_key=None, kept_code=None, tell=told.append)
    assert (change.epoch, change.waiting) == (2, {})
    (new,) = CODE.findall(" ".join(told))
    for place in (home, home / "one", home / "two"):
        assert opens(place, key_of(home)) == 2
        assert opens(place, keys.read_recovery_code(new), keys.RECOVERY_CODE) == 2
        assert opens(place, keys.read_recovery_code(code), keys.RECOVERY_CODE) == 0
        assert len(list(place.glob("keys/[0-9a-f]*"))) == 2


def test_the_code_may_stay(home: Path, installation: Installation, code: str) -> None:
    with pytest.raises(WrongKey, match="not the present one"):
        service.rotate(installation, new_key=None, kept_code=keys.new_recovery_code(), tell=silent)
    assert service.rotate(installation, new_key=None, kept_code=code, tell=silent).waiting == {}
    for place in (home, home / "one", home / "two"):
        assert opens(place, keys.read_recovery_code(code), keys.RECOVERY_CODE) == 2
    assert keyrings.is_code_confirmed(installation.settings)


def test_another_key_in_the_file(home: Path, installation: Installation) -> None:
    old = key_of(home)
    with pytest.raises(Invalid, match="present one"):
        service.rotate(installation, new_key=old, kept_code=None, tell=silent)
    assert service.rotate(installation, new_key=NEW, kept_code=None, tell=silent).waiting == {}
    assert key_of(home) == NEW
    assert (home / "backup.key").stat().st_mode & 0o777 == 0o600
    for place in (home / "one", home / "two"):
        assert reads_everything(place, NEW)
        assert not reads_everything(place, old)


def test_another_key_in_the_environment(home: Path) -> None:
    old = key_of(home)
    (home / "backup.key").unlink()
    with closing(opened_at(home, BACKUP_ENCRYPTION_KEY=old.hex())) as before:
        waiting = service.rotate(before, new_key=NEW, kept_code=None, tell=silent).waiting
        assert list(waiting) == ["BACKUP_ENCRYPTION_KEY"]
        assert service.settle(before) == waiting
    for place in (home / "one", home / "two"):
        assert reads_everything(place, old)
        assert reads_everything(place, NEW)
    with closing(opened_at(home, BACKUP_ENCRYPTION_KEY=NEW.hex())) as after:
        assert service.settle(after) == {}
    for place in (home / "one", home / "two"):
        assert reads_everything(place, NEW)
        assert not reads_everything(place, old)
    assert not (home / "backup.key").exists()


def test_a_destination_that_is_away_keeps_the_old_keys_everywhere(home: Path, code: str) -> None:
    (home / "two").rename(home / "away")
    old = key_of(home)
    with closing(opened_at(home)) as installation:
        waiting = service.rotate(installation, new_key=NEW, kept_code=None, tell=silent).waiting
        assert len(waiting) == 1
        assert reads_everything(home / "one", NEW)
        for place in (home / "one", home / "away"):
            assert reads_everything(place, old)
            assert opens(place, keys.read_recovery_code(code), keys.RECOVERY_CODE)
        findings = doctor.examine(installation.settings, opened=lambda: installation, cwd=Path("/"))
        assert any("change of keys is not finished" in each.message for each in findings)
        (home / "away").rename(home / "two")
        (two,) = [each for each in destinations.listing(installation) if each.name.endswith("two")]
        keyring = repositories.open_keyring(installation, may_create=False, tell=silent)
        assert len(keyring.epochs) == 2
        repositories.open_repository(installation, two, keyring)  # whoever opens it brings it up to date
        assert reads_everything(home / "two", NEW)
        assert service.settle(installation) == {}
    for place in (home / "one", home / "two"):
        assert reads_everything(place, NEW)
        assert not reads_everything(place, old)
        assert not opens(place, keys.read_recovery_code(code), keys.RECOVERY_CODE)


def test_the_old_key_given_again_changes_nothing(home: Path) -> None:
    """Its keyring lacks the new epoch: slots made with it would replace all that open what was sealed meanwhile."""
    old = key_of(home).hex()
    (home / "two").rename(home / "away")
    with closing(opened_at(home, BACKUP_ENCRYPTION_KEY=old)) as installation:
        service.rotate(installation, new_key=NEW, kept_code=None, tell=silent)
        before = keyrings.local_slots(installation.settings)
        with pytest.raises(WrongKey, match="still the old one"):
            service.rotate(installation, new_key=None, kept_code=None, tell=silent)
        with pytest.raises(WrongKey, match="still the old one"):
            service.replace_code(installation, tell=silent)
        assert keyrings.local_slots(installation.settings) == before
        assert keyrings.current_slots(installation.settings).keys() < before.keys()
    assert opens(home, NEW) == 2


def test_the_next_backup_finishes_a_change(made: tuple[Path, str], home: Path, tmp_path: Path) -> None:
    (home / "two").rename(home / "away")
    with closing(opened_at(home)) as installation:
        assert service.rotate(installation, new_key=None, kept_code=None, tell=silent).waiting
    (home / "away").rename(home / "two")
    cli = ForkedCommandLine(tmp_path / "other")
    with closing(cli):
        cli("create", "--config", "shop", env={"HOLDFAST_HOME": str(home)}, code=0)
    for place in (home, home / "one", home / "two"):
        assert len(list(place.glob("keys/[0-9a-f]*"))) == 2
        assert opens(place, key_of(home)) == 2
    assert reads_everything(home / "two", key_of(home))


def test_a_writer_in_mid_run_keeps_working(home: Path, installation: Installation) -> None:
    keyring = repositories.open_keyring(installation, may_create=False, tell=silent)
    (one, _) = destinations.listing(installation)
    writer = repositories.open_repository(installation, one, keyring)
    service.rotate(installation, new_key=NEW, kept_code=None, tell=silent)
    stored = writer.read_manifest(writer.manifest_ids()[0])
    sealed = writer.seal_manifest(stored.manifest)
    writer.storage.delete(f"manifests/{stored.manifest.id.hex()}")
    writer.commit(stored.manifest, sealed)
    assert reads_everything(home / "one", NEW)


def test_slots_of_others_are_left_alone_and_damaged_ones_mended(home: Path, installation: Installation) -> None:
    ours = keyrings.unlock(
        installation.settings, keyrings.readable(keyrings.local_slots(installation.settings)), tell=silent
    )
    name, data = keys.wrap(ours, keys.SERVICE, b"x" * 32)
    (home / "one" / name).write_bytes(data)
    hit = next(path for path in (home / "one" / "keys").iterdir() if path.name not in name)
    hit.chmod(0o600)
    hit.write_bytes(b"rot")
    assert service.rotate(installation, new_key=None, kept_code=None, tell=silent).waiting == {}
    assert (home / "one" / name).read_bytes() == data
    assert len(list((home / "one" / "keys").iterdir())) == 3


def test_a_home_that_lags_behind_takes_newer_keys_over(home: Path, tmp_path: Path) -> None:
    for place in PLACES:  # two homes with the same destinations
        (home / place).rename(tmp_path / place)
        (home / place).symlink_to(tmp_path / place)
    shutil.copytree(home, tmp_path / "lagging", symlinks=True)
    with closing(opened_at(home)) as ahead:
        assert service.rotate(ahead, new_key=None, kept_code=None, tell=silent).epoch == 2
    with closing(opened_at(tmp_path / "lagging")) as behind:
        assert len(repositories.open_keyring(behind, may_create=False, tell=silent).epochs) == 1
        assert service.rotate(behind, new_key=None, kept_code=None, tell=silent).epoch == 3
    assert reads_everything(tmp_path / "one", key_of(home))


def test_what_is_sealed_survives(home: Path, installation: Installation) -> None:
    """Credentials of destinations, secrets in configurations, second factors."""
    kept = _seal_rows(installation)
    (home / "two").rename(home / "away")
    old = key_of(home)
    assert service.rotate(installation, new_key=NEW, kept_code=None, tell=silent).waiting
    for key in (old, NEW):
        (home / "backup.key").write_text(key.hex())
        assert _opened_rows(installation) == kept
    (home / "away").rename(home / "two")
    assert service.settle(installation) == {}
    assert _opened_rows(installation) == kept
    (home / "backup.key").write_text(old.hex())
    for row, bound in _rows(installation):
        with pytest.raises(WrongKey):
            sealed.opened(installation, row, bound=bound)


def test_what_is_sealed_survives_another_key_in_the_environment(home: Path) -> None:
    """Until the new one is set nothing more is sealed: the old one would be lost with it."""
    old = key_of(home)
    (home / "backup.key").unlink()
    with closing(opened_at(home, BACKUP_ENCRYPTION_KEY=old.hex())) as before:
        kept = _seal_rows(before)
        assert service.rotate(before, new_key=NEW, kept_code=None, tell=silent).waiting
        assert _opened_rows(before) == kept
        with pytest.raises(WrongKey, match="still the old one"):
            sealed.seal(before, {"canary": "late"}, bound="a row")
    with closing(opened_at(home, BACKUP_ENCRYPTION_KEY=NEW.hex())) as after:
        assert service.settle(after) == {}
        assert _opened_rows(after) == kept
        assert sealed.seal(after, {"canary": "late"}, bound="a row")


def test_what_another_process_seals_during_a_change_survives(home: Path, installation: Installation) -> None:
    """It has the old key in hand until the key file is replaced."""
    late: list[dict[str, str]] = []

    def seal_late(message: str) -> None:
        late.extend(_seal_rows(installation))  # the new code is told when everything was sealed for both keys

    assert service.rotate(installation, new_key=NEW, kept_code=None, tell=seal_late).waiting == {}
    assert _opened_rows(installation) == late


def test_what_was_sealed_with_a_lost_key_does_not_stop_a_change(home: Path, installation: Installation) -> None:
    with installation.database.transaction() as session:
        row = session.query(Configuration).one()
        row.sealed = secrets.reseal({"canary": "lost"}, [bytes(32)], bound=sealed.of_configuration(row.id))
    assert service.rotate(installation, new_key=NEW, kept_code=None, tell=silent).waiting == {}
    with pytest.raises(WrongKey, match="sealed with another encryption key"):
        _opened_rows(installation)


def _seal_rows(installation: Installation) -> list[dict[str, str]]:
    """Seals a path, which fits a destination, in a row of each table that can have it; what was sealed."""
    with installation.database.reading() as session:
        has_users = session.query(User).first() is not None
    if not has_users:
        accounts.add(installation, SYSTEM, "ada", "manager")
    kept = []
    with installation.database.transaction() as session:
        for row, bound in _sealable(session):
            name = "totp_sealed" if isinstance(row, User) else "sealed"
            kept.append({"path": f"./{row.name}"})
            setattr(row, name, sealed.seal(installation, kept[-1], bound=bound))
    return kept


def _sealable(session: Session) -> list[tuple[Any, str]]:
    places = [(row, row.place) for row in session.query(Destination).order_by(Destination.id)]
    configurations = [(row, sealed.of_configuration(row.id)) for row in session.query(Configuration)]
    return [*places, *configurations, *((row, sealed.of_user(row.public_id)) for row in session.query(User))]


def _rows(installation: Installation) -> list[tuple[bytes, str]]:
    """What is sealed, with what it is bound to."""
    with installation.database.reading() as session:
        found = [(row.totp_sealed if isinstance(row, User) else row.sealed, bound) for row, bound in _sealable(session)]
    return [(data, bound) for data, bound in found if data is not None]


def _opened_rows(installation: Installation) -> list[dict[str, str]]:
    return [sealed.opened(installation, data, bound=bound) for data, bound in _rows(installation)]


def test_without_keys_there_is_nothing_to_change(tmp_path: Path) -> None:
    with closing(opened_at(tmp_path / "empty")) as installation:
        with pytest.raises(NotFound):
            service.rotate(installation, new_key=None, kept_code=None, tell=silent)
        with pytest.raises(NotFound):
            kit.make(installation, present_code=None, tell=silent)


CHANGES: dict[str, Callable[[Installation], object]] = {
    "epoch": lambda each: service.rotate(each, new_key=None, kept_code=None, tell=silent),
    "key": lambda each: service.rotate(each, new_key=NEW, kept_code=None, tell=silent),
    "code": lambda each: (service.replace_code(each, tell=silent), service.settle(each)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_step_everything_still_opens_and_a_second_call_finishes(
    home: Path, tmp_path: Path, change: str
) -> None:
    old = key_of(home)
    for step in itertools.count(1):
        copy = tmp_path / f"copy-{step}"
        shutil.copytree(home, copy)
        status = run_and_wait(
            lambda copy=copy, step=step: change_until(copy, CHANGES[change], events=_STEPS, number=step)
        )
        for place in (copy / "one", copy / "two"):
            assert reads_everything(place, old) or reads_everything(place, NEW), step
        assert opens(copy, key_of(copy)), step  # the key that is in the home works there
        finish(copy, CHANGES[change], is_key=change == "key")
        wanted = NEW if change == "key" else old
        for place in (copy, copy / "one", copy / "two"):
            assert opens(place, wanted) == opens(copy, wanted), step
            assert {path.name for path in place.glob("keys/[0-9a-f]*")} == {
                path.name for path in copy.glob("keys/[0-9a-f]*")
            }
            assert len(list(place.glob("keys/[0-9a-f]*"))) == 2, step
        assert change != "key" or not opens(copy / "one", old)
        shutil.rmtree(copy)
        if status == 0:
            break
        assert status == DIED, step
    assert step > 15  # the steps were met, and killed at, one by one
