"""Takes secrets out of a configuration, for screens, exports and the copy in every manifest. Placeholders stay."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from webapp.schema import kinds, placeholders
from webapp.schema.defaults import Document

HIDDEN = "(hidden)"
_USERINFO = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/?#]*)@(?P<rest>.*)$", re.DOTALL)
_QUERY_SECRET = re.compile(r"([?&](?:password|sslpassword|token|key|secret)=)[^&#]*", re.IGNORECASE)


def without_secrets(document: Mapping[str, Any]) -> Document:
    """A deep copy of `document` in which passwords, access keys and channel tokens read `(hidden)`."""
    clean = copy.deepcopy(dict(document))
    for database in (clean.get("sources") or {}).get("databases", []):
        database["url"] = hide_password(database["url"])
    for destination in clean.get("destinations", []):
        if "type" in destination:
            destination["config"] = settings_without_secrets(destination["type"], destination["config"])
    notifications = clean.get("notifications") or {}
    for event, recipients in notifications.items():
        notifications[event] = [_hide_channel(text) for text in recipients]
    if clean.get("pingUrl"):
        clean["pingUrl"] = _hide_after_host(clean["pingUrl"])
    if (clean.get("drill") or {}).get("server"):
        clean["drill"]["server"] = hide_password(clean["drill"]["server"])
    return clean


def settings_without_secrets(kind: str, settings: Mapping[str, Any]) -> Document:
    """A copy of the settings of a destination of this kind, without its secrets."""
    secret = kinds.secret_settings(kind)
    return {key: _without_secret(value, whole=key in secret) for key, value in settings.items()}


def _without_secret(value: Any, *, whole: bool) -> Any:
    if not isinstance(value, str):
        return value
    return _hide(value) if whole else hide_password(value)


def hide_password(url: str) -> str:
    """A URL with its password hidden; one that is a placeholder stays as typed."""
    url = _QUERY_SECRET.sub(lambda match: match[1] + HIDDEN, url)
    match = _USERINFO.match(url)
    if match is None:
        return url
    user, colon, password = match["user"].partition(":")
    if not colon or not password or placeholders.is_whole(unquote(password)):
        return url
    return f"{match['scheme']}{user}:{HIDDEN}@{match['rest']}"


def _hide(text: str) -> str:
    return text if placeholders.is_whole(text) else HIDDEN


def _hide_channel(text: str) -> str:
    """E-mail addresses stay; an Apprise URL is mostly tokens, so only its scheme is shown."""
    if "://" not in text or placeholders.is_whole(text):
        return text
    return text.split("://", 1)[0] + "://" + HIDDEN


def _hide_after_host(text: str) -> str:
    if "://" not in text or placeholders.is_whole(text):
        return text
    scheme, _, rest = text.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    return f"{scheme}://{host}/{HIDDEN}"
