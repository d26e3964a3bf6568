"""The probe finds what a storage can do and cannot, changes nothing, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.storage.base import Buffer, Item, Storage
from engine.storage.local import LocalStorage
from engine.storage.probe import ProbeReport, probe
from engine.storage.retry import IMPATIENT
from tests.support.fault_proxy import answer, fault_proxy, ignore_the_condition
from tests.support.repositories import Bench
from tests.support.s3 import LOCKED_BUCKET, Store


def now() -> datetime:
    return datetime.now(UTC)


def step_names(report: ProbeReport, *, ok: bool) -> list[str]:
    return [step.name for step in report.steps if step.ok == ok]


def test_a_folder_can_do_all_that_applies_to_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.create()
    before = {item.name: item for item in bench.storage().list("")}
    report = probe(bench.storage(), clock=now)
    assert report.is_usable
    assert step_names(report, ok=False) == []
    assert report.conditional_create is True
    assert (report.wrong_checksum_refused, report.versioning, report.object_lock) == (None, None, None)
    assert report.latency is not None
    assert {item.name: item for item in bench.storage().list("")} == before
    assert bench.backup(Path(__file__).parent / "pgfakes").is_complete


def test_a_real_store_can_do_everything(seaweed: Store) -> None:
    storage = seaweed.storage()
    report = probe(storage, clock=now)
    assert step_names(report, ok=False) == []
    assert len(report.steps) == 12
    assert report.conditional_create is True
    assert report.wrong_checksum_refused is True
    assert (report.versioning, report.object_lock) == ("off", "off")
    assert report.clock_skew is not None
    assert abs(report.clock_skew) < timedelta(minutes=1)
    assert list(storage.list("")) == []
    storage.close()


def test_versions_and_locks_are_reported(seaweed: Store) -> None:
    storage = seaweed.storage(bucket=LOCKED_BUCKET)
    report = probe(storage, clock=now)
    assert report.is_usable
    assert (report.versioning, report.object_lock) == ("on", "on")
    assert step_names(report, ok=False) == ["versioning", "object lock"]
    assert len(report.warnings) == 2
    assert list(storage.list("")) == []
    default = {"Mode": "GOVERNANCE", "Days": 3}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": default}}
    storage.client.put_object_lock_configuration(Bucket=LOCKED_BUCKET, ObjectLockConfiguration=lock)
    assert storage.features().object_lock() == "on, governance for 3 days by default"
    storage.client.put_object_lock_configuration(
        Bucket=LOCKED_BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    storage.close()


def test_a_store_that_compares_no_checksums_is_found(moto: Store) -> None:
    storage = moto.storage()
    report = probe(storage, clock=now)
    assert report.is_usable
    assert report.wrong_checksum_refused is False
    assert step_names(report, ok=False) == ["wrong checksum"]
    assert list(storage.list("")) == []
    storage.close()


@pytest.mark.parametrize("act", [ignore_the_condition, answer(501, "NotImplemented")], ids=["ignores", "refuses"])
def test_a_store_without_conditional_writes_is_found(moto: Store, act: object) -> None:
    with fault_proxy(moto.endpoint) as proxy:
        times = {} if act is ignore_the_condition else {"times": 1}
        fault = proxy.plan(act, methods="PUT", **times)  # type: ignore[arg-type]
        storage = moto.behind(proxy.url).storage()
        report = probe(storage, clock=now)
        storage.close()
    assert fault.hits
    assert report.conditional_create is False
    assert report.is_usable
    assert "cannot refuse to overwrite" in report.warnings[0]


def test_keys_that_may_not_ask_for_everything(seaweed: Store) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(answer(403, "AccessDenied"), path=r"\?(versioning|object-lock)")
        storage = seaweed.behind(proxy.url).storage()
        report = probe(storage, clock=now)
        storage.close()
    assert fault.hits == 2
    assert report.warnings == ()
    assert report.versioning == report.object_lock == "unknown: these credentials may not ask"


@pytest.mark.parametrize("ahead", [timedelta(hours=-2), timedelta(minutes=6)])
def test_clocks_that_differ(seaweed: Store, tmp_path: Path, ahead: timedelta) -> None:
    for storage in (seaweed.storage(), LocalStorage(tmp_path)):
        report = probe(storage, clock=lambda: datetime.now(UTC) + ahead)
        assert report.clock_skew is not None
        assert abs(report.clock_skew + ahead) < timedelta(minutes=1)
        assert step_names(report, ok=False) == ["clock"]
        assert report.is_usable
        storage.close()


def test_a_place_that_cannot_be_used_ends_the_probe(tmp_path: Path) -> None:
    storage = Store("none", "http://127.0.0.1:1").storage(patience=IMPATIENT)
    report = probe(storage, clock=now)
    assert not report.is_usable
    assert [(step.name, step.ok) for step in report.steps] == [("write", False)]
    assert "cannot be reached" in report.steps[0].detail
    assert report.conditional_create is None
    assert not probe(LocalStorage(tmp_path / "absent"), clock=now).is_usable


class Lying(LocalStorage):
    """A storage with one fault."""

    def __init__(self, root: Path, fault: str) -> None:
        super().__init__(root)
        self.fault = fault

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        if (self.fault == "read back" and not offset) or (self.fault == "read a range" and offset):
            return b"\0" * len(data)
        return b"stale" if self.fault == "replace" and name.endswith(".b") else data

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        super().put(name, data, create=create and self.fault != "conditional create")

    def list(self, prefix: str) -> Iterator[Item]:
        for item in super().list(prefix):
            if self.fault != "list":
                yield item._replace(size=item.size + (self.fault == "sizes"))

    def delete(self, name: str) -> None:
        if self.fault != "delete":
            super().delete(name)

    def stat(self, name: str) -> Item:
        if self.fault == "gone" and name.endswith(".a"):
            raise NotFound("Lost.")
        return super().stat(name)


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        ("read back", "read back"),
        ("read a range", "read a range"),
        ("list", "list"),
        ("sizes", "list"),
        ("gone", "list"),
        ("replace", "replace"),
        ("delete", "delete"),
    ],
)
def test_each_lie_is_found(tmp_path: Path, fault: str, step: str) -> None:
    storage: Storage = Lying(tmp_path, fault)
    report = probe(storage, clock=now)
    assert not report.is_usable
    assert step_names(report, ok=False) == [step]
    assert report.steps[-1].name == step


def test_overwriting_is_found_on_every_kind(tmp_path: Path) -> None:
    report = probe(Lying(tmp_path, "conditional create"), clock=now)
    assert report.is_usable
    assert report.conditional_create is False
    assert list(LocalStorage(tmp_path).list("tmp/")) == []
