"""How often the service looks and how long it waits, in seconds: one variable, HOLDFAST_TIMING (`tick=5 expiry=30`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Timing:
    """`tick`: how often due runs are started and dead ones found. `heartbeat`: how often a run says that it lives;
    `expiry`: after how much silence it is taken for dead. `cancel`: how often a run looks whether it shall stop.
    `stall`: a queued run's work without any progress for so long is ended. `orphan`: after how long a run that waits
    but is not in the queue is sent again. `retry`: how long a backup whose destination was away waits. `kept`: how long
    what a restore replaced is kept, for `undo`. `grace`: how long a clean-up waits between marking what is superfluous
    and deleting it; `session`: after how much silence it takes a backup at a destination for dead."""

    tick: float = 15.0
    heartbeat: float = 15.0
    expiry: float = 90.0
    cancel: float = 1.0
    stall: float = 3600.0
    orphan: float = 10.0
    retry: float = 300.0
    kept: float = 259_200.0
    grace: float = 86_400.0
    session: float = 43_200.0


NAMES = tuple(each.name for each in fields(Timing))
_MIN_SESSION = 7200  # twice engine.repository.session.RENEW_AFTER, whose import would cost every command 0.1 s
_PART = re.compile(r"([a-z]+)=(\d{1,6}(?:\.\d{1,3})?)")


def read(text: str) -> Timing:
    """The timing that `text` says. Raises ValueError with a sentence."""
    timing = Timing()
    for part in text.replace(",", " ").split():
        match = _PART.fullmatch(part)
        if match is None or match[1] not in NAMES or float(match[2]) <= 0:
            raise ValueError(f"{part!r} is not NAME=SECONDS with a name of {', '.join(NAMES)}.")
        timing = replace(timing, **{match[1]: float(match[2])})
    if timing.expiry < 2 * timing.heartbeat:
        raise ValueError("expiry must be at least twice heartbeat, or living runs are taken for dead.")
    if timing.session < _MIN_SESSION:
        raise ValueError(f"session must be at least {_MIN_SESSION}: a backup says once an hour that it lives.")
    return timing
