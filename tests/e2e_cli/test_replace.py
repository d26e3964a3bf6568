"""`restore --replace` and `undo` as a user types them."""

from __future__ import annotations

from tests.e2e_cli.shop import Shop, told
from tests.support.trees import snapshot


def test_a_folder_is_planned_confirmed_replaced_and_brought_back(shop: Shop) -> None:
    made = shop.create()["backupId"]
    good = snapshot(shop.uploads)
    (shop.uploads / "late").write_text("made since")
    spoiled = snapshot(shop.uploads)
    wanted = ("restore", "--backup", made, "--replace")

    planned = shop.cli(*wanted, "--dry-run", code=0)
    assert f"The folder {shop.uploads} on " in planned.stdout
    assert planned.stdout.endswith("Nothing was touched.\n")
    document = shop.cli(*wanted, "--dry-run", "--json", code=0).json
    assert document["dryRun"]
    assert document["target"] == str(shop.uploads)
    assert document["restorePoint"] == {"configId": "shop", "own": False}

    for typed in ((), ("--confirm", f"{shop.uploads}x")):
        refused = shop.cli(*wanted, *typed, code=5)
        assert f"--confirm {shop.uploads}" in refused.stderr
        assert snapshot(shop.uploads) == spoiled

    answer = shop.cli(*wanted, "--confirm", shop.uploads, "--json", code=0).json
    assert snapshot(shop.uploads) == good
    assert answer["targets"] == [
        {"kind": "folder", "target": str(shop.uploads), "compared": {"files": answer["files"]["total"]}}
    ]
    swapped = answer["replaced"]
    assert set(swapped) == {"restoreId", "target", "keptAs", "previousBackupId", "keptUntil"}

    back = shop.cli("undo", answer["runId"], code=0)
    assert f"{shop.uploads} is as it was before {swapped['restoreId']}" in back.stdout
    assert snapshot(shop.uploads) == spoiled
    again = shop.cli("undo", swapped["restoreId"], code=1)
    assert "was undone already" in told(again)
    shop.cli("undo", "rs_none", code=10)


def test_what_does_not_fit_is_told_in_a_sentence(shop: Shop) -> None:
    made = shop.create()["backupId"]
    home = shop.cli("restore", "--backup", made, "--replace", "--to", shop.cli.home, code=2)
    assert "cannot be replaced: HOLDFAST_HOME is" in told(home)
    missing = shop.cli("restore", "--backup", made, "--replace", "--to", shop.uploads / "none", code=1)
    assert "There is no folder" in told(missing)
    table = shop.cli("restore", "--backup", made, "--replace", "--only", "public.orders", code=2)
    assert "takes whole databases" in told(table)
    unused = shop.cli("restore", "--backup", made, "--confirm", "x", code=2)
    assert "--confirm is for --replace" in unused.stderr
