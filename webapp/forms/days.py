"""Days that a zone and a database can tell."""

from __future__ import annotations

from typing import Any

from wtforms.validators import ValidationError

_FIRST, _LAST = 1970, 9000


def in_reach(form: Any, field: Any) -> None:
    """A validator: the first and the last years have hours that do not exist in every zone."""
    if field.data is not None and not _FIRST <= field.data.year <= _LAST:
        raise ValidationError(f"Must lie between {_FIRST} and {_LAST}.")
