"""`${NAME}` in a configuration: kept as typed, replaced by the environment's value when a run starts.

`$${` stands for the two signs `${` themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(rf"\$\$\{{|\$\{{({_NAME})\}}|\$\{{")
_WHOLE = re.compile(rf"\$\{{{_NAME}\}}")
OWN_SECRETS = "BACKUP_ENCRYPTION_KEY"
OWN_PREFIX = "HOLDFAST_"


def names(text: str) -> list[str]:
    """The variables that `text` names, in order."""
    return [match[1] for match in _TOKEN.finditer(text) if match[1]]


def is_whole(text: str) -> bool:
    """Whether `text` is one placeholder and nothing else."""
    return _WHOLE.fullmatch(text) is not None


def fault(text: str) -> str | None:
    """Why the placeholders of `text` are not acceptable, or None."""
    for match in _TOKEN.finditer(text):
        if match[0] == "${":
            return "holds a ${ that does not begin a ${NAME}; write $${ for the two signs themselves."
        name = match[1]
        # A configuration may come from an administrator who must not learn the service's own secrets.
        if name and (name == OWN_SECRETS or name.startswith(OWN_PREFIX)):
            return f"must not use ${{{name}}}: Holdfast's own settings are not for configurations."
    return None


def substitute(text: str, environment: Mapping[str, str], *, in_url: bool = False) -> str:
    """`text` with its placeholders replaced; an empty variable counts as unset. Raises KeyError with the name.

    With `in_url`, a value that is only a part of the URL is percent-encoded, so that a password may hold any sign.
    """
    encode = in_url and not is_whole(text)

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        found = environment.get(match[1], "")
        if not found:
            raise KeyError(match[1])
        return quote(found, safe="") if encode else found

    return _TOKEN.sub(value, text)
