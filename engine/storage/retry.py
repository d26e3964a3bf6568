"""The one place where a failed call is tried again, decided by the error's `transient` bit alone.

Waits grow exponentially with full jitter, so that many clients do not come back at the same moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from engine.errors import EngineError, Unavailable
from engine.ids import random_bytes

T = TypeVar("T")
_FRACTION_BYTES = 7


class Throttled(Unavailable):
    """The destination asks for a pause of `retry_after` seconds; 0 when it names none."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint, transient=True)
        self.retry_after = retry_after


def random_fraction() -> float:
    """Between 0 and 1, evenly."""
    return int.from_bytes(random_bytes(_FRACTION_BYTES), "big") / 256.0**_FRACTION_BYTES


@dataclass(frozen=True)
class Patience:
    """How long to go on. Times are in seconds.

    `sleep` may return True to say that waiting has become pointless, as `threading.Event.wait` does."""

    tries: int = 8
    first_wait: float = 0.5
    longest_wait: float = 60.0
    budget: float = 15 * 60.0
    sleep: Callable[[float], bool | None] = time.sleep
    random: Callable[[], float] = random_fraction
    monotonic: Callable[[], float] = time.monotonic

    def wait_after(self, failures: int, error: EngineError) -> float:
        """Seconds to wait after so many failures in a row; never less than the destination asks for."""
        longest = min(self.longest_wait, self.first_wait * 2.0 ** (failures - 1))
        asked = error.retry_after if isinstance(error, Throttled) else 0.0
        return max(self.random() * longest, asked)


# For somebody who waits for the answer: a probe, a form.
IMPATIENT = Patience(tries=2, first_wait=0.5, budget=20.0)


def persist(action: Callable[[], T], patience: Patience) -> T:
    """The result of `action`, called again while it fails transiently. Raises its last error."""
    started, failures = patience.monotonic(), 0
    while True:
        try:
            return action()
        except EngineError as error:
            failures += 1
            if not error.transient or failures >= patience.tries:
                raise
            wait = patience.wait_after(failures, error)
            if patience.monotonic() - started + wait > patience.budget or patience.sleep(wait):
                raise
