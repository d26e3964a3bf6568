"""Parts of a page that stand alone: one that cannot be computed says so in its own place, and the others are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import current_app, request

from engine.errors import EngineError
from engine.ids import new_id, spell
from webapp.errors import ServiceError

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Widget(Generic[_Value]):
    """`value` is None when `error` says why; `error_id` is in the log then."""

    value: _Value | None
    error: str = ""
    error_id: str = ""


def widget(make: Callable[[], _Value]) -> Widget[_Value]:
    """What `make` answers, or why it does not."""
    try:
        return Widget(make())
    except (ServiceError, EngineError) as error:
        return Widget(None, str(error), _logged(error))
    except Exception as error:  # noqa: BLE001 (whatever is wrong with one part, the others may be what is needed now)
        return Widget(None, "Something happened that this program does not expect.", _logged(error))


def _logged(error: Exception) -> str:
    number = spell("er", new_id())
    current_app.logger.error(
        "A part of a page failed.", exc_info=error, extra={"error_id": number, "path": request.path}
    )
    return number
