"""How many restore points of which age a configuration keeps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from webapp.schema.defaults import RETENTION
from webapp.schema.fields import Count, Model

COUNTED = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


class Retention(Model):
    """The newest restore point of each of the last N hours, days, weeks, months and years is kept."""

    last: Annotated[Count, Field(description="The newest N, whatever their age.")] = RETENTION["last"]
    hourly: Count = RETENTION["hourly"]
    daily: Count = RETENTION["daily"]
    weekly: Count = RETENTION["weekly"]
    monthly: Count = RETENTION["monthly"]
    yearly: Count = RETENTION["yearly"]
    keep_min: Annotated[int, Field(ge=1, le=10_000, description="Never fewer good restore points than this.")] = (
        RETENTION["keepMin"]
    )

    @model_validator(mode="after")
    def _keeps_something(self) -> Retention:
        if not any(getattr(self, name) for name in COUNTED):
            raise ValueError(f"keeps nothing: at least one of {', '.join(COUNTED)} must be 1 or more.")
        return self
