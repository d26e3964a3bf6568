"""Keys are changed at a bucket, over real HTTP, and the process is killed at any request on the way."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import keyring as keys
from engine.errors import WrongKey
from engine.repository import repository as engine
from tests.support.faults import DIED, run_and_wait
from tests.support.s3 import Store
from tests.webapp.keyring_home import NEW, change_until, finish, key_of, opened_at, opens, silent
from webapp.installation import Installation
from webapp.services import destinations
from webapp.services import keys as service

_REQUESTS = ("http.client.send",)
# Without --full only each of so many requests is tried.
SAMPLE = 10

CHANGES: dict[str, Callable[[Installation], object]] = {
    "epoch": lambda each: service.rotate(each, new_key=None, kept_code=None, tell=silent),
    "key": lambda each: service.rotate(each, new_key=NEW, kept_code=None, tell=silent),
    "code": lambda each: (service.replace_code(each, tell=silent), service.settle(each)),
}


@dataclass
class Bucket:
    """A home with one destination, a place in a bucket of its own; each trial begins with both as they were."""

    folder: Path
    store: Store

    def home(self) -> Path:
        home, prefix = self.folder / secrets.token_hex(4), f"test/{secrets.token_hex(6)}"
        typed = {
            "bucket": self.store.bucket,
            "endpoint": self.store.endpoint,
            "prefix": prefix,
            "accessKeyId": self.store.access_key,
            "secretAccessKey": self.store.secret_key,
        }
        with closing(opened_at(home)) as installation:
            destinations.add(installation, "bucket", "s3", typed, tell=silent)
        (home / "prefix").write_text(prefix)
        return home

    def opens(self, home: Path, secret: bytes) -> int:
        """How many epochs the secret opens with the slots in the bucket alone; 0 when it opens nothing there."""
        with closing(self.store.storage((home / "prefix").read_text())) as storage:
            try:
                keyring = keys.unlock(engine.read_slots(storage), keys.SERVICE, secret)
                engine.open_repository(storage, keyring, expected=None)
            except WrongKey:
                return 0
            return len(keyring.epochs)

    def slots(self, home: Path) -> set[str]:
        with closing(self.store.storage((home / "prefix").read_text())) as storage:
            return {item.name for item in storage.list("keys/")}


@pytest.mark.parametrize("step", [SAMPLE, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_request(
    moto: Store, tmp_path: Path, seed: int, change: str, step: int, record_property: Callable[[str, int], None]
) -> None:
    bucket, number = Bucket(tmp_path, moto), 1 + seed % step
    while True:
        home = bucket.home()
        old = key_of(home)
        status = run_and_wait(
            lambda home=home, number=number: change_until(home, CHANGES[change], events=_REQUESTS, number=number)
        )
        assert max(bucket.opens(home, old), bucket.opens(home, NEW)) > 0, number
        assert opens(home, key_of(home)), number
        finish(home, CHANGES[change], is_key=change == "key")
        wanted = NEW if change == "key" else old
        assert bucket.opens(home, wanted) == opens(home, wanted) > 0, number
        assert change != "key" or not bucket.opens(home, old)
        assert bucket.slots(home) == {f"keys/{path.name}" for path in home.glob("keys/[0-9a-f]*")}
        assert len(bucket.slots(home)) == 2, number
        shutil.rmtree(home)
        if status == 0:
            break
        assert status == DIED, number
        number += step
    assert number > 2 * step  # the requests were met, and killed at, one by one
    record_property("trials", number // step)
