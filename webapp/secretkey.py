"""The key that signs cookies: HOLDFAST_SECRET_KEY, else `<home>/secret.key`, made on first need with mode 0600."""

from __future__ import annotations

import secrets

from webapp.errors import Fault, SettingsInvalid
from webapp.files import publish
from webapp.settings import Settings, ensure_home

FILE = "secret.key"
_BYTES = 32


def secret_key(settings: Settings) -> str:
    """Raises SettingsInvalid when the file cannot be made or read. Two processes at once end with the same key."""
    if settings.secret_key is not None:
        return settings.secret_key
    path = ensure_home(settings) / FILE
    try:
        if not path.exists():
            publish(path, secrets.token_hex(_BYTES).encode() + b"\n")
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid("The key of sessions cannot be used.", [Fault(FILE, f"{path}: {error}.")]) from error
    if len(text) < _BYTES:
        raise SettingsInvalid("The key of sessions cannot be used.", [Fault(FILE, f"{path} is damaged; delete it.")])
    return text
