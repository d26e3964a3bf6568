"""What every restore reports, whatever it writes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Restored:
    """Counts of one restore. `lost` are items that could not be restored; `items` and `bytes` those that were."""

    items: int = 0
    bytes: int = 0
    lost: int = 0
