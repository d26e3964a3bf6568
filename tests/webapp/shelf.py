"""Restore points made by the services themselves, with a clock that the test moves: for what happens over months."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from engine.progress import Silent
from tests.support.trees import snapshot
from tests.webapp.support import Hands, document
from webapp.installation import Installation
from webapp.models import Backup, Destination
from webapp.services import (
    backups,
    cleanup,
    cleanup_plans,
    configurations,
    destinations,
    records,
    repositories,
    restores,
    verifications,
)
from webapp.services.cleanup_plans import Order, Plan
from webapp.services.work import Finished

WHO = "local:test"


@dataclass
class Shelf:
    """An installation with a folder to back up; `state` is what it looked like at each restore point, by id."""

    installation: Installation
    hands: Hands
    source: Path
    state: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def configure(self, config_id: str = "shop", *, places: Collection[Any] = ("backups",), **changes: Any) -> str:
        """Stores a configuration of the source folder. A place is a folder below the home, or a whole destination."""
        kept = [each if isinstance(each, dict) else local(each) for each in places]
        paths = {"paths": [{"path": str(self.source)}]}
        whole = {"id": config_id, "type": "files", "sources": paths, "destinations": kept, **changes}
        configurations.store(self.installation, document(**whole))
        return config_id

    def backup(self, at: datetime | None = None, *, config_id: str = "shop", noise: int = 0) -> str:
        """Backs up at this time, after a change; the restore point's id. `noise` bytes of it are in no other."""
        self.hands.now = at or self.hands.now + timedelta(seconds=1)
        number = len(self.state)
        (self.source / "counter").write_text(f"{number}")
        if noise:
            (self.source / "noise").write_bytes(random_bytes(number, noise))
        order = backups.Order(config_id, WHO)
        made = backups.create(self.installation, order, cwd=self.source, progress=Silent(), tell=self.told.append)
        assert made.error is None, made.error
        assert made.run.backup_id is not None
        self.state[made.run.backup_id] = snapshot(self.source)
        return made.run.backup_id

    def series(self, days: int, *, every: timedelta = timedelta(days=1), **options: Any) -> list[str]:
        """One restore point each day, the last one now; their ids, oldest first."""
        last = self.hands.now
        return [self.backup(last - every * (days - 1 - number), **options) for number in range(days)]

    def plan(self, **order: Any) -> Plan:
        """What a cleanup would do now."""
        return cleanup_plans.plan(self.installation, Order(WHO, **order), progress=Silent(), tell=self.told.append)

    def clean(self, *, confirmed: Collection[str] = (), **order: Any) -> Finished:
        """Plans and applies."""
        plan = self.plan(**order)
        return cleanup.apply(self.installation, plan, confirmed=confirmed, progress=Silent(), tell=self.told.append)

    def gone(self, finished: Finished, key: str = "trashed") -> dict[str, list[str]]:
        """What a cleanup did, by destination: `trashed`, `recalled` or `removed` ids."""
        assert finished.run.result is not None
        return {place["name"]: place[key] for place in finished.run.result["destinations"]}

    def verify(self, backup: str) -> None:
        """Reads one restore point back, everywhere."""
        order = verifications.Order(WHO, backup=backup)
        found = verifications.verify(self.installation, order, progress=Silent(), tell=self.told.append)
        assert found.error is None, found.error

    def listed(self) -> dict[str, Backup]:
        """The restore points on the list."""
        return {each.public_id: each for each in records.of_configuration(self.installation, "shop")}

    def place(self, name: str = "backups") -> Destination:
        """The destination in this folder below the home."""
        return next(each for each in destinations.listing(self.installation) if each.settings["path"] == name)

    def repository(self, name: str = "backups") -> Any:
        """The repository of a destination, open."""
        keyring = repositories.open_keyring(self.installation, may_create=False, tell=self.told.append)
        return repositories.open_repository(self.installation, self.place(name), keyring)

    def check(self, backups: Collection[str]) -> None:
        """Each of these restores as it was."""
        for name in backups:
            target = self.installation.settings.home.parent / f"out-{name}"
            order = restores.Order(name, WHO, targets=(str(target),))
            done = restores.restore(self.installation, order, cwd=self.source, progress=Silent(), tell=self.told.append)
            assert done.error is None, done.error
            assert snapshot(target.joinpath(*self.source.parts[1:])) == self.state[name]

    def size(self, name: str = "backups") -> int:
        """Bytes of packs at a destination."""
        packs = self.installation.settings.home / name / "packs"
        return sum(file.stat().st_size for file in packs.rglob("*") if file.is_file())


def local(path: str, **changes: Any) -> dict[str, Any]:
    """A destination of a configuration."""
    return {"type": "local", "config": {"path": path}, **changes}


def random_bytes(seed: int, count: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    import random

    return random.Random(seed).randbytes(count)


def kept(plan: Plan, place: str = "backups", config_id: str = "shop") -> dict[str, tuple[str, ...]]:
    """Restore points that stay, with reasons."""
    return {
        one.backup.public_id: one.decision.reasons for one in _verdicts(plan, place, config_id) if one.decision.keep
    }


def going(plan: Plan, place: str = "backups", config_id: str = "shop") -> dict[str, tuple[str, ...]]:
    """Restore points that nothing keeps, with reasons."""
    verdicts = _verdicts(plan, place, config_id)
    return {one.backup.public_id: one.decision.reasons for one in verdicts if not one.decision.keep}


def _verdicts(plan: Plan, place: str, config_id: str) -> Any:
    (found,) = [each for each in plan.places if each.destination.name == place]
    assert found.error is None, found.error
    return next(part.verdicts for part in found.parts if part.configuration.id == config_id)
