"""Networks and stores on bad days: each fault demonstrably happens, and the backup ends restorable or fails cleanly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import AccessDenied, AlreadyExists, EngineError, ShortRead, StorageError, Unavailable
from engine.storage.base import Storage
from tests.support.fault_proxy import (
    Exchange,
    FaultProxy,
    answer,
    fault_proxy,
    hang,
    ignore_the_condition,
    lose_the_answer,
    pass_on,
    reset_in_the_middle,
    spoil,
    truncate,
)
from tests.support.repositories import Bench
from tests.support.s3 import NO_WAITING, Store
from tests.support.trees import snapshot, write_file

NAME = "packs/ab/" + "ab" * 32
PACKS, MANIFESTS = r"/packs/", r"/manifests/"
# What a retry mends: every single request of a run meets it once.
TRANSIENT = {
    "500": answer(500, "InternalError"),
    "503": answer(503, "SlowDown"),
    "429": answer(429, "TooManyRequests", headers={"Retry-After": "7"}),
    "502 of a gateway": answer(502),
    "RequestTimeout": answer(400, "RequestTimeout"),
    "200 with an error": answer(200, "InternalError"),
    "reset": reset_in_the_middle,
    "lost answer": lose_the_answer,
}


class S3Bench(Bench):
    """The bench with its repository in a bucket. `direct` leads there without faults."""

    direct: Storage

    def storage(self) -> Storage:
        return self.direct


def make_bench(folder: Path, store: Store, seed: int) -> tuple[S3Bench, Path]:
    """A repository with one restore point, and a source that has changed since."""
    bench, source, rng = S3Bench(folder), folder / "source", random.Random(seed)
    bench.direct = store.storage(f"bench/{folder.name}-{store.name}")
    bench.create()
    source.mkdir()
    for name, size in (("small", 3000), ("large", 600_000), ("empty", 0)):
        write_file(source / name, rng, size)
    bench.backup(source)
    write_file(source / "new", rng, 300_000)
    return bench, source


@pytest.fixture
def bench(tmp_path: Path, seaweed: Store, seed: int) -> Iterator[tuple[S3Bench, Path]]:
    made = make_bench(tmp_path, seaweed, seed)
    yield made
    made[0].direct.close()


@pytest.fixture
def believing(tmp_path: Path, moto: Store, seed: int) -> Iterator[tuple[S3Bench, Path]]:
    """The same in a store that checks neither signatures nor checksums, so that a proxy may change requests."""
    made = make_bench(tmp_path, moto, seed)
    yield made
    made[0].direct.close()


def faulty(store: Store, proxy: FaultProxy, bench: S3Bench, **options: object) -> Storage:
    """The repository of the bench as it is seen through the proxy."""
    return store.behind(proxy.url).storage(f"bench/{bench.folder.name}-{store.name}", **options)  # type: ignore[arg-type]


def assert_restores(bench: S3Bench, source: Path, *, points: int) -> None:
    """There are so many restore points, the newest is the source as it is now, and nothing is damaged."""
    manifests = sorted(bench.manifests(), key=lambda manifest: manifest.sequence)
    assert [manifest.sequence for manifest in manifests] == list(range(1, points + 1))
    bench.restore(manifests[-1], "out")
    assert snapshot(bench.folder / "out" / str(source).lstrip("/")) == snapshot(source)
    assert bench.check().errors == []


def assert_failed_cleanly(bench: S3Bench, source: Path) -> None:
    """Only the first restore point is there, it is sound, and the next run works without a human."""
    assert [manifest.sequence for manifest in bench.manifests()] == [1]
    assert bench.check().errors == []
    assert bench.backup(source).is_complete
    assert_restores(bench, source, points=2)


@pytest.mark.parametrize("kind", TRANSIENT)
def test_every_request_fails_once(bench: tuple[S3Bench, Path], seaweed: Store, kind: str) -> None:
    waits: list[float] = []
    with fault_proxy(seaweed.endpoint) as proxy:
        # Only what has a body can time out on the store's side.
        fault = proxy.plan(TRANSIENT[kind], each=True, methods="PUT" if kind == "RequestTimeout" else ".*")
        storage = faulty(seaweed, proxy, bench[0], patience=replace(NO_WAITING, sleep=waits.append))
        assert bench[0].backup(bench[1], storage=storage).is_complete
        storage.close()
    assert fault.hits >= len(waits) > (4 if kind == "RequestTimeout" else 15)
    assert (min(waits) >= 7) == (kind == "429")  # Retry-After is obeyed
    assert_restores(bench[0], bench[1], points=2)


@pytest.mark.parametrize("kind", ["500", "503", "200 with an error", "reset"])
def test_a_store_that_never_recovers_ends_the_run(bench: tuple[S3Bench, Path], seaweed: Store, kind: str) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(TRANSIENT[kind], methods="PUT", path=PACKS)
        storage = faulty(seaweed, proxy, bench[0])
        with pytest.raises(Unavailable):
            bench[0].backup(bench[1], storage=storage)
        storage.close()
    assert fault.hits >= NO_WAITING.tries
    assert_failed_cleanly(*bench)


@pytest.mark.parametrize("path", [PACKS, MANIFESTS, r"list-type=2.*packs"])
def test_a_store_that_hangs(bench: tuple[S3Bench, Path], seaweed: Store, path: str) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(hang, path=path, times=2)
        storage = faulty(seaweed, proxy, bench[0], read_seconds=0.5)
        assert bench[0].backup(bench[1], storage=storage).is_complete
        storage.close()
    assert fault.hits == 2
    assert_restores(bench[0], bench[1], points=2)


def test_answers_that_are_cut_off(bench: tuple[S3Bench, Path], seaweed: Store) -> None:
    """Backup, check and restore read everything through the faults."""
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(truncate, methods="GET", each=True)
        direct, bench[0].direct = bench[0].direct, faulty(seaweed, proxy, bench[0])
        assert bench[0].backup(bench[1]).is_complete
        assert_restores(bench[0], bench[1], points=2)
        bench[0].direct.close()
        bench[0].direct = direct
    assert fault.hits > 15


def test_an_object_that_is_always_cut_off_is_a_short_read(seaweed: Store) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        storage = seaweed.behind(proxy.url).storage()
        storage.put(NAME, b"x" * 1000)
        fault = proxy.plan(truncate, methods="GET", path=PACKS)
        with pytest.raises(ShortRead, match="broke off"):
            storage.get(NAME)
        with pytest.raises(ShortRead, match="broke off"):
            storage.get(NAME, 10, 500)
        storage.close()
    assert fault.hits == 2 * NO_WAITING.tries


def test_a_lost_acknowledgement_is_settled_by_asking_not_by_sending_again(
    bench: tuple[S3Bench, Path], seaweed: Store
) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(lose_the_answer, methods="PUT", path=r"/(packs|index|manifests|sessions)/")
        storage = faulty(seaweed, proxy, bench[0])
        assert bench[0].backup(bench[1], storage=storage).is_complete
        storage.close()
        sent = [path for method, path in proxy.requests if method == "PUT"]
    assert fault.hits >= 5
    assert len(sent) == len(set(sent))
    assert_restores(bench[0], bench[1], points=2)


def test_a_second_try_that_finds_the_first_one_there_is_a_success(seaweed: Store) -> None:
    """The PUT arrives after the store was asked and before it is sent again, so the condition fails."""
    with fault_proxy(seaweed.endpoint) as proxy:
        storage = seaweed.behind(proxy.url).storage()
        lost = proxy.plan(lose_the_answer, methods="PUT", times=1)
        late = proxy.plan(answer(404), methods="HEAD", times=1)
        storage.put(NAME, b"sent twice")
        storage.close()
        assert (lost.hits, late.hits, proxy.count("PUT", NAME)) == (1, 1, 2)
        assert storage.get(NAME) == b"sent twice"


def test_what_somebody_else_wrote_meanwhile_is_not_taken_for_ours(seaweed: Store) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        storage, other = (seaweed.behind(proxy.url).storage("shared/one") for _ in range(2))
        proxy.plan(answer(500, "InternalError"), methods="PUT", times=1)

        def write_meanwhile(seconds: float) -> None:
            other.put(NAME, b"theirs")

        storage = seaweed.behind(proxy.url).storage("shared/one", patience=replace(NO_WAITING, sleep=write_meanwhile))
        with pytest.raises(StorageError, match="other bytes than were sent"):
            storage.put(NAME, b"ours")
        assert other.get(NAME) == b"theirs"
        other.delete(NAME)
        storage.close()
        other.close()


@pytest.mark.parametrize("skip", [0, 4, 9, 14])
def test_credentials_that_expire_in_the_middle(bench: tuple[S3Bench, Path], seaweed: Store, skip: int) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(answer(400, "ExpiredToken"), skip=skip)
        storage = faulty(seaweed, proxy, bench[0])
        with pytest.raises(AccessDenied, match=r"have expired.*Renew"):
            bench[0].backup(bench[1], storage=storage)
        storage.close()
    assert 1 <= fault.hits <= 6  # never tried again; the marker's removal and what runs beside it may fail too
    assert_failed_cleanly(*bench)


def test_a_store_that_ignores_conditions(believing: tuple[S3Bench, Path], moto: Store) -> None:
    bench, source = believing
    with fault_proxy(moto.endpoint) as proxy:
        fault = proxy.plan(ignore_the_condition, methods="PUT")
        storage = faulty(moto, proxy, bench)
        assert bench.backup(source, storage=storage).is_complete
        storage.close()
    assert fault.hits >= 5
    assert_restores(bench, source, points=2)


def test_a_store_that_refuses_conditions_is_asked_before_each_write(
    believing: tuple[S3Bench, Path], moto: Store
) -> None:
    bench, source = believing
    with fault_proxy(moto.endpoint) as proxy:
        fault = proxy.plan(answer(501, "NotImplemented"), methods="PUT", times=1)
        storage = faulty(moto, proxy, bench)
        assert bench.backup(source, storage=storage).is_complete
        storage.put(NAME, b"first")
        with pytest.raises(AlreadyExists):
            storage.put(NAME, b"second")
        storage.delete(NAME)
        storage.close()
    assert fault.hits == 1
    assert_restores(bench, source, points=2)


def test_a_store_that_takes_what_the_network_spoiled(believing: tuple[S3Bench, Path], moto: Store) -> None:
    """moto compares no checksums, but its ETag tells what it has got."""
    bench, source = believing
    with fault_proxy(moto.endpoint) as proxy:
        fault = proxy.plan(spoil, methods="PUT", each=True)
        storage = faulty(moto, proxy, bench)
        assert bench.backup(source, storage=storage).is_complete
        storage.close()
    assert fault.hits >= 5
    assert_restores(bench, source, points=2)


def test_a_network_that_always_spoils_ends_the_run(believing: tuple[S3Bench, Path], moto: Store) -> None:
    bench, source = believing
    with fault_proxy(moto.endpoint) as proxy:
        fault = proxy.plan(spoil, methods="PUT", path=PACKS)
        storage = faulty(moto, proxy, bench)
        with pytest.raises(Unavailable, match="other bytes than were sent"):
            bench.backup(source, storage=storage)
        storage.close()
    assert fault.hits >= NO_WAITING.tries
    assert_failed_cleanly(bench, source)


def test_a_store_that_compares_checksums_refuses_what_was_spoiled(seaweed: Store) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(spoil, methods="PUT", times=1)
        storage = seaweed.behind(proxy.url).storage()
        storage.put(NAME, b"some bytes")
        assert storage.get(NAME) == b"some bytes"
        storage.close()
    assert fault.hits == 1


def test_a_failure_between_two_pages_of_a_list(moto: Store) -> None:
    """Pages of ten; the contract's tests list more than a thousand in real ones."""

    def shorter(exchange: Exchange) -> None:
        exchange.path += "&max-keys=10"
        pass_on(exchange)

    names = {f"packs/{number:04x}" for number in range(25)}
    with fault_proxy(moto.endpoint) as proxy:
        storage = moto.behind(proxy.url).storage()
        for name in names:
            storage.put(name, b"")
        errors = proxy.plan(answer(500, "InternalError"), path="continuation-token", times=2)
        proxy.plan(shorter, path="list-type=2")
        assert {item.name for item in storage.list("packs/")} == names
        storage.close()
    assert errors.hits == 2
    assert proxy.count("GET", "list-type=2") == 5  # three pages, of which the first was asked for once


@pytest.mark.parametrize("extra", ["", "<NextContinuationToken>same</NextContinuationToken>"])
def test_a_list_without_an_end_is_an_error(seaweed: Store, extra: str) -> None:
    page = f"<ListBucketResult><IsTruncated>true</IsTruncated>{extra}</ListBucketResult>".encode()
    with fault_proxy(seaweed.endpoint) as proxy:
        proxy.plan(lambda exchange: exchange.reply(200, {}, page), path="list-type=2")
        storage = seaweed.behind(proxy.url).storage()
        with pytest.raises(StorageError, match="without an end"):
            list(storage.list("packs/"))
        storage.close()


def test_deleting_is_settled_when_the_answer_is_lost(seaweed: Store) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        storage = seaweed.behind(proxy.url).storage()
        storage.put(NAME, b"x")
        fault = proxy.plan(lose_the_answer, methods="DELETE", times=1)
        storage.delete(NAME)
        with pytest.raises(EngineError, match="does not exist"):
            storage.stat(NAME)
        storage.close()
    assert (fault.hits, proxy.count("DELETE", NAME)) == (1, 1)


def test_a_store_without_ranges_is_read_whole(moto: Store) -> None:
    with fault_proxy(moto.endpoint) as proxy:
        storage = moto.behind(proxy.url).storage()
        storage.put(NAME, bytes(range(100)))
        fault = proxy.plan(lambda exchange: exchange.reply(*exchange.forward(without="Range")), methods="GET")
        assert storage.get(NAME, 10, 5) == bytes(range(10, 15))
        assert storage.get(NAME, 95) == bytes(range(95, 100))
        storage.close()
    assert fault.hits == 2
