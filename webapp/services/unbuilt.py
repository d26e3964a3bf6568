"""What a configuration may say although this version cannot do it yet: refused where leaving it out would be wrong,
told in one line where it only has no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapp.errors import NotBuilt
from webapp.schema.resolve import Resolved

# Nothing carries them out yet; a backup is the same without them.
WITHOUT_EFFECT = (("verify", "schedule"), ("drill", None))


def refuse(resolved: Resolved) -> None:
    """Raises NotBuilt naming the pointer of the first thing without which a run would not be what was asked for."""
    if resolved.document.get("hooks"):
        raise NotBuilt("/hooks: running hooks is not built yet.")


def without_effect(document: Mapping[str, Any]) -> str:
    """One sentence naming the settings of a configuration that have no effect yet; "" when there are none."""
    named = [
        key if part is None else f"{key}.{part}"
        for key, part in WITHOUT_EFFECT
        if _says_something(document.get(key) if part is None else (document.get(key) or {}).get(part))
    ]
    if not named:
        return ""
    listed = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"{listed} of {document['id']} {'have' if len(named) > 1 else 'has'} no effect: not built yet."


def _says_something(value: Any) -> bool:
    return any(value.values()) if isinstance(value, dict) else bool(value)
