"""An S3 store beside a folder: the same restore point in both, credentials from variables or sealed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e_cli.shop import Shop, told
from tests.support.s3 import Store, start_moto
from tests.support.trees import snapshot


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with start_moto() as started:
        yield started


def _place(store: Store, **changes: Any) -> dict[str, Any]:
    return {"type": "s3", "config": {"bucket": store.bucket, "prefix": "shop", "endpoint": store.endpoint, **changes}}


def test_a_folder_and_a_bucket_hold_the_same(shop: Shop, store: Store) -> None:
    run = shop.cli.in_its_own_process
    places = [{"type": "local", "config": {"path": "./backups"}}, _place(store)]
    path = shop.write(destinations=places)
    shop.cli.environment |= {"AWS_ACCESS_KEY_ID": store.access_key, "AWS_SECRET_ACCESS_KEY": store.secret_key}
    made = run("create", "--file", path, "--json", code=0).json
    assert [(each["type"], each["status"]) for each in made["destinations"]] == [
        ("local", "succeeded"),
        ("s3", "succeeded"),
    ]
    shutil.rmtree(shop.repository)
    target = shop.cli.folder / "out"
    run("restore", "--backup", made["backupId"], "--to", target, "--verify", code=3)  # and a word about what is gone
    assert snapshot(target.joinpath(*shop.uploads.parts[1:])) == snapshot(shop.uploads)
    # moto compares no checksums, which is a warning.
    assert run("destination", "test", f"s3://{store.bucket}/shop", "--json", code=3).json["usable"] is True
    half = run("create", "--config", "shop", "--json", code=3).json
    assert [each["status"] for each in half["destinations"]] == ["failed", "succeeded"]


def test_typed_credentials_are_sealed_and_missing_ones_are_told(shop: Shop, store: Store) -> None:
    run = shop.cli.in_its_own_process
    keys = {"accessKeyId": "${S3_KEY}", "secretAccessKey": store.secret_key}
    place = _place(store, prefix="sealed", accessKeyId=store.access_key, secretAccessKey="canary-4711")
    run("create", "--file", shop.write(destinations=[place]), code=0)
    import sqlite3

    with sqlite3.connect(shop.cli.home / "holdfast.db") as database:
        rows = database.execute("SELECT settings, sealed FROM destinations").fetchall()
    assert "canary-4711" not in repr(rows)
    assert rows[0][1] is not None
    assert "bk_" in run("list", code=0).stdout
    unset = shop.write(destinations=[_place(store, **keys)])
    assert "S3_KEY" in run("create", "--file", unset, code=2).stderr
    bare = shop.write(destinations=[_place(store, prefix="bare")])
    assert "no credentials" in told(run("create", "--file", bare, code=1))


def test_what_a_bucket_alone_holds_is_leant_on(shop: Shop, seaweed: Store) -> None:
    """Against a real server: what is leant on is fetched once, told, and may be lost from the cache at any time."""
    shop.cli.environment |= {"AWS_ACCESS_KEY_ID": seaweed.access_key, "AWS_SECRET_ACCESS_KEY": seaweed.secret_key}
    place = [_place(seaweed, prefix="differences")]
    rng, path = random.Random(1), shop.uploads / "orders.csv"
    rows = [f"{number:09d},{rng.getrandbits(200):051x},open\n".encode() for number in range(120_000)]
    sizes = []
    for day in range(4):
        for number in rng.sample(range(len(rows)), len(rows) // 100):
            rows[number] = rows[number].replace(b"open", b"paid")
        path.write_bytes(b"".join(rows))
        if day == 3:
            shutil.rmtree(shop.cli.home / "cache")
        made = shop.create(destinations=place)
        shown = shop.cli("show", made["backupId"], "--json", code=0).json["bytes"]
        sizes.append((shown["stored"], shown["fetched"]))
    (first, nothing), (second, fetched), (_, once), (fourth, again) = sizes
    assert nothing == 0
    assert second < first / 2  # where chunks are cut is drawn anew in each repository; each of them changes each day
    assert 0 < once < fetched / 2
    assert fourth < first / 2
    assert again > once
    shop.check()
