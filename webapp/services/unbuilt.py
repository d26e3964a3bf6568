"""What a configuration may say although this version cannot do it yet: one sentence each, before anything runs."""

from __future__ import annotations

from webapp.errors import NotBuilt
from webapp.schema.resolve import Resolved


def refuse(resolved: Resolved) -> None:
    """Raises NotBuilt naming the pointer of the first thing that this version cannot do."""
    if resolved.document.get("hooks"):
        raise _not_built("/hooks", "running hooks")


def _not_built(pointer: str, what: str) -> NotBuilt:
    return NotBuilt(f"{pointer}: {what} is not built yet.")
