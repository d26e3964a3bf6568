"""`cleanup`, `pin` and `unpin` as a user types them: what they print, how they end, and a cleanup that is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.e2e_cli.shop import Shop, told
from tests.support.s3 import start_moto
from tests.support.trees import snapshot

KEYS = ["runId", "kind", "now", "configId", "status", "dryRun"]
POINT = ["backupId", "madeAt", "keep", "reasons", "freedBytes"]
PLACE = ["name", "type", "status", "storedBytes", "wouldFreeBytes", "error"]
DONE = ["trashed", "recalled", "removed", "freedBytes", "packsRemoved", "waiting"]


def filled(shop: Shop, count: int, **changes: object) -> list[str]:
    """Restore points of which the newest three are kept."""
    made = []
    for number in range(count):
        shop.fill(number)
        answer = shop.create(retention={"last": 3, "keepMin": 1}, **changes)
        made.append(answer["backupId"])
    return made


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of everything below a folder."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


def test_a_dry_run_tells_every_point_with_its_reasons_and_touches_nothing(shop: Shop) -> None:
    ids = filled(shop, 5)
    before = files(shop.repository)
    answer = shop.cli("cleanup", "--dry-run", "--json", code=0).json
    assert list(answer)[: len(KEYS)] == KEYS
    assert (answer["runId"], answer["status"], answer["dryRun"]) == (None, "succeeded", True)
    (part,) = answer["configurations"]
    assert (part["configId"], part["destination"], part["retention"]["last"]) == ("shop", "./backups", 3)
    assert [list(point) for point in part["points"]] == [POINT] * 5
    assert [point["backupId"] for point in part["points"]] == ids[::-1]
    assert [point["reasons"] for point in part["points"]] == [["last 1"], ["last 2"], ["last 3"]] + [
        ["no rule keeps it"]
    ] * 2
    assert all(point["freedBytes"] > 0 for point in part["points"][3:])
    (place,) = answer["destinations"]
    assert list(place) == PLACE
    assert 0 < place["wouldFreeBytes"] < place["storedBytes"]
    text = shop.cli("cleanup", "--dry-run", "--now", code=0).stdout
    assert all(name in text for name in ids)
    assert "no rule keeps it" in text
    assert "Nothing was touched." in text
    assert files(shop.repository) == before
    assert [run for run in shop.cli("list", "--runs", "--json").json if run["kind"] == "cleanup"] == []
    shop.check()


def test_points_go_into_the_trash_are_shown_there_and_come_back(shop: Shop) -> None:
    ids = filled(shop, 5)
    answer = shop.cli("cleanup", "--confirm", "shop", "--json", code=0).json
    assert (answer["kind"], answer["status"], answer["error"]) == ("cleanup", "succeeded", None)
    (place,) = answer["destinations"]
    assert set(PLACE) | set(DONE) == set(place)
    assert (place["trashed"], place["removed"]) == (ids[1::-1], [])
    listed = {point["backupId"]: point["destinations"][0]["status"] for point in shop.points()}
    assert listed == dict.fromkeys(ids[2:], "present") | dict.fromkeys(ids[:2], "trashed")
    shown = shop.cli("show", ids[0], code=0).stdout
    assert "In the trash at ./backups since" in shown
    assert "no rule keeps it" in shown
    (counted,) = shop.cli("stats", "--json", code=0).json["restorePoints"]
    assert counted["count"] == 3
    shop.check()  # a point in the trash restores
    pinned = shop.cli("pin", ids[0], "--reason", "court order", "--until", "2099-12-31", "--json", code=0).json
    assert pinned["pinned"]["reason"] == "court order"
    assert pinned["pinned"]["until"].startswith("2099-12-31")
    shown = shop.cli("show", ids[0], "--json", code=0).json
    assert (shown["pinned"]["reason"], shown["destinations"][0]["status"]) == ("court order", "present")
    assert "court order" in shop.cli("list", code=0).stdout
    assert shop.cli("cleanup", "--json", code=0).json["destinations"][0]["trashed"] == []
    shop.cli("unpin", ids[0], code=0)
    assert shop.cli("cleanup", "--json", code=0).json["destinations"][0]["trashed"] == [ids[0]]


def test_what_has_to_be_confirmed_ends_with_5_and_says_how(shop: Shop) -> None:
    filled(shop, 7)
    before = {point["backupId"] for point in shop.points()}
    outcome = shop.cli("cleanup", code=5)
    assert "4 of 7 restore points" in told(outcome)
    assert "--confirm shop" in outcome.stderr
    unasked = shop.cli("cleanup", "--json", "--confirm", "other", code=5)
    assert unasked.json["status"] == "warning"
    assert "--confirm other: there was nothing to confirm for it." in unasked.stderr
    assert {point["backupId"] for point in shop.points()} == before
    assert "trash" not in shop.cli("list", code=0).stdout
    done = shop.cli("cleanup", "--now", "--confirm", "shop", "--json", code=0).json["destinations"][0]
    assert len(done["removed"]) == 4
    assert done["freedBytes"] == done["wouldFreeBytes"]
    left = {point["backupId"] for point in shop.points()}
    shop.state = {name: state for name, state in shop.state.items() if name in left}
    assert len(left) == 3
    shop.check()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cleanup", "--config", "nobody"], 10, "no configuration nobody"),
        (["pin", "zzzz"], 10, "no restore point"),
        (["pin", "shop@latest", "--until", "2020-01-01"], 2, "future"),
        (["pin", "shop@latest", "--until", "soon"], 2, "--until"),
        (["pin", "shop@latest", "--until", "9999-12-31"], 2, "--until"),
        (["pin", "shop@latest", "--reason", ""], 2, "reason"),
        (["unpin", "shop@latest"], 10, "not pinned"),
    ],
)
def test_bad_input_is_one_sentence(shop: Shop, arguments: list[str], code: int, words: str) -> None:
    shop.create()
    assert words in shop.cli(*arguments, code=code).stderr


def test_a_destination_that_is_away_does_not_stop_the_others(shop: Shop) -> None:
    places = [{"type": "local", "config": {"path": name}} for name in ("backups", "second")]
    filled(shop, 4, destinations=places)
    (shop.cli.home / "second").rename(shop.cli.home / "away")
    answer = shop.cli("cleanup", "--json", code=3).json
    assert [place["status"] for place in answer["destinations"]] == ["succeeded", "failed"]
    assert len(answer["destinations"][0]["trashed"]) == 1
    assert "second: failed" in shop.cli("cleanup", code=3).stdout
    shop.repository.rename(shop.cli.home / "elsewhere")
    assert shop.cli("cleanup", "--json", code=1).json["status"] == "failed"
    shop.cli("cleanup", "--dry-run", code=1)


def test_nothing_yet(shop: Shop) -> None:
    outcome = shop.cli("cleanup", code=0)
    assert "nothing to clean up yet" in outcome.stderr


def test_a_bucket_is_cleaned_up_too(shop: Shop) -> None:
    with start_moto() as store:
        place = {"bucket": store.bucket, "prefix": "shop", "endpoint": store.endpoint}
        shop.cli.environment |= {"AWS_ACCESS_KEY_ID": store.access_key, "AWS_SECRET_ACCESS_KEY": store.secret_key}
        ids = filled(shop, 5, destinations=[{"type": "s3", "config": place}])
        (plan,) = shop.cli("cleanup", "--dry-run", "--now", "--json", code=0).json["destinations"]
        (done,) = shop.cli("cleanup", "--now", "--confirm", "shop", "--json", code=0).json["destinations"]
        assert (set(done["removed"]), done["error"]) == (set(ids[:2]), None)
        assert done["freedBytes"] == plan["wouldFreeBytes"] > 0
        shop.state = {name: shop.state[name] for name in ids[2:]}
        shop.check()


@pytest.mark.parametrize("times", [4, pytest.param(25, marks=pytest.mark.full)])
def test_kill_at_any_moment_and_the_next_cleanup_finishes(shop: Shop, seed: int, times: int) -> None:
    rng = random.Random(seed + 2)
    filled(shop, 3)
    killed, longest = 0, 2.0
    while killed < times:
        shop.fill(rng.randrange(1 << 30))
        (shop.uploads / "large").write_bytes(rng.randbytes(3_000_000))
        shop.create("--config", "shop")
        started = shop.cli.start("cleanup", "--now", "--confirm", "shop")
        time.sleep(rng.uniform(0.2, longest))
        outcome = started.kill()
        assert outcome.code in {0, -signal.SIGKILL}, outcome
        killed += outcome.code != 0
        longest = longest if outcome.code else max(0.4, longest * 0.8)  # it was done before
    done = shop.cli("cleanup", "--now", "--confirm", "shop", "--json", code=0).json["destinations"][0]
    assert done["status"] == "succeeded"
    left = [point["backupId"] for point in shop.points()]
    assert len(left) == 3
    shop.state = {name: state for name, state in shop.state.items() if name in left}
    again = shop.cli("cleanup", "--dry-run", "--json", code=0).json["destinations"][0]
    assert again["wouldFreeBytes"] == 0
    assert os.listdir(shop.repository / "sessions") == []
    assert snapshot(shop.restore(left[0])) == shop.state[left[0]]
    shop.check()
