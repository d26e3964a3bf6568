"""A home with a month of real backups in it, good ones and failed ones, for pictures and for tests in a browser: what
the pages show was made by the services themselves, with a clock that was moved."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.progress import Silent
from webapp.installation import Installation, open_installation
from webapp.services import accounts, backups, configurations, restores, schedules, verifications
from webapp.services.access import SYSTEM
from webapp.settings import read_settings

WHO = "local:operator"
SEED = 20261123
PLACES = [{"type": "local", "config": {"path": "./backups"}}, {"type": "local", "config": {"path": "./offsite"}}]
NAMES = {
    "shop": "Shop database and uploads",
    "wiki": "Wiki",
    "media": "Media library",
    "billing": "Billing",
    "crm": "Customer files",
}
NEVER_RAN, VANISHED = "crm", "billing"
LOST_DAYS, KEPT_INVOICES = 2, 9
PEOPLE = {"mona": "manager", "adam": "admin", "sue": "super_admin"}


@dataclass
class Moved:
    """A clock that is set by hand."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Filled:
    """What was made: a restore point of the shop, one-time passwords by name, the folder of the shop's uploads."""

    point: str
    passwords: Mapping[str, str]
    uploads: Path


def fill(environment: Mapping[str, str], folder: Path, *, days: int) -> Filled:
    """Sources below `folder`, and `days` days of backups of them into the home that `environment` names."""
    today = datetime.now(UTC).replace(microsecond=0)
    clock, chance = Moved(today), random.Random(SEED)
    installation = open_installation(read_settings(environment), clock=clock)
    try:
        for name in NAMES:
            _source(folder / name, today - timedelta(days=days), chance)
            configurations.store(installation, _document(name, folder))
        point = ""
        for number in range(days):
            clock.now = today - timedelta(days=days - 1 - number, hours=2)
            if number >= days - LOST_DAYS and (folder / VANISHED).is_dir():
                shutil.rmtree(folder / VANISHED)  # its last runs really fail
            for name in NAMES:
                if name == NEVER_RAN:
                    continue
                _work_on(folder / name, number, clock.now - timedelta(hours=3), chance)
                made = _backup(installation, name, folder)
                point = made if name == "shop" and made else point
        clock.now = today - timedelta(hours=1)
        _prove(installation, point, folder)
        clock.now = today
        schedules.refresh(installation)
        passwords = {name: accounts.add(installation, SYSTEM, name, role).password for name, role in PEOPLE.items()}
    finally:
        installation.close()
    return Filled(point, passwords, folder / "shop")


def _document(name: str, folder: Path) -> dict[str, object]:
    paths = [{"path": str(folder / name)}]
    sources: dict[str, object] = {"paths": paths}
    if name == "shop":
        sources["databases"] = [{"url": f"sqlite:///{folder / 'shop.db'}"}]
    return {
        "id": name,
        "name": NAMES[name],
        "type": "incremental" if name == "shop" else "files",
        "schedule": "30 1 * * *",
        "sources": sources,
        "destinations": PLACES[: 2 if name == "shop" else 1],
        "objectives": {"rpoMinutes": 26 * 60, "rtoMinutes": 60},
        "retention": {"daily": 14, "weekly": 8},
    }


def _source(folder: Path, at: datetime, chance: random.Random) -> None:
    (folder / "2026" / "invoices").mkdir(parents=True)
    for part in ("2026/pictures", "letters & more"):
        (folder / part).mkdir()
        for number in range(8):
            _write(folder / part / f"page-{number:03}.txt", chance.randbytes(chance.randrange(9000)), at)
    if folder.name != "shop":
        return
    with closing(sqlite3.connect(folder.parent / "shop.db")) as database:
        database.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, total INTEGER)")
        database.executemany("INSERT INTO customers (name) VALUES (?)", [(f"Customer {n}",) for n in range(200)])
        database.commit()


def _work_on(folder: Path, number: int, at: datetime, chance: random.Random) -> None:
    """A day's work: something is new, something is changed and, after some days, something is gone."""
    if not folder.is_dir():
        return
    invoices = folder / "2026" / "invoices"
    _write(invoices / f"day-{number:02}.pdf", chance.randbytes(20_000), at)
    _write(invoices / "accounts.csv", b"day,total\n" + b"1,100\n" * number, at)
    (invoices / f"day-{number - KEPT_INVOICES:02}.pdf").unlink(missing_ok=True)
    _write(folder / "notes.txt", b"Day %d\n" % number * (number + 1), at)
    if folder.name == "shop":
        with closing(sqlite3.connect(folder.parent / "shop.db")) as database:
            rows = [(chance.randrange(200), chance.randrange(9999)) for _ in range(50)]
            database.executemany("INSERT INTO orders (customer, total) VALUES (?, ?)", rows)
            database.commit()


def _write(path: Path, data: bytes, at: datetime) -> None:
    """A file that was changed at that time: pictures show it beside the time of the restore point."""
    path.write_bytes(data)
    os.utime(path, (at.timestamp(), at.timestamp()))


def _backup(installation: Installation, name: str, folder: Path) -> str:
    """The id of the restore point, or "" when there is none."""
    order = backups.Order(name, WHO)
    made = backups.create(installation, order, cwd=folder, progress=Silent(), tell=_unheard)
    return made.run.backup_id or ""


def _prove(installation: Installation, point: str, folder: Path) -> None:
    """Reads the newest points of two configurations back, and restores one of them beside its original."""
    for name in ("shop", "wiki"):
        order = verifications.Order(WHO, config_id=name)
        verifications.verify(installation, order, progress=Silent(), tell=_unheard)
    target = str(folder / "restored")
    wanted = restores.Order(point, WHO, targets=(target,), only=(str(folder / "shop" / "notes.txt"),), verify=True)
    restores.restore(installation, wanted, cwd=folder, progress=Silent(), tell=_unheard)


def _unheard(text: str) -> None:
    """Nobody listens while it is filled."""
