"""Too little memory, from hardly any to enough: a backup is whole or fails, and nothing is lost. Nearly always it says
why; where a library fails in other words, it cannot."""

from __future__ import annotations

import random
import resource

import pytest

from tests.e2e_cli.shop import Shop
from tests.support.trees import snapshot

# From less than Python itself needs to what a backup may have; address space, of which threads take more than they use.
LEAST_BYTES, MOST_BYTES = 60 << 20, 560 << 20


@pytest.mark.parametrize("times", [8, pytest.param(60, marks=pytest.mark.full)])
def test_a_backup_with_too_little_memory(shop: Shop, seed: int, times: int) -> None:
    shop.create()
    rng, said = random.Random(seed), []
    for number in range(times):
        (shop.uploads / "large").write_bytes(rng.randbytes(3_000_000))
        started = shop.cli.start("create", "--config", "shop", "--json")
        limit = LEAST_BYTES + (MOST_BYTES - LEAST_BYTES) * number // times
        resource.prlimit(started.pid, resource.RLIMIT_AS, (limit, limit))
        outcome = started.wait()
        assert outcome.code in (0, 1), outcome
        if outcome.code == 0:
            shop.state[outcome.json["backupId"]] = snapshot(shop.uploads)
        else:
            said.append(outcome.stderr)
    assert any("There is not enough memory for this." in each for each in said), said
    shop.create("--config", "shop")
    shop.check()
