"""The four steps from a new installation to backups that can be relied on, and which of them are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from webapp.installation import Installation
from webapp.models import Run
from webapp.services import keyrings
from webapp.services.protection import Protection

PLACE, KEY, BACKUP, PROOF = "destination", "key", "backup", "proof"


@dataclass(frozen=True)
class FirstStep:
    """`name` is one of the four words."""

    name: str
    is_done: bool


def steps(installation: Installation, found: Sequence[Protection], restored: Run | None) -> list[FirstStep]:
    """All four, in their order: a configuration that says where to keep backups, the recovery code typed back, a
    restore point, and one that was read back or restored."""
    return [
        FirstStep(PLACE, bool(found)),
        FirstStep(KEY, keyrings.is_code_confirmed(installation.settings)),
        FirstStep(BACKUP, any(each.newest for each in found)),
        FirstStep(PROOF, restored is not None or any(each.checked_at for each in found)),
    ]
