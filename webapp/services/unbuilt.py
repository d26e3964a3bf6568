"""What a configuration may say although this version cannot do it yet: one sentence each, before anything runs."""

from __future__ import annotations

from webapp.errors import NotBuilt
from webapp.schema import kinds
from webapp.schema.resolve import Resolved

BUILT_TYPES = ("full", "database", "files")
BUILT_COMPRESSIONS = ("zstd",)
BUILT_CIPHERS = ("aes-256-gcm",)


def refuse(resolved: Resolved) -> None:
    """Raises NotBuilt naming the pointer of the first thing that this version cannot do."""
    if resolved.type not in BUILT_TYPES:
        raise _not_built("/type", f"the type {resolved.type}")
    if resolved.compression not in BUILT_COMPRESSIONS:
        raise _not_built("/compression", f"the compression {resolved.compression}")
    if not resolved.encryption:
        raise _not_built("/encryption", "encryption: false")
    if resolved.cipher not in BUILT_CIPHERS:
        raise _not_built("/cipher", f"the cipher {resolved.cipher}")
    if resolved.document.get("hooks"):
        raise _not_built("/hooks", "running hooks")
    if len(resolved.destinations) > 1:
        raise _not_built("/destinations/1", "more than one destination in a run")
    for plan in resolved.destinations:
        if plan.kind is not None and not kinds.is_built(plan.kind):
            raise _not_built(f"{plan.pointer}/type", f"a destination of the kind {plan.kind}")


def _not_built(pointer: str, what: str) -> NotBuilt:
    return NotBuilt(f"{pointer}: {what} is not built yet.")
