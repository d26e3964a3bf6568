"""What a service refused, shown in the form that asked for it: at the field where there is one, else above the form."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.errors import EngineError
from webapp.errors import Faulty, ServiceError, TooMany
from webapp.extensions import installation
from webapp.problems import of_error

Refused = ServiceError | EngineError


def show(form: Any, error: Refused, *, names: dict[str, str] | None = None) -> int:
    """Puts the error into the form; the status of the answer. `names` leads pointers to fields that have another
    name; of `/networks/2` the field `networks` is taken."""
    faults = error.faults if isinstance(error, Faulty) else ()
    above = [] if faults else [_sentence(error)]
    for fault in faults:
        name = fault.pointer.strip("/").removeprefix("config/").partition("/")[0]
        field = form._fields.get((names or {}).get(name, name))
        if field is None:
            above.append(str(fault))
        else:
            field.errors = [*field.errors, f"It {fault.detail}"]
    form.form_errors.extend(above)
    return of_error(error).status


def headers(error: Refused) -> dict[str, str]:
    """What the answer says beside its status."""
    return dict(of_error(error).headers) if isinstance(error, TooMany) else {}


def _sentence(error: Refused) -> str:
    if not isinstance(error, TooMany):
        return f"{error.message} {error.hint}".strip()
    own = installation()
    end = (own.clock() + timedelta(seconds=error.retry_after)).astimezone(ZoneInfo(own.settings.timezone))
    return f"{error.message} Try again at {end:%H:%M:%S %Z}."
