"""Two destinations of which one fails: full, gone, corrupt, slow, replaced by an empty folder or another repository.

The other has the restore point, the run ends with a warning that names the one, every restore point comes back, and the
next run brings what was missed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e_cli.shop import Shop
from tests.support.disks import small_disk
from tests.support.fault_proxy import Exchange, fault_proxy, pass_on
from tests.support.forked import ForkedCommandLine
from tests.support.s3 import Store
from tests.support.trees import write_file

DISK_MEGABYTES = 8


@contextmanager
def gone(place: Path) -> Iterator[str]:
    aside = place.rename(place.with_name("aside"))
    yield "is not there"
    assert not place.exists()
    aside.rename(place)


@contextmanager
def emptied(place: Path) -> Iterator[str]:
    aside = place.rename(place.with_name("aside"))
    place.mkdir()
    yield "holds no repository"
    assert list(place.iterdir()) == [], "a repository was begun by itself"
    place.rmdir()
    aside.rename(place)


@contextmanager
def exchanged(place: Path) -> Iterator[str]:
    """For the repository of another installation."""
    aside = place.rename(place.with_name("aside"))
    other = ForkedCommandLine(place.with_name("another"))
    other("destination", "add", "x", "--path", place, code=0)
    before = sorted(place.rglob("*"))
    yield "repository"
    assert sorted(place.rglob("*")) == before, "something was written to a repository that is not ours"
    shutil.rmtree(place)
    aside.rename(place)


FAULTS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "gone": gone,
    "emptied": emptied,
    "exchanged": exchanged,
}


@pytest.fixture
def second(shop: Shop) -> Path:
    return shop.cli.folder.parent / "second"


def places(second: Path) -> list[dict[str, Any]]:
    return [{"type": "local", "config": {"path": path}} for path in ("./backups", str(second))]


def ends_well(shop: Shop, second: Path) -> None:
    """The next run is whole, and each destination alone gives every restore point back, with a warning (3) when the
    one that is asked first is gone."""
    shop.fill(3)
    for _ in range(2):  # what the first one brought is taken on record by the second
        assert shop.create("--config", "shop")["status"] == "succeeded"
    for point in shop.points():
        assert [copy["status"] for copy in point["destinations"]] == ["present", "present"]
    shop.check()
    aside = shop.repository.rename(shop.repository.with_name("aside"))
    for backup in shop.state:
        shop.restore(backup, "--verify", code=3)
    aside.rename(shop.repository)


@pytest.mark.parametrize("what", FAULTS)
def test_one_that_is_not_what_it_was(shop: Shop, second: Path, what: str) -> None:
    shop.create(destinations=places(second))
    shop.fill(2)
    with FAULTS[what](second) as sentence:
        made = shop.create("--config", "shop", code=3)
        assert [place["status"] for place in made["destinations"]] == ["succeeded", "failed"]
        assert sentence in made["destinations"][1]["error"]
        for backup in shop.state:
            shop.restore(backup, "--verify")
    ends_well(shop, second)


def test_one_that_is_full(shop: Shop, second: Path, seed: int) -> None:
    with small_disk(second, DISK_MEGABYTES):
        place = second / "repository"
        shop.create(destinations=places(place))
        large = shop.uploads / "large"
        write_file(large, random.Random(seed), 2 * DISK_MEGABYTES << 20)
        made = shop.create("--config", "shop", code=3)
        assert [each["status"] for each in made["destinations"]] == ["succeeded", "failed"]
        assert "is full" in made["destinations"][1]["error"]
        for backup in shop.state:
            shop.restore(backup, "--verify")
        assert shop.cli("verify", "--json", code=0).json["errors"] == []


def test_one_that_is_corrupt(shop: Shop, second: Path) -> None:
    """Every byte of every pack of one is wrong: it is named, and restores take the good copy."""
    made = shop.create(destinations=places(second))["backupId"]
    packs = [path for path in (second / "packs").rglob("*") if path.is_file()]
    for pack in packs:
        pack.chmod(0o600)
        pack.write_bytes(bytes(byte ^ 0x55 for byte in pack.read_bytes()))
    found = shop.cli("verify", "--json", code=6).json
    assert {error["destination"] for error in found["errors"]} == {str(second)}
    assert {error["object"] for error in found["errors"]} >= {f"packs/{p.parent.name}/{p.name}" for p in packs}
    assert {backup for error in found["errors"] for backup in error["backups"]} == {made}
    shop.restore(made, "--verify")
    shop.fill(2)
    later = shop.create("--config", "shop", code=0)["backupId"]
    aside = shop.repository.rename(shop.repository.with_name("aside"))
    shop.restore(later, "--verify", code=3)
    aside.rename(shop.repository)


def test_one_that_is_slow(shop: Shop, moto: Store) -> None:
    """It takes its time for every pack and manifest, and nobody gives up."""

    def dawdle(exchange: Exchange) -> None:
        exchange.server.released.wait(0.3)
        pass_on(exchange)

    shop.cli.environment |= {"AWS_ACCESS_KEY_ID": moto.access_key, "AWS_SECRET_ACCESS_KEY": moto.secret_key}
    with fault_proxy(moto.endpoint) as proxy:
        slow = proxy.plan(dawdle, methods="PUT", path="packs|manifests")
        bucket = {"bucket": moto.bucket, "prefix": "slow", "endpoint": proxy.url}
        both = [{"type": "local", "config": {"path": "./backups"}}, {"type": "s3", "config": bucket}]
        made = shop.cli.in_its_own_process("create", "--file", shop.write(destinations=both), "--json", code=0).json
        assert [place["status"] for place in made["destinations"]] == ["succeeded", "succeeded"]
        shutil.rmtree(shop.repository)
        target = shop.cli.folder / "out"
        shop.cli.in_its_own_process("restore", "--backup", made["backupId"], "--to", target, "--verify", code=3)
    assert slow.hits >= 2
