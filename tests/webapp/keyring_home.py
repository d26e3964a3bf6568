"""A home with two destinations in it and a restore point at both, and what opens them: for the tests of keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path

from engine import keyring as keys
from engine.errors import WrongKey
from engine.repository import repository as engine
from engine.storage.local import LocalStorage
from tests.support.faults import die_at
from tests.support.forked import ForkedCommandLine
from tests.webapp.points import Shop
from webapp.installation import Installation, open_installation
from webapp.services import keyrings
from webapp.services import keys as service
from webapp.settings import read_settings

NEW = bytes(range(32))
PLACES = ("one", "two")
CODE = re.compile(r"(?:[A-Z2-7]{4}-\s*){13}[A-Z2-7]{4}")


def make(folder: Path) -> tuple[Path, str]:
    """The home, to be copied, and its recovery code."""
    cli = ForkedCommandLine(folder)
    with closing(cli):
        shop = Shop.at(cli)
        (shop.source / "file").write_text("content")
        shop.configure(places=PLACES)
        (code,) = CODE.findall(cli("create", "--config", "shop", code=0).stderr)
    return cli.home, code


def opened_at(home: Path, **environment: str) -> Installation:
    """The installation; to be closed."""
    return open_installation(read_settings({"HOLDFAST_HOME": str(home), **environment}))


def change_until(home: Path, change: Callable[[Installation], object], *, events: Collection[str], number: int) -> None:
    """The change in this process, which dies before its step number `number`."""
    installation = opened_at(home)
    die_at(events, number)
    change(installation)


def finish(home: Path, change: Callable[[Installation], object], *, is_key: bool) -> None:
    """The change once more, as somebody would who does not know how far it came; a new key may be in place already."""
    with closing(opened_at(home)) as installation:
        if is_key and key_of(home) == NEW:
            assert service.settle(installation) == {}
        else:
            change(installation)
        assert keyrings.retired(installation.settings) == set()


def silent(message: str) -> None:
    """Nobody listens."""


def key_of(home: Path) -> bytes:
    """What is in the key file."""
    return bytes.fromhex((home / "backup.key").read_text())


def opens(folder: Path, secret: bytes, kind: str = keys.SERVICE) -> int:
    """How many epochs a secret opens in a folder of slots; 0 when it opens none."""
    slots = [keys.read_slot(f"keys/{path.name}", path.read_bytes()) for path in folder.glob("keys/[0-9a-f]*")]
    try:
        return len(keys.unlock(slots, kind, secret).epochs)
    except WrongKey:
        return 0


def reads_everything(folder: Path, secret: bytes) -> bool:
    """Whether the secret, with the slots in this folder alone, opens every restore point there."""
    with closing(LocalStorage(folder)) as storage:
        try:
            keyring = keys.unlock(engine.read_slots(storage), keys.SERVICE, secret)
            repository = engine.open_repository(storage, keyring, expected=None)
            return len([repository.read_manifest(each) for each in repository.manifest_ids()]) > 0
        except WrongKey:
            return False
