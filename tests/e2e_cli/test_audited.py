"""What somebody does by command to destinations and restore points is in the audit log, under their name."""

from __future__ import annotations

from pathlib import Path

from tests.e2e_cli.shop import Shop


def test_commands_are_audited(shop: Shop, tmp_path: Path) -> None:
    backup = shop.create()["backupId"]
    shop.cli("destination", "add", "far", "--path", tmp_path / "far", code=0)
    shop.cli("destination", "attach", "far", "--path", tmp_path / "far", code=0)
    shop.cli("pin", backup, "--reason", "lawsuit", code=0)
    shop.cli("unpin", backup, code=0)
    entries = shop.cli("audit", "list", "--json", code=0).json["entries"]
    found = [(each["action"], each["object"], each["after"]) for each in reversed(entries)]
    place = {"name": "far", "type": "local"}
    assert found[-4:] == [
        ("destination.added", "2", place),
        ("destination.attached", "2", place),
        ("backup.pinned", backup, {"reason": "lawsuit", "until": None}),
        ("backup.unpinned", backup, None),
    ]
    assert {each["identity"] for each in entries} == {entries[0]["identity"]}
    assert entries[0]["identity"].startswith("local:")
